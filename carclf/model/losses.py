"""The table of losses: logits and soft targets to one number per photo."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from carclf.errors import UserError
from carclf.flags import did_you_mean

# Lower limit of the complement 1 − p: powers below 1 have no finite slope at 0.
SMALLEST_COMPLEMENT = 1e-7


@keras.saving.register_keras_serializable(package="carclf")
class FocalCrossEntropy(keras.losses.Loss):
    """Σ_k target_k · (1 − p_k)^γ · (−log p_k) with p = softmax(logits): float32 [B] for two of [B, K].

    It equals `keras.losses.CategoricalFocalCrossentropy` with α = 1 as long as no probability is below 1e-7. Keras
    clips smaller ones, so their slope is 0 and a badly wrong photo is never learnt; here they keep their slope.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4, summed over a soft target.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__(name="focal", dtype="float32")
        self.gamma = gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each photo, float32 [B].

        Args:
          y_true: distributions, [B, K].
          y_pred: logits, [B, K].
        """
        log_probability = ops.log_softmax(y_pred, axis=-1)
        complement = ops.maximum(-ops.expm1(log_probability), SMALLEST_COMPLEMENT)
        return -ops.sum(y_true * ops.power(complement, self.gamma) * log_probability, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the loss's argument."""
        return {"gamma": self.gamma}


def _cross_entropy(focal_gamma: float) -> keras.losses.Loss:
    return keras.losses.CategoricalCrossentropy(from_logits=True, name="cross_entropy", dtype="float32")


LOSSES: dict[str, Callable[[float], keras.losses.Loss]] = {
    "cross_entropy": _cross_entropy,
    "focal": FocalCrossEntropy,
}


def build_loss(name: str, *, focal_gamma: float = 2.0) -> keras.losses.Loss:
    """Returns a `keras.losses.Loss` of targets and logits, both [B, K]: the weighted mean; its `call`, float32 [B].

    Targets are distributions that already include smoothing and mixing.

    Args:
      name: a key of `LOSSES`. "cross_entropy" is Keras's own; "focal" weights the term of each class by (1 − p)^γ.
      focal_gamma: γ of "focal", at least 0; 0 gives the cross-entropy.

    Raises:
      UserError: the name is unknown, or γ is out of range.
    """
    if name not in LOSSES:
        hint = did_you_mean(name, LOSSES)
        raise UserError(f"There is no loss {name!r}: {hint}Known are {', '.join(LOSSES)}.")
    if not 0.0 <= focal_gamma < math.inf:
        raise UserError(f"--focal_gamma is {focal_gamma}: give a number of at least 0, such as 2.")
    return LOSSES[name](focal_gamma)
