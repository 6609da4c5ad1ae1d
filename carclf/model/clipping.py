"""Clipping of the gradient that all replicas have made together."""

import functools
from collections.abc import Sequence
from typing import Any

import keras


@functools.cache
def clipping_the_sum(optimizer: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    """The subclass of a Keras optimizer class that clips as `ClippedSum` does."""
    return type(f"Clipping{optimizer.__name__}", (ClippedSum, optimizer), {})


class ClippedSum(keras.optimizers.Optimizer):
    """What `clipping_the_sum` puts before an optimizer class, for several devices that TensorFlow drives.

    Keras clips each replica's gradient, that of its share of the batch, and then adds them up, so that how far a step
    goes depends on the number of devices. Here the sum, the gradient of the whole batch, is clipped.
    """

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        return grads

    def _all_reduce_sum_gradients(self, grads_and_vars: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        gradients, variables = zip(*super()._all_reduce_sum_gradients(grads_and_vars), strict=True)
        return list(zip(super()._clip_gradients(gradients), variables, strict=True))
