"""BatchNorm statistics for weights that were averaged."""

import itertools
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from carclf.model.classifier import batch_norm_layers
from carclf.model.weight_average import running_average

STATISTICS_BATCHES = 50  # number of batches that the statistics are computed from


class StatisticsPass:
    """Computes BatchNorm statistics again, for weights that were averaged and have seen no batch.

    Every trainable BatchNorm layer gets the mean of the batch means and of the batch variances, with equal weight per
    batch; the momentum has no effect. Frozen layers keep and use their statistics. The passes are training passes, with
    dropout. Used again for other weights, it compiles nothing.

    Args:
      model: any built model, with its layers trainable or frozen.
      jit: compile the pass with XLA: on GPU and TPU, not on a CPU under TensorFlow.

    Source: Izmailov et al. 2018, section 3.2, and torch.optim.swa_utils.update_bn.
    """

    def __init__(self, model: keras.Model, *, jit: bool = False) -> None:
        self._norms = [norm for norm in batch_norm_layers(model) if norm.trainable]
        self._forward = _TrainingPass(model)
        self._forward.compile(jit_compile=jit)

    def renew(self, batches: Iterable[Any]) -> int:
        """Computes the statistics for the model's current weights, and returns how many layers have new ones.

        Args:
          batches: the model's inputs, arrays or tensors of TensorFlow, all of one shape; at most STATISTICS_BATCHES are
            read.

        Raises:
          ValueError: there is no batch. After this or any other error the statistics are unchanged.
        """
        norms = self._norms
        if not norms:
            return 0
        moving = [variable for norm in norms for variable in (norm.moving_mean, norm.moving_variance)]
        result = [keras.ops.convert_to_numpy(variable).copy() for variable in moving]
        momenta = [norm.momentum for norm in norms]
        mean: list[np.ndarray] | None = None
        try:
            for norm in norms:
                norm.momentum = 0.0  # then the statistics after a batch are those of this batch only
            for count, batch in enumerate(itertools.islice(batches, STATISTICS_BATCHES)):
                self._forward.predict_on_batch(_of_backend(batch))
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


def recompute_batch_norm(model: keras.Model, batches: Iterable[Any], *, jit: bool = False) -> int:
    """Computes BatchNorm statistics once; see `StatisticsPass`."""
    return StatisticsPass(model, jit=jit).renew(batches)


def _of_backend(batch: Any) -> Any:
    """Returns a batch as the backend takes it: the input path gives tensors of TensorFlow, which JAX refuses."""
    return batch if keras.backend.backend() == "tensorflow" else keras.tree.map_structure(np.asarray, batch)


class _TrainingPass(keras.Model):
    """A model that predicts by a training pass and returns one number, so that nothing large leaves the device."""

    def __init__(self, inner: keras.Model) -> None:
        super().__init__(name="training_pass")  # a TensorFlow scope must not begin with _
        self.inner = inner

    def call(self, inputs: Any) -> Any:
        return keras.ops.mean(self.inner(inputs, training=True), axis=-1)
