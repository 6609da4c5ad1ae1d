"""Render by two matrix products, for axis-aligned geometries: TPUs multiply fast and gather slowly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from carclf.errors import UserError
from carclf.framing import PaddingMode, RenderMethod
from carclf.model.compile import exact_einsum, platform
from carclf.model.pixel_map import centres, coverage, is_affine, pixel_map, reflect, sample_step

Tensor = Any


def sample_separably(
    canvas: Tensor,
    extent: Tensor,
    geometry: Tensor,
    *,
    image_size: tuple[int, int],
    fill: PaddingMode,
    fill_value: float,
) -> Tensor:
    """Returns the photos interpolated as `carclf.model.render` does, before colour: float32 [B, H, W, 3].

    If each axis of the output follows one axis of the photo, bilinear interpolation is a product R P C^T: row i of
    R [H, Y] holds the weights of the photo's rows in output row i, and row j of C [W, X] those of its columns in output
    column j. Padding and the mean of 2x2 samples also separate into one factor per axis, so the weights include them.

    A photo whose geometry rotates, shears or projects becomes NaN, which training refuses: never a wrong image.

    Cost per photo, next to the gather and the model's train step (counted, not timed: `tests/model/test_separable.py`):

    ====================  ======  ======  =====  ========  =========  =========  ==========
    network, px           canvas  GFLOP   MB     gather's  gather's   gather's   train step
                                                 GFLOP     MB         rows       GFLOP
    ====================  ======  ======  =====  ========  =========  =========  ==========
    EfficientNet B0, 224  320     0.23    3.2    0.002     1.2        200,704    2.5
    EfficientNet B3, 300  640     1.08    8.5    0.016     5.4        1,440,000  11.7
    EfficientNet B3, 512  640     2.26    14.9   0.012     6.3        1,048,576  32.2
    ====================  ======  ======  =====  ========  =========  =========  ==========

    A TPU makes three passes per product (`exact_einsum`): 0.7, 3.2 and 6.8 GFLOP of bfloat16, or 28, 28 and 21 % of a
    train step, in products large enough for its matrix units. The gather reads rows of three bytes, 4 per output pixel,
    or 16 if the photo is reduced. The train steps come from XLA's cost analysis of the whole network learning in mixed
    bfloat16, without Render.

    Args:
      canvas: uint8 [B, Y, X, 3], photo in the top-left corner.
      extent: float32 [B, 2], (height, width) of the photo in pixels.
      geometry: float32 [B, 3, 3] as in `render`.
      image_size: (H, W) in pixels.
      fill: padding mode: `edge`, `reflect` or `constant`.
      fill_value: of `constant`, 0..255.
    """
    pixels = pixel_map(extent, geometry)
    step = sample_step(pixels, image_size=image_size)
    last = ops.maximum(extent, 1.0) - 1.0
    # Axis 0 is x and axis 1 is y in (u, v) and in `pixels`; in extents and sizes it is the reverse.
    columns, rows = (
        _weights(
            pixels[:, axis, axis],
            pixels[:, axis, 2],
            step[:, axis],
            last[:, 1 - axis],
            size=image_size[1 - axis],
            side=canvas.shape[2 - axis],
            fill=fill,
        )
        for axis in (0, 1)
    )
    rows = rows + ops.where(_axis_aligned(pixels), 0.0, np.nan)[:, None, None]
    image = exact_einsum("bhy,byxc->bhxc", rows, ops.cast(canvas, "float32"))
    image = exact_einsum("bwx,bhxc->bhwc", columns, image)
    if fill == "constant":
        covered = ops.sum(rows, axis=2)[:, :, None] * ops.sum(columns, axis=2)[:, None, :]
        image = image + fill_value * (1.0 - covered)[..., None]
    return image


def choose_method(render: str, *, not_axis_aligned: Sequence[str]) -> RenderMethod:
    """Returns how this device interpolates photos, given `--render`.

    Args:
      render: `gather`, `separable`, or `auto`: separable on a TPU if everything is axis-aligned, else gather.
      not_axis_aligned: the names of operations or views that rotate, shear or project, which matrix products cannot do.

    Raises:
      UserError: `render` is `separable`, but something is not axis-aligned, or the products would be rounded.
    """
    if render == "gather":
        return "gather"
    if render == "auto":
        return "separable" if platform() == "tpu" and not not_axis_aligned else "gather"
    if not_axis_aligned:
        raise UserError(
            "--render=separable can only flip, shift, zoom and crop, but --augment rotates, shears or projects photos "
            f"with {', '.join(not_axis_aligned)}: remove that from --augment, or use --render=gather."
        )
    if keras.backend.backend() == "tensorflow" and platform() == "gpu":
        raise UserError(
            "--render=separable multiplies matrices, which TensorFlow rounds to TF32 on a GPU, an error of a quarter "
            "of a grey level: use --render=gather, or KERAS_BACKEND=jax."
        )
    return "separable"


def describe_method(method: RenderMethod, *, not_axis_aligned: Sequence[str]) -> str | None:
    """Returns a line to print about the choice of `choose_method`; None for a gather as usual."""
    if method == "separable":
        return "Render: separable, two matrix products per photo."
    if platform() == "tpu":
        names = ", ".join(not_axis_aligned)
        reason = f", because {names} in --augment rotates, shears or projects photos" if names else ""
        return f"Render: gather, which is slow on a TPU{reason}."
    return None


def _weights(
    scale: Tensor, start: Tensor, step: Tensor, last: Tensor, *, size: int, side: int, fill: PaddingMode
) -> Tensor:
    """Returns float32 [B, size, side]: the weight of each pixel of a canvas side in each output pixel.

    A row sums to 1, or for `constant` to the fraction that the photo covers.

    Args:
      scale: [B], photo pixels per unit of u.
      start: [B], the photo pixel at u = 0.
      step: [B], distance of the two samples from an output pixel's centre in u; 0 for a single sample.
      last: [B], the photo's last pixel.
      size: output pixels.
      side: canvas pixels.
      fill: padding mode.
    """
    last = last[:, None]

    def hats(sign: float) -> Tensor:
        position = scale[:, None] * (centres(size) + sign * step[:, None]) + start[:, None]
        position = reflect(position, last) if fill == "reflect" else position
        nearest = ops.clip(position, 0.0, last)[:, :, None]
        hat = ops.maximum(1.0 - ops.abs(nearest - np.arange(side, dtype=np.float32)), 0.0)
        return hat * coverage(position, last)[:, :, None] if fill == "constant" else hat

    return (hats(-1.0) + hats(1.0)) * 0.5


def _axis_aligned(pixels: Tensor) -> Tensor:
    """Returns bool [B]: True if the map only scales and shifts along each axis."""
    return ops.logical_and(is_affine(pixels), ops.logical_and(pixels[:, 0, 1] == 0.0, pixels[:, 1, 0] == 0.0))
