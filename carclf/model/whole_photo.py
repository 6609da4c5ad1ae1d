"""The exported model: photos of any size to probabilities, with the preprocessing inside."""

from typing import Any

import keras
import numpy as np
from keras import ops

from carclf.framing import RESIZE_MODES, Framing, PaddingMode, Rendering
from carclf.model.render import Render

Tensor = Any

MAX_HALVINGS = 7  # for photos up to 128 canvases long


def build_whole_photo_classifier(
    classifier: keras.Model,
    *,
    framing: Framing,
    rendering: Rendering,
    photo_size: tuple[int, int] | None = None,
) -> keras.Model:
    """Returns a model from `pixels` uint8 [B, h, w, 3] to `probabilities` float32 [B, K].

    It shares the classifier's variables. It needs neither XLA nor branches, so it runs on every runtime.

    Args:
      classifier: image float32 [B, H, W, 3] in 0..255 → logits [B, K].
      framing: (H, W) and the canvas in pixels, and the resize mode; a photo longer than the canvas is halved until it
        fits, as the training decoder does.
      rendering: padding mode and stretch; its other fields do not concern whole photos.
      photo_size: the only (h, w) that the model accepts; None accepts any, the same within a batch.
    """
    pixels = keras.Input((*(photo_size or (None, None)), 3), dtype="uint8", name="pixels")
    frame = WholePhoto(
        image_size=framing.image_size,
        canvas_size=framing.canvas_size,
        fit=framing.fit,
        fill=rendering.fill,
        stretch=rendering.stretch,
        name="whole_photo",
    )
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(classifier(frame(pixels)))
    return keras.Model(pixels, {"probabilities": probabilities}, name="whole_photo_classifier")


@keras.saving.register_keras_serializable(package="carclf")
class WholePhoto(keras.layers.Layer):
    """Photos uint8 [B, h, w, 3] to network input float32 [B, H, W, 3] in 0..255, by Render without augmentation.

    Args:
      image_size: (H, W) in pixels.
      canvas_size: largest side in pixels that Render gets.
      fit: resize mode, a key of `RESIZE_MODES`.
      fill: padding mode, see `Render`.
      stretch: see `render`.
      name: of the layer.

    Raises:
      ValueError: `fit` is none.
    """

    def __init__(
        self,
        *,
        image_size: tuple[int, int],
        canvas_size: int,
        fit: str,
        fill: PaddingMode,
        stretch: bool,
        name: str | None = None,
    ) -> None:
        """See the class."""
        super().__init__(name=name, dtype="float32", autocast=False, trainable=False)
        if fit not in RESIZE_MODES:
            raise ValueError(f"fit must be one of {', '.join(RESIZE_MODES)}. Received: fit={fit!r}")
        self.canvas_size = canvas_size
        self.fit = fit
        self.render = Render(image_size=image_size, fill=fill, stretch=stretch, jit=False, branching=False)
        self.image_size = self.render.image_size
        self.built = True

    def call(self, pixels: Tensor) -> Tensor:
        """Returns the images, float32 [B, H, W, 3] in 0..255."""
        photo = halve_until_it_fits(pixels, canvas_size=self.canvas_size)
        height, width = ops.shape(photo)[1:3]
        size = ops.cast(ops.stack([height, width]), "float32")
        # One matrix for the whole batch: all its photos have the same size.
        inputs = {
            "canvas": photo,
            "extent": size[None],
            "geometry": fitting(size, aspect=self.image_size[1] / self.image_size[0], fit=self.fit)[None],
            "colour": ops.convert_to_tensor(np.eye(3, 4, dtype=np.float32)[None]),
        }
        return self.render(inputs)

    def compute_output_spec(self, pixels: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the symbolic output without tracing."""
        return keras.KerasTensor((pixels.shape[0], *self.image_size, 3), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make this layer again."""
        return {
            "name": self.name,
            "image_size": self.image_size,
            "canvas_size": self.canvas_size,
            "fit": self.fit,
            "fill": self.render.fill,
            "stretch": self.render.stretch,
        }


def halve_until_it_fits(pixels: Tensor, *, canvas_size: int) -> Tensor:
    """Returns the photos with sides ⌈h / f⌉ and ⌈w / f⌉, f the smallest power of 2 that makes both fit the canvas.

    Each pixel is the mean of f x f, float32; a photo that fits is returned unchanged. libjpeg, decoding at a fraction
    of the size, gives the same sides and almost the same pixels.

    Args:
      pixels: uint8 [B, h, w, 3].
      canvas_size: in pixels.
    """
    height, width = ops.shape(pixels)[1:3]
    if isinstance(height, int) and isinstance(width, int) and max(height, width) <= canvas_size:
        return pixels
    longest = ops.maximum(height, width)
    factor = ops.cast(1, "int32")
    for power in range(MAX_HALVINGS):
        factor = factor * (1 + ops.cast(longest > canvas_size * 2**power, "int32"))
    # Only sums of positive numbers: ONNX rounds a negative quotient in the other direction.
    rows, columns = (height + factor - 1) // factor, (width + factor - 1) // factor
    # If the factor does not divide a side, the last pixel is repeated.
    whole = ops.take(pixels, ops.minimum(ops.arange(rows * factor, dtype="int32"), height - 1), axis=1)
    whole = ops.take(whole, ops.minimum(ops.arange(columns * factor, dtype="int32"), width - 1), axis=2)
    blocks = ops.reshape(ops.cast(whole, "float32"), (-1, rows, factor, columns, factor, 3))
    return ops.mean(blocks, axis=(2, 4))


def fitting(size: Tensor, *, aspect: float, fit: str) -> Tensor:
    """Returns float32 [3, 3], the map from the output to the whole photo, equal to `carclf.recipe.geometry.fitting`.

    Args:
      size: float32 [2], height and width of the photo in pixels.
      aspect: width divided by height of the output.
      fit: resize mode, a key of `RESIZE_MODES`.
    """
    wider = size[1] / size[0] / aspect
    across, down = RESIZE_MODES[fit].span(wider, ops)
    return ops.stack([across, down, ops.ones_like(across)])[:, None] * np.eye(3, dtype=np.float32)
