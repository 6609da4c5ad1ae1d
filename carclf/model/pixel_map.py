"""Maps output pixels of Render to photo pixels; both of its methods use it."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

Tensor = Any

# A photo reduced by more than this gets 2x2 samples per output pixel, averaged.
REDUCTION = 1.5
# Distance of those samples from the output pixel's centre, in output pixels. At a reduction of exactly 2 the photo's
# pixels then get the weights 1:3:3:1, as in Pillow's antialiased bilinear filter.
SAMPLE_OFFSET = 0.375


def pixel_map(extent: Tensor, geometry: Tensor) -> Tensor:
    """Returns float32 [B, 3, 3], maps output (u, v, 1) to homogeneous photo pixels, x_px = (u + 1) / 2 * W - 0.5.

    The last row of an affine map is (0, 0, 1).

    Args:
      extent: float32 [B, 2], (height, width) of the photo in pixels.
      geometry: float32 [B, 3, 3], maps output (u, v, 1) to photo (u, v, 1), both in [-1, 1] from edge to edge.
    """
    half_height, half_width = extent[:, 0:1] / 2.0, extent[:, 1:2] / 2.0
    across = half_width * geometry[:, 0] + (half_width - 0.5) * geometry[:, 2]
    down = half_height * geometry[:, 1] + (half_height - 0.5) * geometry[:, 2]
    pixels = ops.stack([across, down, geometry[:, 2]], axis=1)
    return pixels / ops.where(is_affine(geometry), geometry[:, 2, 2], 1.0)[:, None, None]


def is_affine(matrix: Tensor) -> Tensor:
    """Returns bool [B]: True if the third coordinate under a matrix float32 [B, 3, 3] is the same positive number."""
    return ops.logical_and(ops.all(matrix[:, 2, :2] == 0.0, axis=1), matrix[:, 2, 2] > 0.0)


def centres(size: int) -> np.ndarray:
    """Returns float32 [size], u in (-1, 1) of a side's pixel centres, exactly antisymmetric so that flips are exact."""
    return ((2.0 * np.arange(size) + 1.0 - size) / size).astype(np.float32)


def sample_step(pixels: Tensor, *, image_size: tuple[int, int]) -> Tensor:
    """Returns float32 [B, 2], distance of the 2x2 samples from an output pixel's centre in (u, v); 0 for a single one.

    Args:
      pixels: float32 [B, 3, 3], from `pixel_map`.
      image_size: (H, W) of the output in pixels.
    """
    reduced = ops.cast(_reductions(pixels, image_size=image_size) > REDUCTION, "float32")
    return reduced * (SAMPLE_OFFSET * np.array([[2.0 / image_size[1], 2.0 / image_size[0]]], np.float32))


def _reductions(pixels: Tensor, *, image_size: tuple[int, int]) -> Tensor:
    """Returns float32 [B, 2], photo pixels per output pixel at the centre, along the output's x and y."""
    x, y, z = pixels[:, 0], pixels[:, 1], pixels[:, 2]
    scale = z[:, 2:3]
    across = (x[:, :2] - x[:, 2:3] / scale * z[:, :2]) / scale
    down = (y[:, :2] - y[:, 2:3] / scale * z[:, :2]) / scale
    step = np.array([[2.0 / image_size[1], 2.0 / image_size[0]]], np.float32)
    return ops.sqrt(across * across + down * down) * step


def reflect(position: Tensor, last: Tensor) -> Tensor:
    """Returns the photo pixel shown at `position` if the photo is mirrored at its edges, float32 in -0.5..last + 0.5.

    Args:
      position: float32 of any shape, in pixels along one side; 0 is the centre of the first.
      last: float32 that broadcasts with it, the position of the side's last pixel.
    """
    period = 2.0 * (last + 1.0)
    folded = ops.mod(position + 0.5, period)
    return ops.minimum(folded, period - folded) - 0.5


def coverage(position: Tensor, last: Tensor) -> Tensor:
    """Returns the bilinear weight of the photo against its padding, float32 in 0..1; arguments as in `reflect`."""
    return ops.clip(ops.minimum(position + 1.0, last + 1.0 - position), 0.0, 1.0)
