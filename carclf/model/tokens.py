"""Images to the tokens of a vision transformer, at any image size, and its tokens to a feature map."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

CUBIC = -0.75  # PyTorch's constant, with which the positions of published networks are resized


@keras.saving.register_keras_serializable(package="carclf")
class PatchTokens(layers.Layer):
    """Patches of an image as tokens, with learned positions that are resized to the image, and tokens in front.

    Its weights are those of the size that the network was trained at, whatever the size of the image: `kernel`, `bias`,
    `prefix` float32 [P, D], the tokens in front with their positions, and `positions` float32 [h, w, D].

    Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.2: positions are interpolated in 2D.
    """

    def __init__(self, *, patch: tuple[int, int], grid: tuple[int, int], width: int, prefix: int, **arguments: Any):
        """See the class.

        Args:
          patch: height and width of a patch in pixels.
          grid: (h, w), the number of learned positions down and across.
          width: D.
          prefix: P.
          **arguments: of every Keras layer.
        """
        super().__init__(**arguments)
        self.patch, self.grid = (patch[0], patch[1]), (grid[0], grid[1])
        self.width, self.prefix = width, prefix

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        self.kernel = self.add_weight(shape=(*self.patch, input_shape[-1], self.width), name="kernel")
        self.bias = self.add_weight(shape=(self.width,), initializer="zeros", name="bias")
        if self.prefix:
            self.prefix_tokens = self.add_weight(shape=(self.prefix, self.width), initializer="zeros", name="prefix")
        self.positions = self.add_weight(shape=(*self.grid, self.width), initializer="zeros", name="positions")
        super().build(input_shape)

    def call(self, images: Any) -> Any:
        """Returns the tokens [B, P + h'·w', D] of images [B, H, W, 3]."""
        kernel = ops.cast(self.kernel, self.compute_dtype)
        x = ops.conv(images, kernel, strides=self.patch, padding="valid") + ops.cast(self.bias, self.compute_dtype)
        height, width = int(x.shape[1]), int(x.shape[2])
        x = x + ops.cast(self._resized(height, width), self.compute_dtype)
        x = ops.reshape(x, (-1, height * width, self.width))
        if not self.prefix:
            return x
        one_each = ops.zeros_like(x[:, :1])
        return ops.concatenate([one_each + ops.cast(self.prefix_tokens, self.compute_dtype), x], axis=1)

    def _resized(self, height: int, width: int) -> Any:
        """Returns the positions [height, width, D]. By matrix products: XLA has no bicubic resize."""
        if (height, width) == self.grid:
            return ops.convert_to_tensor(self.positions)
        down, across = cubic_matrix(height, self.grid[0]), cubic_matrix(width, self.grid[1])
        rows = ops.tensordot(down, ops.convert_to_tensor(self.positions), axes=1)
        return ops.transpose(ops.tensordot(across, ops.transpose(rows, (1, 0, 2)), axes=1), (1, 0, 2))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns (B, P + h'·w', D)."""
        height, width = ((input_shape[axis + 1] or 0) // self.patch[axis] for axis in (0, 1))
        return input_shape[0], self.prefix + height * width, self.width

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        own = {"patch": self.patch, "grid": self.grid, "width": self.width, "prefix": self.prefix}
        return super().get_config() | own


@keras.saving.register_keras_serializable(package="carclf")
class TokenMap(layers.Layer):
    """Tokens [B, P + h·w, D] as a feature map [B, h, w, D], or with the first token beside each patch [B, h, w, 2·D].

    The mean of the second over positions is the class token and the mean of the patches: what linear classifiers on
    DINOv2 see (Oquab et al. 2024, "DINOv2", appendix B.3).
    """

    def __init__(self, *, grid: tuple[int, int], prefix: int, with_first: bool, **arguments: Any) -> None:
        """See the class.

        Args:
          grid: (h, w).
          prefix: P.
          with_first: whether to put the first token beside each patch.
          **arguments: of every Keras layer.
        """
        super().__init__(**arguments)
        self.grid, self.prefix, self.with_first = (grid[0], grid[1]), prefix, with_first

    def call(self, tokens: Any) -> Any:
        """Returns the feature map."""
        patches = tokens[:, self.prefix :]
        if self.with_first:
            first = tokens[:, :1] + ops.zeros_like(patches)
            patches = ops.concatenate([first, patches], axis=-1)
        return ops.reshape(patches, (-1, *self.grid, int(patches.shape[-1])))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns (B, h, w, channels)."""
        return input_shape[0], *self.grid, (input_shape[-1] or 0) * (2 if self.with_first else 1)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments."""
        return super().get_config() | {"grid": self.grid, "prefix": self.prefix, "with_first": self.with_first}


def cubic_matrix(count: int, known: int) -> np.ndarray:
    """Returns float32 [count, known], which resamples `known` evenly spaced values to `count`; each row sums to 1.

    Source: Keys 1981, "Cubic Convolution Interpolation for Digital Image Processing"; the edge value repeats.
    """
    centre = (np.arange(count) + 0.5) * known / count - 0.5
    first = np.floor(centre).astype(int)
    matrix = np.zeros((count, known))
    for tap in range(-1, 3):
        distance = np.abs(centre - (first + tap))
        near = (CUBIC + 2) * distance**3 - (CUBIC + 3) * distance**2 + 1
        far = CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        np.add.at(matrix, (np.arange(count), np.clip(first + tap, 0, known - 1)), np.where(distance <= 1, near, far))
    return matrix.astype(np.float32)
