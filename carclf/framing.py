"""How a photo becomes an image of the network's size: settings that the input path and the model share."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, Literal

from carclf.errors import UserError

# Padding mode for output outside the photo: its edge pixel, its mirror image, or a constant.
PaddingMode = Literal["edge", "reflect", "constant"]
PADDING_MODES: tuple[PaddingMode, ...] = typing.get_args(PaddingMode)
# How to interpolate a photo: gather its neighbours, or multiply by two matrices.
RenderMethod = Literal["gather", "separable"]
RENDER_METHODS: tuple[RenderMethod, ...] = typing.get_args(RenderMethod)
# A photo is decoded with at least this many pixels per output pixel, so that zooming and rotating lose no detail.
LEAST_DETAIL = 1.25
_ROUNDING = 1e-6  # of float32


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResizeMode:
    """One row of `RESIZE_MODES`: how a photo whose shape differs from the image's is resized.

    Attributes:
      span: (wider, xp) → (across, down): how much of the photo's width and height the image spans. 1 is all, less
        shows the centre, more leaves room at both ends. `wider` is an array: width / height of the photo divided by
        that of the image. xp is NumPy or `keras.ops`.
      summary: what happens to the photo, for `--help` and the model card.
      by_hand: how to do it in another program, for the model card: {width} and {height} in pixels, and {filled}, what
        fills the rest.
      by_pillow: the same as Python that changes the image `photo`: also {mode}, NumPy's padding mode.
    """

    span: Callable[[Any, Any], tuple[Any, Any]]
    summary: str
    by_hand: str
    by_pillow: str


RESIZE_MODES: dict[str, ResizeMode] = {
    "squash": ResizeMode(
        span=lambda wider, xp: (xp.ones_like(wider), xp.ones_like(wider)),
        summary="squashed to the image's shape",
        by_hand="resize each photo of any shape to {width}×{height} pixels with an antialiasing filter (such as "
        "Pillow's BILINEAR)",
        by_pillow="photo = photo.resize(({width}, {height}), Image.Resampling.BILINEAR)",
    ),
    "crop": ResizeMode(
        span=lambda wider, xp: (xp.minimum(1.0 / wider, 1.0), xp.minimum(wider, 1.0)),
        summary="cropped about its centre to the image's shape",
        by_hand="crop each photo about its centre to the shape {width}:{height}, then resize it to that many pixels "
        "with an antialiasing filter (Pillow's `ImageOps.fit` does both)",
        by_pillow="photo = ImageOps.fit(photo, ({width}, {height}), Image.Resampling.BILINEAR)",
    ),
    "pad": ResizeMode(
        span=lambda wider, xp: (xp.maximum(1.0 / wider, 1.0), xp.maximum(wider, 1.0)),
        summary="padded to the image's shape",
        by_hand="resize each photo to fit into {width}×{height} pixels with an antialiasing filter, and fill the "
        "rest {filled}",
        by_pillow="photo = ImageOps.contain(photo, ({width}, {height}), Image.Resampling.BILINEAR)\n"
        "down, across = {height} - photo.height, {width} - photo.width\n"
        "rest = [(down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0)]\n"
        'photo = np.pad(np.asarray(photo), rest, mode="{mode}")',
    ),
}


@dataclasses.dataclass(frozen=True)
class Framing:
    """How photos become network input; training, validation, prediction and export share it.

    Attributes:
      image_size: (height, width) of the rendered image in pixels.
      fit: resize mode, a key of `RESIZE_MODES`.
    """

    image_size: tuple[int, int]
    fit: str = "squash"

    def has_detail(self, height: Any, width: Any, xp: Any) -> Any:
        """Returns whether photos of this size have `LEAST_DETAIL` pixels per output pixel, along both axes.

        Args:
          height: float arrays of any shape, in pixels.
          width: the same.
          xp: NumPy or `keras.ops`.
        """
        rows, columns = self.image_size
        across, down = RESIZE_MODES[self.fit].span((width / height) / (columns / rows), xp)
        detail = xp.minimum(across * width / columns, down * height / rows)
        return detail >= LEAST_DETAIL * (1 - _ROUNDING)


@dataclasses.dataclass(frozen=True)
class Rendering:
    """How the images of a `Framing` are computed: the arguments of the layer `Render` that are not sizes.

    Attributes:
      fill: the padding mode: what is outside a photo.
      stretch: whether each image's values are mapped to 0..255 before colour.
      method: how photos are interpolated, see `carclf.model.render.render`.
      mixing: whether photos are mixed; False saves the cost.
      erasing: whether boxes are erased; False saves the cost.
      affine: whether no geometry has a perspective; True saves the compilation of what only those need.
      per_channel: whether colour multiplies each channel by itself alone, and adds to it; True saves as much.
    """

    fill: PaddingMode = "edge"
    stretch: bool = False
    method: RenderMethod = "gather"
    mixing: bool = False
    erasing: bool = False
    affine: bool = False
    per_channel: bool = False


def parse_image_size(text: str) -> tuple[int, int]:
    """Returns (height, width) in pixels from '300' or '384x512' (height first); the last size of a growing '224-512'.

    Raises:
      UserError: as for `parse_image_sizes`.
    """
    return parse_image_sizes(text)[1]


def parse_image_sizes(text: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the first and last (height, width) of a stage in pixels: '300' and '384x512' stay, '224-512' grows.

    Raises:
      UserError: the text has none of these forms, a side is below 8 or above 4096, or a side shrinks.
    """
    first, _, last = text.lower().partition("-")
    sizes = _image_size(first, text), _image_size(last or first, text)
    if "-" in text and not (last and sizes[0] != sizes[1] and all(a <= b for a, b in zip(*sizes, strict=True))):
        raise UserError(f"--image_size={text} does not grow: write the smaller size first, such as 224-512.")
    return sizes


def _image_size(text: str, whole: str) -> tuple[int, int]:
    sides = text.split("x")
    if len(sides) not in (1, 2) or not all(side.strip().isdecimal() for side in sides):
        raise UserError(
            f"--image_size={whole} is not a size: write 300, HEIGHTxWIDTH such as 384x512, or 224-512 to grow."
        )
    height, width = int(sides[0]), int(sides[-1])
    if not (8 <= height <= 4096 and 8 <= width <= 4096):
        raise UserError(f"--image_size={whole} is out of range: sides between 8 and 4096 pixels are possible.")
    return height, width
