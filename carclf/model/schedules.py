"""The table of learning-rate schedules: functions of the step, for plain Python and for a compiled train step."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from carclf.errors import UserError
from carclf.flags import did_you_mean

PUBLISHED_CONSTANT_EPOCHS = 5  # Source: the 2020 notebook as published: lr * tf.math.exp(decay_rate) from epoch 5 on
PUBLISHED_DECAY_RATE = -0.05
ONE_CYCLE_RISE_FRACTION = 0.3  # Source: Smith & Topin 2018, with the constants of fastai and PyTorch
ONE_CYCLE_START_DIVISOR = 25.0
ONE_CYCLE_FINAL_DIVISOR = 25.0e4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """A learning rate for every step of a stage.

    Attributes:
      name: a key of `SCHEDULES`.
      learning_rate: the highest rate, reached at the end of the warm-up.
      steps_per_epoch: optimizer steps per epoch.
      epochs: epochs of the stage, including the warm-up.
      warmup_epochs: epochs of linear rise before the schedule's own clock starts; may be a fraction.
      decay: factor per epoch (exponential, cyclic_exp_range), per period (step) or per drop (plateau), in (0, 1].
      period_epochs: epochs between two drops (step), without improvement before a drop (plateau), or per half cycle
        (cyclic_*).
      lowest_fraction: low end of cosine, plateau and the cycles, as a fraction of `learning_rate`.
      ahead_steps: steps by which `step` is ahead of the optimizer's own counter, if earlier epochs had fewer steps.
    """

    name: str
    learning_rate: float
    steps_per_epoch: int
    epochs: int
    warmup_epochs: float = 0.0
    decay: float = 0.9
    period_epochs: float = 2.0
    lowest_fraction: float = 0.0
    ahead_steps: int = 0

    @property
    def warmup_steps(self) -> int:
        """Steps of the warm-up."""
        return round(self.warmup_epochs * self.steps_per_epoch)

    @property
    def decay_steps(self) -> int:
        """Steps after the warm-up."""
        return self.epochs * self.steps_per_epoch - self.warmup_steps

    def at(self, step: int) -> float:
        """Returns the rate of step `step`, counted from 0 at the start of the stage."""
        return float(self.learning_rate * self.factor(np.asarray(step), np))

    def factor(self, step: Any, xp: Any) -> Any:
        """Returns the rate at `step` (an integer array) as a fraction of `learning_rate`; `xp` is NumPy or `keras.ops`.

        The epoch is an integer division: in float32 the first step of an epoch could count to the epoch before.
        """
        own_step = xp.maximum(step - self.warmup_steps, 0)
        epoch = _float(xp.floor_divide(own_step, self.steps_per_epoch), xp)
        after = SCHEDULES[self.name](_float(own_step, xp), epoch, self, xp)
        if not self.warmup_steps:
            return after
        rising = (_float(step, xp) + 1.0) / self.warmup_steps
        return xp.where(step < self.warmup_steps, rising, after)

    @property
    def follows_metric(self) -> bool:
        """True if the rate is also multiplied by a `plateau_scale`, which no function of the step can know."""
        return self.name == "plateau"


Curve = Callable[[Any, Any, Schedule, Any], Any]
"""(step, epoch, schedule, xp) → fraction of the learning rate. Step and epoch are whole floats, counted from the end of
the warm-up; xp is NumPy or keras.ops."""


@dataclasses.dataclass(frozen=True)
class Factor:
    """How one variable follows the learning rate; by default, exactly.

    Attributes:
      scale: factor on the learning rate, at least 0; at 0 the variable never changes.
      first_step: the first step (a batch, counted from 0) that changes the variable.
    """

    scale: float = 1.0
    first_step: int = 0


def constant(step: Any, epoch: Any, schedule: Schedule, xp: Any) -> Any:
    """Returns 1 at every step."""
    return xp.ones_like(step)


def plateau(step: Any, epoch: Any, schedule: Schedule, xp: Any) -> Any:
    """Returns 1 at every step: the optimizer multiplies it by the `plateau_scale` of the epochs so far."""
    return constant(step, epoch, schedule, xp)


def exponential(step: Any, epoch: Any, schedule: Schedule, xp: Any) -> Any:
    """Returns decay^epoch, constant within an epoch. Source: the notebook's log (0.9^epoch)."""
    return xp.power(schedule.decay, epoch)


def published(step: Any, epoch: Any, schedule: Schedule, xp: Any) -> Any:
    """Returns 1 for five epochs, then e^−0.05 times less every epoch. Source: the notebook's published code."""
    return xp.exp(PUBLISHED_DECAY_RATE * xp.maximum(epoch - (PUBLISHED_CONSTANT_EPOCHS - 1.0), 0.0))


def step_decay(step: Any, epoch: Any, schedule: Schedule, xp: Any) -> Any:
    """Returns 1, multiplied by `decay` after every `period_epochs`."""
    return xp.power(schedule.decay, xp.floor(epoch / schedule.period_epochs))


def cosine(step: Any, epoch: Any, schedule: Schedule, xp: Any) -> Any:
    """Returns a half cosine from 1 to `lowest_fraction`. Source: Loshchilov & Hutter 2017, equation 5."""
    progress = xp.minimum(step / schedule.decay_steps, 1.0)
    return _between(schedule.lowest_fraction, 1.0, 0.5 * (1.0 + xp.cos(math.pi * progress)))


def one_cycle(step: Any, epoch: Any, schedule: Schedule, xp: Any) -> Any:
    """Returns a cosine rise from 1/25 over 30 % of the steps, then a cosine fall to 1/250000 at the last step.

    Source: Smith & Topin 2018, section 3; shape and constants as in torch.optim.lr_scheduler.OneCycleLR.
    """
    last = max(schedule.decay_steps - 1, 1)
    top = max(ONE_CYCLE_RISE_FRACTION * schedule.decay_steps - 1.0, 1e-6)
    rise = 0.5 * (1.0 - xp.cos(math.pi * xp.minimum(step / top, 1.0)))
    fall = 0.5 * (1.0 + xp.cos(math.pi * xp.minimum(xp.maximum(step - top, 0.0) / max(last - top, 1e-6), 1.0)))
    return xp.where(
        step <= top,
        _between(1.0 / ONE_CYCLE_START_DIVISOR, 1.0, rise),
        _between(1.0 / ONE_CYCLE_FINAL_DIVISOR, 1.0, fall),
    )


def cyclic_triangular(step: Any, epoch: Any, schedule: Schedule, xp: Any) -> Any:
    """Returns a triangle wave between `lowest_fraction` and 1. Source: Smith 2017, section 3.2."""
    _, height = _triangle(step, schedule, xp)
    return _between(schedule.lowest_fraction, 1.0, height)


def cyclic_triangular2(step: Any, epoch: Any, schedule: Schedule, xp: Any) -> Any:
    """Returns the triangle wave with its height halved every cycle. Source: Smith 2017, section 3.2."""
    cycle, height = _triangle(step, schedule, xp)
    return _between(schedule.lowest_fraction, 1.0, height * xp.power(0.5, cycle - 1.0))


def cyclic_exp_range(step: Any, epoch: Any, schedule: Schedule, xp: Any) -> Any:
    """Returns the triangle wave, its height shrinking by `decay` per epoch, continuously. Source: as above."""
    _, height = _triangle(step, schedule, xp)
    return _between(schedule.lowest_fraction, 1.0, height * xp.power(schedule.decay, step / schedule.steps_per_epoch))


SCHEDULES: dict[str, Curve] = {
    "constant": constant,
    "plateau": plateau,
    "exponential": exponential,
    "published": published,
    "step": step_decay,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "cyclic_triangular": cyclic_triangular,
    "cyclic_triangular2": cyclic_triangular2,
    "cyclic_exp_range": cyclic_exp_range,
}
SELF_WARMING = ("one_cycle", "cyclic_triangular", "cyclic_triangular2", "cyclic_exp_range")


def build_schedule(
    name: str,
    *,
    learning_rate: float,
    steps_per_epoch: int,
    epochs: int,
    warmup_epochs: float = 0.0,
    decay: float = 0.9,
    period_epochs: float = 2.0,
    lowest_fraction: float = 0.0,
    ahead_steps: int = 0,
) -> Schedule:
    """Returns the `Schedule` of that name; the arguments are its attributes.

    Raises:
      UserError: the name is unknown, a value is out of range, or a schedule that rises by itself has a warm-up.
    """
    if name not in SCHEDULES:
        hint = did_you_mean(name, SCHEDULES)
        raise UserError(f"There is no schedule {name!r}: {hint}Known are {', '.join(SCHEDULES)}.")
    checks = {
        f"the learning rate is {learning_rate}: give a number above 0": 0.0 < learning_rate < math.inf,
        f"an epoch has {steps_per_epoch} steps: lower --batch_size": steps_per_epoch >= 1,
        f"there are {epochs} epochs: give at least 1": epochs >= 1,
        f"the warm-up takes {warmup_epochs} of {epochs} epochs: leave some": 0.0 <= warmup_epochs < epochs,
        f"decay is {decay}: give a factor above 0 and at most 1": 0.0 < decay <= 1.0,
        f"the period is {period_epochs} epochs: give a number above 0": 0.0 < period_epochs < math.inf,
        f"the lowest fraction is {lowest_fraction}: give one from 0 to 1": 0.0 <= lowest_fraction <= 1.0,
        f"{name} rises by itself: leave out the warm-up": not (warmup_epochs and name in SELF_WARMING),
    }
    if wrong := [sentence for sentence, holds in checks.items() if not holds]:
        raise UserError(f"The schedule {name} is impossible: {wrong[0]}.")
    return Schedule(
        name=name,
        learning_rate=learning_rate,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        warmup_epochs=warmup_epochs,
        decay=decay,
        period_epochs=period_epochs,
        lowest_fraction=lowest_fraction,
        ahead_steps=ahead_steps,
    )


def check_schedule(name: str, *, epochs: int, warmup_epochs: float) -> None:
    """Checks that the schedule exists and that the warm-up suits it and the epochs.

    Raises:
      UserError: as for `build_schedule`.
    """
    build_schedule(name, learning_rate=1.0, steps_per_epoch=1, epochs=epochs, warmup_epochs=warmup_epochs)


def plateau_scale(
    history: Sequence[float],
    *,
    factor: float,
    patience: float,
    min_scale: float = 0.0,
    min_delta: float = 1e-4,
    larger_is_better: bool = True,
) -> float:
    """Returns the scale of the learning rate, in min_scale..1, for the epoch that follows `history`.

    After `patience` epochs that improve the best metric by no more than `min_delta`, the scale is multiplied by
    `factor`, and the count starts again. It depends only on the history, so a run can resume from that.

    Args:
      history: the metric of each finished epoch, such as validation accuracy.
      factor: of one drop, in (0, 1].
      patience: epochs, at least 1; a fraction is rounded up.
      min_scale: lower limit of the scale, in 0..1.
      min_delta: the smallest improvement that counts.
      larger_is_better: False for a loss.

    Source: keras.callbacks.ReduceLROnPlateau, with no cooldown and its default `min_delta`.
    """
    scale, best, waited = 1.0, -math.inf, 0
    for metric in history:
        score = metric if larger_is_better else -metric
        if score - min_delta > best:
            best, waited = score, 0
            continue
        waited += 1
        if waited >= patience:
            scale, waited = max(scale * factor, min_scale), 0
    return scale


def _float(values: Any, xp: Any) -> Any:
    return xp.cast(values, "float32") if hasattr(xp, "cast") else np.asarray(values, np.float64)


def _between(low: float, high: float, fraction: Any) -> Any:
    return low + (high - low) * fraction


def _triangle(step: Any, schedule: Schedule, xp: Any) -> tuple[Any, Any]:
    """Returns the number of the cycle, counted from 1, and the height within it, 0..1."""
    half_cycle_steps = schedule.period_epochs * schedule.steps_per_epoch
    cycle = xp.floor(1.0 + step / (2.0 * half_cycle_steps))
    return cycle, xp.maximum(0.0, 1.0 - xp.abs(step / half_cycle_steps - 2.0 * cycle + 1.0))
