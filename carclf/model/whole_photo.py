"""Photos of any size to probabilities, preprocessing inside: the model that leaves carclf."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from carclf.framing import Framing, PaddingMode, Rendering
from carclf.model.render import Render

Tensor = Any

MOST_HALVINGS = 7  # serve photos up to 128 canvases long


def build_whole_photo_classifier(
    classifier: keras.Model,
    *,
    framing: Framing,
    rendering: Rendering,
    photo_size: tuple[int, int] | None = None,
) -> keras.Model:
    """A model from `pixels` uint8 [B, h, w, 3] to `probabilities` float32 [B, K]; it shares the classifier's variables.

    Nothing in it needs XLA or branches, so that every runtime takes it.

    Args:
      classifier: image float32 [B, H, W, 3] in 0..255 → logits [B, K].
      framing: (H, W) and the canvas in pixels, and how a photo meets the image's shape; a photo longer than the canvas
        is halved until it fits, as the training decoder does.
      rendering: what lies outside a photo, and whether values are stretched; the rest does not concern whole photos.
      photo_size: the only (h, w) that the model takes; None is any, the same within a batch.
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


class WholePhoto(keras.layers.Layer):
    """Photos uint8 [B, h, w, 3] to network input float32 [B, H, W, 3] in 0..255, by the plain Render.

    Args:
      image_size: (H, W) in pixels.
      canvas_size: side in pixels of what Render is given at the most.
      fit: 'squash', 'crop' or 'pad'.
      fill: see `Render`.
      stretch: see `render`.
      name: of the layer.

    Raises:
      ValueError: `fit` is none of the three.
    """

    def __init__(
        self, *, image_size: tuple[int, int], canvas_size: int, fit: str, fill: PaddingMode, stretch: bool, name: str
    ) -> None:
        """See the class."""
        super().__init__(name=name, dtype="float32", autocast=False, trainable=False)
        if fit not in FITTING:
            raise ValueError(f"fit must be one of {', '.join(FITTING)}. Received: fit={fit!r}")
        self.image_size = image_size
        self.canvas_size = canvas_size
        self.fit = fit
        self.render = Render(image_size=image_size, fill=fill, stretch=stretch, jit=False, branching=False)
        self.built = True

    def call(self, pixels: Tensor) -> Tensor:
        """Returns the images."""
        photo = halve_until_it_fits(pixels, canvas_size=self.canvas_size)
        height, width = ops.shape(photo)[1:3]
        size = ops.cast(ops.stack([height, width]), "float32")
        # One matrix for the whole batch, whose photos have one size.
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


def halve_until_it_fits(pixels: Tensor, *, canvas_size: int) -> Tensor:
    """Returns the photos with sides ⌈h / f⌉ and ⌈w / f⌉, f the smallest power of 2 by which both fit the canvas.

    Each pixel is the mean of f x f, float32; a photo that fits is returned as it is. libjpeg, decoding at a fraction
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
    for power in range(MOST_HALVINGS):
        factor = factor * (1 + ops.cast(longest > canvas_size * 2**power, "int32"))
    # Sums of positive numbers only: ONNX rounds a negative quotient the other way.
    rows, columns = (height + factor - 1) // factor, (width + factor - 1) // factor
    # The last pixel is repeated where the factor does not divide a side.
    whole = ops.take(pixels, ops.minimum(ops.arange(rows * factor, dtype="int32"), height - 1), axis=1)
    whole = ops.take(whole, ops.minimum(ops.arange(columns * factor, dtype="int32"), width - 1), axis=2)
    blocks = ops.reshape(ops.cast(whole, "float32"), (-1, rows, factor, columns, factor, 3))
    return ops.mean(blocks, axis=(2, 4))


def fitting(size: Tensor, *, aspect: float, fit: str) -> Tensor:
    """Returns float32 [3, 3], the map from the output to the whole photo, as `carclf.recipe.geometry.fitting` gives it.

    Args:
      size: float32 [2], height and width of the photo in pixels.
      aspect: width divided by height of the output.
      fit: a key of FITTING.
    """
    wider = size[1] / size[0] / aspect
    across, down = FITTING[fit](wider)
    return ops.stack([across, down, ops.ones_like(across)])[:, None] * np.eye(3, dtype=np.float32)


FITTING: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "squash": lambda wider: (ops.ones_like(wider), ops.ones_like(wider)),
    "crop": lambda wider: (ops.minimum(1.0 / wider, 1.0), ops.minimum(wider, 1.0)),
    "pad": lambda wider: (ops.maximum(1.0 / wider, 1.0), ops.maximum(wider, 1.0)),
}
