"""Render by two matrix products, for geometries that keep rows and columns: TPUs multiply fast and gather slowly."""

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
    """Returns the photos interpolated as `carclf.model.render` does it, before colour: float32 [B, H, W, 3].

    Where each axis of the output follows one axis of the photo, bilinear interpolation is a product Y P X^T: row i of
    Y [H, C] holds the weights of the photo's rows in output row i, and row j of X [W, C] those of its columns in output
    column j. Borders and the mean of 2x2 samples are products of an axis each, too, so that they are in the weights.

    A photo whose geometry turns, shears or projects becomes NaN, which training refuses: never a wrong image.

    What it costs a photo, beside the gather and the model's train step (counted, not timed; `costs` has the formulas):

    ====================  ======  ======  =====  ========  =========  =========  ==========
    network, px           canvas  GFLOP   MB     gather's  gather's   gather's   train step
                                  of it   of it  GFLOP     MB         rows       GFLOP
    ====================  ======  ======  =====  ========  =========  =========  ==========
    EfficientNet B0, 224  320     0.23    3.2    0.002     1.2        200,704    2.5
    EfficientNet B3, 300  640     1.08    8.5    0.016     5.4        1,440,000  11.7
    EfficientNet B3, 512  640     2.26    14.9   0.012     6.3        1,048,576  32.2
    ====================  ======  ======  =====  ========  =========  =========  ==========

    A TPU makes three passes for each product (`exact_einsum`), so that it works 0.7, 3.2 and 6.8 GFLOP of bfloat16: 28,
    28 and 21 % of a train step's, in products as large as its matrix units like them. The gather's rows are three bytes
    each, at 4 places an output pixel, or 16 where the photo is reduced. The train steps are those of XLA's cost
    analysis of all of the network learning in mixed bfloat16, without Render.

    Args:
        canvas: uint8 [B, C, C, 3], photo in the top-left corner.
        extent: float32 [B, 2], (height, width) of the photo in pixels.
        geometry: float32 [B, 3, 3] as in `render`.
        image_size: (H, W) in pixels.
        fill: what lies outside the photo.
        fill_value: of `constant`, 0..255.
    """
    pixels = pixel_map(extent, geometry)
    step = sample_step(pixels, image_size=image_size)
    last = ops.maximum(extent, 1.0) - 1.0
    side = canvas.shape[1]
    # An axis is 0 for x and 1 for y in (u, v) and in `pixels`, and the other way round in extents and sizes.
    columns, rows = (
        _weights(
            pixels[:, axis, axis],
            pixels[:, axis, 2],
            step[:, axis],
            last[:, 1 - axis],
            size=image_size[1 - axis],
            side=side,
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


def costs(*, image_size: int, canvas_size: int, samples: int) -> dict[str, tuple[float, float, int]]:
    """Returns FLOPs, bytes of memory and rows gathered for a photo, by method: the least that each needs.

    Separable: two products; it reads the canvas and both weights, writes and reads what lies between, and writes the
    image. Gather: 4 neighbours of 3 channels, a multiplication and an addition each, and the position, for each sample.

    Args:
        image_size: side of the image in pixels.
        canvas_size: side of the canvas in pixels.
        samples: 1, or 4 where the photo is reduced by more than 1.5.
    """
    size, side, image_bytes = image_size, canvas_size, 12 * image_size**2
    products = 2 * 3 * size * side * (side + size)
    multiplied = 3 * side**2 + 2 * 4 * size * side + 2 * 12 * size * side + image_bytes
    rows = 4 * samples * size**2
    gathered = (2 * 3 * rows + 20 * samples * size**2, 3 * rows + image_bytes, rows)
    return {"separable": (products, multiplied, 0), "gather": gathered}


def choose_method(render: str, *, turning: Sequence[str]) -> RenderMethod:
    """Returns how this device interpolates photos, as `--render` asks for.

    Args:
        render: `gather`, `separable`, or `auto`: separable on a TPU where nothing turns, else gather.
        turning: the names of operations or views that rotate, shear or project; matrix products cannot follow those.

    Raises:
        UserError: `separable` is asked for, and something turns, or the products would be rounded.
    """
    if render == "gather":
        return "gather"
    if render == "auto":
        return "separable" if platform() == "tpu" and not turning else "gather"
    if turning:
        raise UserError(
            f"--render=separable is for recipes of flip, shift, zoom and crop, and {', '.join(turning)} turns, shears "
            "or projects the photo: take it out of --augment, or use --render=gather."
        )
    if keras.backend.backend() == "tensorflow" and platform() == "gpu":
        raise UserError(
            "--render=separable multiplies matrices, which TensorFlow rounds to TF32 on a GPU, a quarter of a grey "
            "level: use --render=gather, or KERAS_BACKEND=jax."
        )
    return "separable"


def describe_method(method: RenderMethod, *, turning: Sequence[str]) -> str | None:
    """Returns a line for people about what `choose_method` chose; None where photos are gathered as usual."""
    if method == "separable":
        return "Render: separable, two matrix products a photo."
    if platform() == "tpu":
        reason = f", because {', '.join(turning)} in --augment turns photos" if turning else ""
        return f"Render: gather, which is slow on a TPU{reason}."
    return None


def _weights(
    scale: Tensor, start: Tensor, step: Tensor, last: Tensor, *, size: int, side: int, fill: PaddingMode
) -> Tensor:
    """Returns float32 [B, size, side]: the weight of each pixel of a canvas side in each output pixel.

    A row sums to 1, or under `constant` to the share of the photo against what lies outside.

    Args:
        scale: [B], photo pixels for a step of 1 in u.
        start: [B], the photo pixel at u = 0.
        step: [B], distance of the two samples from an output pixel's centre in u; 0 where there is one.
        last: [B], the photo's last pixel.
        size: output pixels.
        side: canvas pixels.
        fill: what lies outside the photo.
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
    """Returns bool [B]: a scale and a translation along each axis, and nothing else."""
    return ops.logical_and(is_affine(pixels), ops.logical_and(pixels[:, 0, 1] == 0.0, pixels[:, 1, 0] == 0.0))
