"""How a head turns the positions of a feature map into one vector: their mean, or a mean with learned weights."""

from typing import Any

import keras
from keras import layers, ops

from carclf.model.heads import Pooling

QUERIES = 8
EPSILON = 1e-6


def build_pooling(pooling: Pooling, *, name: str) -> layers.Layer:
    """Returns the layer from a feature map [B, h, w, D] to [B, D]."""
    return AttentionPooling(name=name) if pooling == "attention" else layers.GlobalAveragePooling2D(name=name)


@keras.saving.register_keras_serializable(package="carclf")
class AttentionPooling(layers.Layer):
    """Attentive pooling: a mean over positions in which learned queries say how much each position counts.

    Each query pools a group of neighbouring channels. Its scores are its scalar products with the normalised features
    of the positions, over √D, and their softmax gives the weights. New queries are zero, which is the plain mean: so
    the layer can start from what was fitted on means. It has queries · D parameters and is computed in float32.

    Source: Psomas et al. 2025, "Attention, Please! Revisiting Attentive Probing for Masked Image Modeling": several
      queries, neither key nor output projections. The values are not projected either.
    """

    def __init__(self, queries: int = QUERIES, **arguments: Any) -> None:
        """See the class.

        Args:
          queries: the most; the layer takes the largest number up to it that divides D.
          **arguments: of every Keras layer.
        """
        super().__init__(**({"dtype": "float32"} | arguments))
        self.queries = queries

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the queries, float32 [D, Q]."""
        width = int(input_shape[-1] or 0)
        groups = max(count for count in range(1, self.queries + 1) if width % count == 0)
        self.kernel = self.add_weight(shape=(width, groups), initializer="zeros", name="queries")
        super().build(input_shape)

    def weighted(self, features: Any) -> Any:
        """Returns the features, float32 [B, h, w, D], times h · w times the weights: their plain mean is pooled."""
        height, width, depth = (int(side) for side in features.shape[1:])
        groups = int(self.kernel.shape[-1])
        positions = ops.reshape(features, (-1, height * width, depth))
        scores = ops.matmul(_normalised(positions), self.kernel) / depth**0.5
        weights = ops.softmax(scores, axis=1) * (height * width)
        split = ops.reshape(positions, (-1, height * width, groups, depth // groups))
        return ops.reshape(split * weights[..., None], (-1, height, width, depth))

    def call(self, inputs: Any) -> Any:
        """Returns the pooled features, float32 [B, D], of a feature map [B, h, w, D]."""
        return ops.mean(self.weighted(inputs), axis=(1, 2))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns (B, D)."""
        return input_shape[0], input_shape[-1]

    def reset(self) -> None:
        """Makes the pooling a plain mean again."""
        self.kernel.assign(ops.zeros(self.kernel.shape))

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return super().get_config() | {"queries": self.queries}


def _normalised(features: Any) -> Any:
    mean = ops.mean(features, axis=-1, keepdims=True)
    centred = features - mean
    return centred * ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + EPSILON)
