"""Puts the exponential moving average of the weights (EMA) into the model while it is validated or saved."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


class EmaWeights(keras.callbacks.Callback):
    """Validates with the averaged weights, then restores the weights bit for bit.

    Keras's own SwapEMAWeights swaps by adding and subtracting, which changes the weights in their last bits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._weights: list[np.ndarray] | None = None

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Replaces the weights with their averages."""
        optimizer = self._optimizer
        self._weights = [np.array(keras.ops.convert_to_numpy(v)) for v in optimizer._trainable_variables]
        for variable, average in zip(
            optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
        ):
            variable.assign(keras.ops.convert_to_numpy(average))

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the weights."""
        for variable, weights in zip(self._optimizer._trainable_variables, self._weights or [], strict=True):
            variable.assign(weights)
        self._weights = None

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """Replaces the weights with their averages inside this context."""
        self.on_test_begin()
        try:
            yield
        finally:
            self.on_test_end()

    @property
    def _optimizer(self) -> Any:
        optimizer = self.model.optimizer
        return getattr(optimizer, "inner_optimizer", optimizer)  # float16 wraps it to scale the loss
