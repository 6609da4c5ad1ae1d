"""Stochastic weight averaging (SWA): the mean of several states of a model, and BatchNorm statistics for it."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from carclf.model.classifier import batch_norm_layers


def running_average(
    average: Sequence[np.ndarray] | None, weights: Sequence[np.ndarray], *, count: int
) -> list[np.ndarray]:
    """Returns the mean of `count` + 1 states: float64 for float arrays, the newest value for others (counters, seeds).

    Between epochs, and in a checkpoint, this list and the count are the whole state.

    Args:
      average: the mean of the earlier states, or None if there are none.
      weights: the newest state, from `model.get_weights()`; `model.set_weights` accepts the mean.
      count: number of states in `average`.

    Raises:
      ValueError: the two differ in length or in a shape, or the count does not fit `average`.

    Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima", algorithm 1.
    """
    if (average is None) != (count == 0):
        raise ValueError(f"None goes with a count of 0. Received: {count=}, average is None: {average is None}")
    newest = [
        array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array
        for array in map(np.asarray, weights)
    ]
    if average is None:
        return newest
    before, now = ([np.shape(array) for array in state] for state in (average, newest))
    if before != now:
        raise ValueError(f"The states do not have the same shapes. Received: {before} and {now}")
    return [
        old + (new - old) / (count + 1) if np.issubdtype(new.dtype, np.floating) else new
        for old, new in zip(average, newest, strict=True)
    ]


def recompute_batch_norm(model: keras.Model, batches: Iterable[Any], *, jit: bool = False) -> int:
    """Recomputes BatchNorm statistics from batches, and returns how many BatchNorm layers have new ones.

    Averaged weights have seen no batch, so the stored statistics belong to other weights. Every trainable BatchNorm
    layer gets the mean of the batch means and of the batch variances, with equal weight per batch; the momentum has no
    effect. Frozen layers keep and use their statistics. The passes are training passes, with dropout.

    Args:
      model: any built model.
      batches: its inputs, all of one shape; read once.
      jit: compile the pass with XLA: on GPU and TPU, not on a CPU under TensorFlow.

    Raises:
      ValueError: there is no batch. After this or any other error the statistics are unchanged.

    Source: Izmailov et al. 2018, section 3.2, and torch.optim.swa_utils.update_bn.
    """
    norms = [norm for norm in batch_norm_layers(model) if norm.trainable]
    if not norms:
        return 0
    moving = [variable for norm in norms for variable in (norm.moving_mean, norm.moving_variance)]
    result = [keras.ops.convert_to_numpy(variable).copy() for variable in moving]
    momenta = [norm.momentum for norm in norms]
    mean: list[np.ndarray] | None = None
    try:
        for norm in norms:
            norm.momentum = 0.0  # then the statistics after a batch are those of this batch only
        forward = _TrainingPass(model)
        forward.compile(jit_compile=jit)
        for count, batch in enumerate(batches):
            forward.predict_on_batch(batch)
            mean = running_average(mean, [keras.ops.convert_to_numpy(variable) for variable in moving], count=count)
        if mean is None:
            raise ValueError("BatchNorm statistics need at least one batch. Received: none")
        result = mean
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for variable, values in zip(moving, result, strict=True):
            variable.assign(values)
    return len(norms)


class _TrainingPass(keras.Model):
    """A model that predicts by a training pass and returns one number, so that nothing large leaves the device."""

    def __init__(self, inner: keras.Model) -> None:
        super().__init__(name="training_pass")  # a TensorFlow scope must not begin with _
        self.inner = inner

    def call(self, inputs: Any) -> Any:
        return keras.ops.mean(self.inner(inputs, training=True), axis=-1)
