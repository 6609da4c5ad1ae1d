"""The exported model: photos of any size to probabilities, with the preprocessing inside."""

from typing import Any

import keras
import numpy as np
from keras import ops

from carclf.framing import RESIZE_MODES, Framing, PaddingMode, Rendering
from carclf.model.render import Render

Tensor = Any

MAX_HALVINGS = 10  # for photos up to a thousand times longer than the image


def build_whole_photo_classifier(
    classifier: keras.Model,
    *,
    framing: Framing,
    rendering: Rendering,
    least_side: int,
    photo_size: tuple[int, int] | None = None,
) -> keras.Model:
    """Returns a model from `pixels` uint8 [B, h, w, 3] to `probabilities` float32 [B, K].

    It shares the classifier's variables. It needs neither XLA nor branches, so it runs on every runtime.

    Args:
      classifier: image float32 [B, H, W, 3] in 0..255 → logits [B, K].
      framing: (H, W) in pixels and the resize mode.
      rendering: padding mode and stretch; its other fields do not concern whole photos.
      least_side: see `WholePhoto`.
      photo_size: the only (h, w) that the model accepts; None accepts any, the same within a batch.
    """
    pixels = keras.Input((*(photo_size or (None, None)), 3), dtype="uint8", name="pixels")
    frame = WholePhoto(
        image_size=framing.image_size,
        fit=framing.fit,
        least_side=least_side,
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
      fit: resize mode, a key of `RESIZE_MODES`.
      least_side: photos this long or shorter, in pixels, are not halved; see `halve`.
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
        fit: str,
        least_side: int,
        fill: PaddingMode,
        stretch: bool,
        name: str | None = None,
    ) -> None:
        """See the class."""
        super().__init__(name=name, dtype="float32", autocast=False, trainable=False)
        if fit not in RESIZE_MODES:
            raise ValueError(f"fit must be one of {', '.join(RESIZE_MODES)}. Received: fit={fit!r}")
        self.fit = fit
        self.least_side = least_side
        self.render = Render(image_size=image_size, fill=fill, stretch=stretch, jit=False, branching=False)
        self.image_size = self.render.image_size
        self.built = True

    def call(self, pixels: Tensor) -> Tensor:
        """Returns the images, float32 [B, H, W, 3] in 0..255."""
        photo = halve(pixels, framing=Framing(self.image_size, self.fit), least_side=self.least_side)
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
            "fit": self.fit,
            "least_side": self.least_side,
            "fill": self.render.fill,
            "stretch": self.render.stretch,
        }


def halve(pixels: Tensor, *, framing: Framing, least_side: int) -> Tensor:
    """Returns the photos with sides ⌈h / f⌉ and ⌈w / f⌉, f the largest power of 2 that leaves `Framing.has_detail`.

    Each pixel is the mean of f x f, float32; with f = 1 a photo is returned unchanged. libjpeg, decoding at a fraction
    of the size, gives the same sides and almost the same pixels.

    Args:
      pixels: uint8 [B, h, w, 3].
      framing: of the images.
      least_side: sides of this many pixels or fewer are not halved; with an eighth of the longest stored side, no photo
        is halved that the decoder has already reduced as far as it can.
    """
    height, width = ops.shape(pixels)[1:3]
    if isinstance(height, int) and isinstance(width, int) and _halved(height, width, 1, framing, least_side, np) == 1:
        return pixels
    factor = ops.cast(1, "int32")
    for _ in range(MAX_HALVINGS):
        factor = _halved(height, width, factor, framing, least_side, ops)
    rows, columns = (height + factor - 1) // factor, (width + factor - 1) // factor
    # If the factor does not divide a side, the last pixel is repeated.
    whole = ops.take(pixels, ops.minimum(ops.arange(rows * factor, dtype="int32"), height - 1), axis=1)
    whole = ops.take(whole, ops.minimum(ops.arange(columns * factor, dtype="int32"), width - 1), axis=2)
    blocks = ops.reshape(ops.cast(whole, "float32"), (-1, rows, factor, columns, factor, 3))
    return ops.mean(blocks, axis=(2, 4))


def _halved(height: Any, width: Any, factor: Any, framing: Framing, least_side: int, xp: Any) -> Any:
    """Returns twice the factor if the photos may be reduced by that, else the factor."""
    # Only sums of positive numbers: ONNX rounds a negative quotient in the other direction.
    rows, columns = ((side + 2 * factor - 1) // (2 * factor) for side in (height, width))
    detailed = framing.has_detail(xp.multiply(rows, 1.0), xp.multiply(columns, 1.0), xp)
    long = xp.maximum(height, width) > least_side * factor
    return xp.where(xp.logical_and(long, detailed), 2 * factor, factor)


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
