"""How a photo becomes an image of the network's size: what the input path and the model must agree on."""

import dataclasses
import typing
from typing import Literal

# What lies outside a photo: its edge pixel, its mirror image, or a constant.
Fill = Literal["edge", "reflect", "constant"]
FILLS: tuple[Fill, ...] = typing.get_args(Fill)
# How a photo is interpolated: its neighbours gathered, or by two matrix products.
RenderMethod = Literal["gather", "separable"]
RENDER_METHODS: tuple[RenderMethod, ...] = typing.get_args(RenderMethod)


@dataclasses.dataclass(frozen=True)
class Framing:
    """How photos become network input: what training, validation, prediction and export must share.

    Attributes:
      image_size: (height, width) of the rendered image in pixels.
      canvas_size: side C of the square canvas in pixels.
      fit: 'squash', 'crop' or 'pad' (`carclf.recipe`).
    """

    image_size: tuple[int, int]
    canvas_size: int
    fit: str = "squash"
