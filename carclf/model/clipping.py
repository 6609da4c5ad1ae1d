"""Clips the gradient of the whole batch, summed over all replicas."""

import functools
from collections.abc import Sequence
from typing import Any

import keras

from carclf.model.optimizers import NEVER_DECAYED


@functools.cache
def clipping_the_sum(optimizer: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    """Returns the subclass of a Keras optimizer class that clips as `ClippedSum` does."""
    made = type(f"Clipping{optimizer.__name__}", (ClippedSum, optimizer), {})
    return keras.saving.register_keras_serializable(package="carclf")(made)


class ClippedSum(keras.optimizers.Optimizer):
    """Clips the summed gradient; `clipping_the_sum` mixes it into an optimizer class for several TensorFlow devices.

    Keras clips the gradient of each replica's part of the batch and then adds them up, so the size of a step depends on
    the number of devices. This class clips the sum, which is the gradient of the whole batch.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.weight_decay:  # a saved model does not hold what Keras was told to exclude
            self.exclude_from_weight_decay(var_names=list(NEVER_DECAYED))

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        return grads

    def _all_reduce_sum_gradients(self, grads_and_vars: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        gradients, variables = zip(*super()._all_reduce_sum_gradients(grads_and_vars), strict=True)
        return list(zip(super()._clip_gradients(gradients), variables, strict=True))
