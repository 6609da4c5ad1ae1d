"""The table of optimizers, and what every one of them can be given: decay, clipping, an average of the weights."""

import dataclasses
import difflib
import math
from typing import TYPE_CHECKING, Any

from carclf.errors import UserError
from carclf.model.schedules import Schedule

if TYPE_CHECKING:  # the table itself is read by flag help, which must not wait for Keras
    import keras

NEVER_DECAYED = ("bias", "gamma", "beta")  # Source: He et al. 2019, "Bag of Tricks", section 3.1: no bias decay


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerRow:
    """One row of `OPTIMIZERS`.

    Attributes:
      builder: the class in `keras.optimizers`.
      has_amsgrad: whether it knows the AMSGrad variant.
      weight_decay: decoupled decay when none is given; None for no decay.
      arguments: further fixed arguments of the class.
    """

    builder: str
    has_amsgrad: bool = False
    weight_decay: float | None = None
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


OPTIMIZERS: dict[str, OptimizerRow] = {
    "adam": OptimizerRow(builder="Adam", has_amsgrad=True),
    "nadam": OptimizerRow(builder="Nadam"),
    "adamax": OptimizerRow(builder="Adamax"),
    "adamw": OptimizerRow(builder="AdamW", has_amsgrad=True, weight_decay=0.004),  # Keras's own default
    "sgd": OptimizerRow(builder="SGD", arguments={"momentum": 0.9, "nesterov": True}),
}


def build_optimizer(
    name: str,
    *,
    schedule: Schedule | float,
    amsgrad: bool = False,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    ema_momentum: float = 0.0,
) -> "keras.optimizers.Optimizer":
    """A new, unbuilt optimizer.

    Args:
      name: a key of `OPTIMIZERS`.
      schedule: the learning rate: a schedule, or a number that callbacks may change.
      amsgrad: the AMSGrad variant.
      weight_decay: decoupled decay per step, of kernels only; 0 takes the optimizer's own (adamw 0.004, others none).
      clip_norm: the largest global norm of the gradient; 0 does not clip.
      ema_momentum: momentum of an exponential moving average of the weights, in (0, 1); 0 keeps none. The average lies
        beside the weights until `optimizer.finalize_variable_values` swaps it in (`fit` does so at its end).

    Raises:
      UserError: an unknown name, a value out of range, AMSGrad where there is none.
    """
    import keras

    row = _find(name)
    if amsgrad and not row.has_amsgrad:
        having = " or ".join(name for name, row in OPTIMIZERS.items() if row.has_amsgrad)
        raise UserError(f"--amsgrad is not for {name}: leave it out, or use {having}.")
    for flag, value in {"weight_decay": weight_decay, "clip_norm": clip_norm}.items():
        if not 0.0 <= value < math.inf:
            raise UserError(f"--{flag} is {value}: give a number of at least 0.")
    if not 0.0 <= ema_momentum < 1.0:
        raise UserError(f"--ema_momentum is {ema_momentum}: give 0 for none, or a number below 1 such as 0.999.")
    arguments = dict(row.arguments)
    if row.has_amsgrad:
        arguments["amsgrad"] = amsgrad
    if ema_momentum:
        arguments |= {"use_ema": True, "ema_momentum": ema_momentum}
    optimizer = getattr(keras.optimizers, row.builder)(
        learning_rate=_learning_rate(schedule),
        weight_decay=weight_decay or row.weight_decay,
        global_clipnorm=clip_norm or None,
        **arguments,
    )
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(NEVER_DECAYED))
    return optimizer


def _find(name: str) -> OptimizerRow:
    if name not in OPTIMIZERS:
        near = difflib.get_close_matches(name.lower(), OPTIMIZERS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"There is no optimizer {name!r}: {hint}Known are {', '.join(OPTIMIZERS)}.")
    return OPTIMIZERS[name]


def _learning_rate(schedule: Schedule | float) -> Any:
    from carclf.model.learning_rate import LearningRate

    return LearningRate(schedule) if isinstance(schedule, Schedule) else schedule
