"""How long a stage will take, from the pace of its first steps: arithmetic only."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from carclf.progress import describe_seconds

if TYPE_CHECKING:
    from carclf.training.phases import Phase

FIRST_STEPS, FIRST_TIMED_SECONDS = 3, 3.0  # behind the one that compiles, before anything is said
VALIDATION_SHARE = 1 / 3  # of a training step, until one is measured: the forward pass without the backward one
CHANGE = 0.25  # of what was said to be left, by which the end has to move to be told anew


class StageEstimate:
    """The seconds that are left of a stage, its validations and later phases included, if nothing stops it early.

    Args:
      phases: of the whole stage.
      phase: the one that is trained.
      val_photos: in the fold held out, which is also predicted once at the end.
    """

    def __init__(self, phases: Sequence["Phase"], phase: "Phase", *, val_photos: int) -> None:
        self._phase, self._later = phase, phases[list(phases).index(phase) + 1 :]
        self._val_batches = math.ceil(val_photos / phase.batch_size)
        self._timed = [(0.0, 0), (0.0, 0)]  # (seconds, steps) of the epoch before and of this one
        self._last: float | None = None
        self._trained = 0.0
        self._validation_seconds: float | None = None
        self._told: float | None = None  # when the stage was said to end

    def epoch_began(self, now: float) -> None:
        """Notes when an epoch began; the first one's first step compiles and does not count."""
        first = self._last is None
        self._timed = [self._timed[1] if self._timed[1][1] else self._timed[0], (0.0, 0)]
        self._last = None if first else now

    def step_ended(self, now: float) -> None:
        """Notes the end of a training step."""
        if self._last is not None:
            seconds, steps = self._timed[1]
            self._timed[1] = (seconds + now - self._last, steps + 1)
        self._last = self._trained = now

    def epoch_ended(self, now: float) -> None:
        """Notes the end of an epoch, which is that of its validation; the first validation also compiles."""
        self._validation_seconds = now - self._trained

    @property
    def step_seconds(self) -> float | None:
        """Mean seconds of the steps of this epoch and the one before; None before the second step."""
        steps = sum(count for _, count in self._timed)
        return sum(seconds for seconds, _ in self._timed) / steps if steps else None

    def seconds_left(self, step: int) -> float | None:
        """Seconds from the end of a step of this phase to the end of the stage; None where the pace is not known."""
        pace, phase = self.step_seconds, self._phase
        if pace is None:
            return None
        validation = self._validation_seconds
        if validation is None:
            validation = VALIDATION_SHARE * pace * self._val_batches
        left = (phase.last_step - step) * pace + (phase.end_epoch - step // phase.steps_per_epoch) * validation
        for later in self._later:
            growth = _pixels(later) / _pixels(phase)  # a photo costs as much more as it has more pixels
            steps_seconds = later.steps_per_epoch * pace * growth * later.batch_size / phase.batch_size
            left += (later.end_epoch - later.first_epoch) * (steps_seconds + growth * validation)
        last = self._later[-1] if self._later else phase
        return left + validation * _pixels(last) / _pixels(phase)

    def news(self, step: int, now: float, *, epoch_over: bool = False) -> str | None:
        """A line on what is left: once after the first steps, then where an epoch has shown that it was far off.

        Args:
          step: of the run, that ended last.
          now: seconds, on the clock that the others were told by.
          epoch_over: whether its epoch has been validated.
        """
        left = self.seconds_left(step)
        seconds, steps = (sum(column) for column in zip(*self._timed, strict=True))
        if left is None or not (epoch_over or (steps >= FIRST_STEPS and seconds >= FIRST_TIMED_SECONDS)):
            return None
        if self._told is None:
            self._told = now + left
            return (
                f"Time: about {describe_seconds(left)} for the rest of the stage, validation included "
                f"({self.step_seconds:.2g} s per step); less if it stops early."
            )
        if epoch_over and abs(now + left - self._told) > CHANGE * max(self._told - now, 0.0):
            self._told = now + left
            return f"Time: now about {describe_seconds(left)} for the rest of the stage."
        return None


def _pixels(phase: "Phase") -> int:
    return phase.image_size[0] * phase.image_size[1]
