"""Computes features with a backbone behind Render: by Keras, or by an engine that takes over from it."""

from collections.abc import Mapping

import keras
import numpy as np

from carclf.engines.agreement import feature_difference
from carclf.engines.choice import Engines
from carclf.engines.switch import Switch
from carclf.model.compile import compiled_prediction
from carclf.model.photo_classifier import network_of, renderer_of


class EngineModel:
    """Batches of arrays to features, in one thread.

    Attributes:
      width: size of the last axis of the features.
    """

    def __init__(self, model: keras.Model, *, engines: Engines, images: int, jit: bool) -> None:
        """A model that Keras computes at first.

        Args:
          model: from `build_photo_classifier`, of a network whose outputs are features [B, …].
          engines: the ones that may take over.
          images: how many will be computed.
          jit: whether XLA compiles it.
        """
        model.compile(jit_compile=jit)
        self.width = int(model.output_shape[-1])
        self._model, self._engines = model, engines
        self._render = compiled_prediction(renderer_of(model), lambda inputs: inputs, jit=jit)
        self._switch = Switch(engines, network_of(model), images=images, difference=feature_difference)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the features, float32 [B, …], of the pipeline's arrays."""
        (features,) = self._switch.run_batch(
            lambda: [np.asarray(self._model.predict_on_batch(inputs))], lambda view: np.asarray(self._render(inputs))
        )
        return np.asarray(features)

    def used(self) -> tuple[str, ...]:
        """Returns the engines that have computed features since the last call, by their names in `ENGINES`."""
        used = tuple(self._engines.used)
        self._engines.used.clear()
        return used
