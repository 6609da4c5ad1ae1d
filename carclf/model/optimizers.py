"""The table of optimizers, and the options of all of them: weight decay, clipping, EMA of the weights."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from carclf.errors import UserError
from carclf.flags import did_you_mean
from carclf.model.schedules import Factor, Schedule

if TYPE_CHECKING:  # options are checked against the table, which must not wait for Keras
    import keras

NEVER_DECAYED = ("bias", "gamma", "beta")  # Source: He et al. 2019, "Bag of Tricks", section 3.1: no bias decay


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerRow:
    """One row of `OPTIMIZERS`.

    Attributes:
      builder: the class in `keras.optimizers`.
      has_amsgrad: whether it has the AMSGrad variant.
      weight_decay: default decoupled decay; None for no decay.
      has_fused_step: whether its step is one kernel of TensorFlow.
      batch_exponent: the power of the batch size with which its best learning rate grows, see `scaled_learning_rate`.
      arguments: further fixed arguments of the class.
    """

    builder: str
    has_amsgrad: bool = False
    has_fused_step: bool = False
    weight_decay: float | None = None
    batch_exponent: float = 0.5
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


OPTIMIZERS: dict[str, OptimizerRow] = {
    "adam": OptimizerRow(builder="Adam", has_amsgrad=True, has_fused_step=True),
    "nadam": OptimizerRow(builder="Nadam"),
    "adamax": OptimizerRow(builder="Adamax"),
    "adamw": OptimizerRow(
        builder="AdamW",
        has_amsgrad=True,
        has_fused_step=True,
        weight_decay=0.004,  # Keras's own default
    ),
    "sgd": OptimizerRow(builder="SGD", batch_exponent=1.0, arguments={"momentum": 0.9, "nesterov": True}),
}


def build_optimizer(
    name: str,
    *,
    schedule: Schedule | float,
    amsgrad: bool = False,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    ema_momentum: float = 0.0,
    accumulation_steps: int = 1,
    factors: Mapping[str, Factor] | None = None,
    replicas: int = 1,
    fused: bool = False,
) -> "keras.optimizers.Optimizer":
    """Returns a new, unbuilt Keras optimizer, extended by `layer_rates` and `clipping` if the options need them.

    Args:
      name: a key of `OPTIMIZERS`.
      schedule: the learning rate per batch: a schedule, or a number that callbacks may change. With the schedule
        `plateau` the optimizer has the variable that `set_learning_rate_scale` sets.
      amsgrad: use the AMSGrad variant.
      weight_decay: decoupled decay per update, of kernels only; 0 means the optimizer's default (adamw 0.004, others
        none).
      clip_norm: the largest global norm of the gradient of the whole batch; 0 does not clip.
      ema_momentum: momentum of an exponential moving average of the weights, in (0, 1); 0 keeps none. The EMA is stored
        next to the weights until `optimizer.finalize_variable_values` swaps it in (`fit` does so at its end).
      accumulation_steps: number of batches per update, which uses their mean gradient. A schedule still counts batches.
      factors: how each variable follows the learning rate, by its `path`; a variable without a factor follows it
        exactly. See `carclf.model.unfreezing.learning_factors`.
      replicas: devices that share a batch.
      fused: use TensorFlow's own kernel where the optimizer has one, for one device without XLA: see
        `carclf.model.fused_adam`. The optimizer has the same variables without it.

    Raises:
      UserError: the name is unknown, a value is out of range, the optimizer has no AMSGrad, or gradients are to be
        accumulated on several TensorFlow devices.
    """
    import keras

    row = _find(name)
    _check_optimizer(name, amsgrad=amsgrad, weight_decay=weight_decay, clip_norm=clip_norm, ema=ema_momentum)
    _check_accumulation(accumulation_steps, replicas=replicas, backend=keras.backend.backend())
    arguments = dict(row.arguments)
    if row.has_amsgrad:
        arguments["amsgrad"] = amsgrad
    if ema_momentum:
        arguments |= {"use_ema": True, "ema_momentum": ema_momentum}
    if accumulation_steps > 1:
        arguments["gradient_accumulation_steps"] = accumulation_steps
    optimizer_class: Any = getattr(keras.optimizers, row.builder)
    follows_metric = isinstance(schedule, Schedule) and schedule.follows_metric
    if factors or follows_metric or (ema_momentum and accumulation_steps > 1):
        from carclf.model.layer_rates import with_layer_rates

        optimizer_class = with_layer_rates(optimizer_class)
        arguments["factors"] = factors or {}
    if fused and row.has_fused_step:
        from carclf.model.fused_adam import with_fused_step

        # The paths of the variables, which checkpoints hold, begin with the name that Keras gives the plain class.
        arguments["name"] = re.sub(r"(?<!^)(?=[A-Z])", "_", optimizer_class.__name__).lower()
        optimizer_class = with_fused_step(optimizer_class)
    if clip_norm and replicas > 1 and keras.backend.backend() == "tensorflow":
        from carclf.model.clipping import clipping_the_sum

        optimizer_class = clipping_the_sum(optimizer_class)
    optimizer = optimizer_class(
        learning_rate=_learning_rate(schedule),
        weight_decay=weight_decay or row.weight_decay,
        global_clipnorm=clip_norm or None,
        **arguments,
    )
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(NEVER_DECAYED))
    return optimizer


def _check_optimizer(name: str, *, amsgrad: bool, weight_decay: float, clip_norm: float, ema: float) -> None:
    check_amsgrad(amsgrad, optimizer=name)
    for flag, value in {"weight_decay": weight_decay, "clip_norm": clip_norm}.items():
        if not 0.0 <= value < math.inf:
            raise UserError(f"--{flag} is {value}: give a number of at least 0.")
    if not 0.0 <= ema < 1.0:
        raise UserError(f"--ema_momentum is {ema}: give 0 for none, or a number below 1 such as 0.999.")


def check_amsgrad(amsgrad: bool, *, optimizer: str) -> None:
    """Checks that the optimizer has the AMSGrad variant, if it is requested.

    Raises:
      UserError: it has none, or there is no such optimizer.
    """
    if amsgrad and not _find(optimizer).has_amsgrad:
        having = " or ".join(name for name, row in OPTIMIZERS.items() if row.has_amsgrad)
        raise UserError(f"The optimizer {optimizer} has no AMSGrad variant: leave out --amsgrad, or use {having}.")


def _check_accumulation(steps: int, *, replicas: int, backend: str) -> None:
    if steps < 1:
        raise UserError(f"--accumulation_steps is {steps}: give the number of batches per update, at least 1.")
    if steps > 1 and replicas > 1 and backend == "tensorflow":
        raise UserError(
            f"--accumulation_steps={steps} does not work on {replicas} devices under TensorFlow (Keras cannot "
            "accumulate under MirroredStrategy): use one device, KERAS_BACKEND=jax, or leave it out."
        )


def set_learning_rate_scale(optimizer: "keras.optimizers.Optimizer", scale: float) -> None:
    """Sets the scale (0..1) of the schedule `plateau`, from the next step on.

    The scale is one of `optimizer.variables`, so a checkpoint of them contains it.

    Args:
      optimizer: of a compiled model; also one that Keras has wrapped for float16.
      scale: from `carclf.model.schedules.plateau_scale`.

    Raises:
      AttributeError: the optimizer was built for another schedule.
    """
    getattr(optimizer, "inner_optimizer", optimizer).learning_rate_scale.assign(scale)


def scaled_learning_rate(learning_rate: float, *, batch_size: int, reference_batch_size: int, optimizer: str) -> float:
    """Returns the learning rate for `batch_size` photos, given the right one for `reference_batch_size`.

    It grows linearly with the batch size for SGD, and with its square root for the Adam family, so that the relative
    noise of a step stays the same. `batch_size` is the number of photos per update: on all devices, times the
    accumulated batches.

    Raises:
      UserError: the optimizer is unknown, or a batch size is below 1.

    Source: Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.1 (linear); Malladi et al. 2022, "On the SDEs
      and Scaling Rules for Adaptive Gradient Algorithms", definition 5.2 (square root; it also scales the betas, which
      stay unchanged here).
    """
    for name, size in {"batch_size": batch_size, "reference_batch_size": reference_batch_size}.items():
        if size < 1:
            raise UserError(f"--{name} is {size}: give a number of photos, at least 1.")
    return learning_rate * (batch_size / reference_batch_size) ** _find(optimizer).batch_exponent


def _find(name: str) -> OptimizerRow:
    if name not in OPTIMIZERS:
        hint = did_you_mean(name, OPTIMIZERS)
        raise UserError(f"There is no optimizer {name!r}: {hint}Known are {', '.join(OPTIMIZERS)}.")
    return OPTIMIZERS[name]


def _learning_rate(schedule: Schedule | float) -> Any:
    from carclf.model.learning_rate import LearningRate

    return LearningRate(schedule) if isinstance(schedule, Schedule) else schedule
