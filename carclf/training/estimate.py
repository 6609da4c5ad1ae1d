"""Estimates how long a stage will take from the speed of its first steps. Arithmetic only."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from carclf.progress import describe_seconds

if TYPE_CHECKING:
    from carclf.training.phases import Phase

FIRST_STEPS, FIRST_TIMED_SECONDS = 3, 3.0  # after the step that compiles, before the first estimate
VALIDATION_SHARE = 1 / 3  # of a training step, until a validation is measured: the forward pass only
CHANGE = 0.25  # as a share of the reported remaining time: report again if the end moves further


class StageEstimate:
    """Estimates the remaining seconds of a stage, with validations and later phases, if nothing stops it early.

    Args:
      phases: phases of the whole stage.
      phase: the one that is trained.
      val_photos: photos in the validation fold, which is also predicted once at the end.
    """

    def __init__(self, phases: Sequence["Phase"], phase: "Phase", *, val_photos: int) -> None:
        self._phase, self._later = phase, phases[list(phases).index(phase) + 1 :]
        self._val_batches = math.ceil(val_photos / phase.batch_size)
        self._timed = [(0.0, 0), (0.0, 0)]  # (seconds, steps) of the previous and the current epoch
        self._last: float | None = None
        self._trained = 0.0
        self._validation_seconds: float | None = None
        self._reported_end: float | None = None  # when the stage will end, as last reported

    def epoch_began(self, now: float) -> None:
        """Records when an epoch began; the first step of the first epoch compiles and does not count."""
        first = self._last is None
        self._timed = [self._timed[1] if self._timed[1][1] else self._timed[0], (0.0, 0)]
        self._last = None if first else now

    def step_ended(self, now: float) -> None:
        """Records the end of a training step."""
        if self._last is not None:
            seconds, steps = self._timed[1]
            self._timed[1] = (seconds + now - self._last, steps + 1)
        self._last = self._trained = now

    def epoch_ended(self, now: float) -> None:
        """Records the end of an epoch, validation included; the first validation also compiles."""
        self._validation_seconds = now - self._trained

    @property
    def step_seconds(self) -> float | None:
        """Mean seconds per step in this epoch and the previous one; None before the second step."""
        steps = sum(count for _, count in self._timed)
        return sum(seconds for seconds, _ in self._timed) / steps if steps else None

    def seconds_left(self, step: int) -> float | None:
        """Returns the seconds from the end of a step of this phase to the end of the stage; None if not yet known."""
        pace, phase = self.step_seconds, self._phase
        if pace is None:
            return None
        validation = self._validation_seconds
        if validation is None:
            validation = VALIDATION_SHARE * pace * self._val_batches
        left = (phase.last_step - step) * pace + (phase.end_epoch - step // phase.steps_per_epoch) * validation
        for later in self._later:
            growth = _pixels(later) / _pixels(phase)  # a photo's cost is proportional to its pixels
            steps_seconds = later.steps_per_epoch * pace * growth * later.batch_size / phase.batch_size
            left += (later.end_epoch - later.first_epoch) * (steps_seconds + growth * validation)
        last = self._later[-1] if self._later else phase
        return left + validation * _pixels(last) / _pixels(phase)

    def report(self, step: int, now: float, *, epoch_over: bool = False) -> str | None:
        """Returns a line with the remaining time: after the first steps, and again when an epoch shows it was far off.

        Args:
          step: the run's last finished step.
          now: seconds, on the same clock as in the other methods.
          epoch_over: whether that step's epoch has been validated.
        """
        left = self.seconds_left(step)
        seconds, steps = (sum(column) for column in zip(*self._timed, strict=True))
        if left is None or not (epoch_over or (steps >= FIRST_STEPS and seconds >= FIRST_TIMED_SECONDS)):
            return None
        if self._reported_end is None:
            self._reported_end = now + left
            return (
                f"Time: about {describe_seconds(left)} for the rest of the stage, validation included "
                f"({self.step_seconds:.2g} s per step); less if it stops early."
            )
        if epoch_over and abs(now + left - self._reported_end) > CHANGE * max(self._reported_end - now, 0.0):
            self._reported_end = now + left
            return f"Time: now about {describe_seconds(left)} for the rest of the stage."
        return None


def _pixels(phase: "Phase") -> int:
    return phase.image_size[0] * phase.image_size[1]
