"""3x3 matrices that map an output point to the picture point it shows.

Points are (u, v, 1), both in [-1, 1] from edge to edge, x right, y down. Every function returns float64
[B, 3, 3] that maps *backwards*, from the picture after the operation to the picture before it. A chain of
operations, first one leftmost, is therefore the product of their matrices in the same order. Operations act in
output pixels: `aspect` is the output's width divided by its height.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carclf.framing import RESIZE_MODES

Array = npt.NDArray[np.float64]


def identity(batch: int) -> Array:
    """Returns `batch` identity matrices, writable."""
    matrix = np.zeros((batch, 3, 3))
    matrix[:, (0, 1, 2), (0, 1, 2)] = 1.0
    return matrix


def scaling(x: Array | float, y: Array | float, *, batch: int) -> Array:
    """Returns the maps (u, v) -> (x u, y v): factors below 1 magnify, -1 mirrors."""
    matrix = identity(batch)
    matrix[:, 0, 0], matrix[:, 1, 1] = x, y
    return matrix


def translation(x: Array | float, y: Array | float, *, batch: int) -> Array:
    """Returns the maps that move the picture right by x and down by y, in fractions of width and height."""
    matrix = identity(batch)
    matrix[:, 0, 2], matrix[:, 1, 2] = -2.0 * np.asarray(x), -2.0 * np.asarray(y)
    return matrix


def rotation(radians: Array, *, aspect: float) -> Array:
    """Returns the maps that rotate the picture about its centre, counter-clockwise for positive angles.

    Source: S^-1 R S with S = diag(W/H, 1, 1); the direction is that of `tfa.image.rotate`.
    """
    matrix = identity(len(radians))
    cosine, sine = np.cos(radians), np.sin(radians)
    matrix[:, 0, 0] = matrix[:, 1, 1] = cosine
    matrix[:, 0, 1], matrix[:, 1, 0] = -sine / aspect, sine * aspect
    return matrix


def shearing(x: Array, y: Array, *, aspect: float) -> Array:
    """Returns the maps of a horizontal shear followed by a vertical one; x and y are the tangents of the angles.

    Positive x leans the bottom of the picture to the right, positive y its right side down.
    """
    across, down = identity(len(x)), identity(len(x))
    across[:, 0, 1] = -x / aspect
    down[:, 1, 0] = -y * aspect
    return across @ down


def window(
    centre_x: Array | float,
    centre_y: Array | float,
    width: Array | float,
    height: Array | float,
    *,
    batch: int,
) -> Array:
    """Returns the maps that enlarge a window of the picture to the whole output.

    Args:
      centre_x: u of the window's centre, in [-1, 1].
      centre_y: v of the window's centre, in [-1, 1].
      width: of the window, as a fraction of the picture's.
      height: of the window, as a fraction of the picture's.
      batch: number of matrices.
    """
    matrix = scaling(width, height, batch=batch)
    matrix[:, 0, 2], matrix[:, 1, 2] = centre_x, centre_y
    return matrix


def homography(corners: Array) -> Array:
    """Returns the perspective maps that send the output's corners to `corners`.

    Args:
      corners: float64 [B, 4, 2], (u, v) shown at top left, top right, bottom right and bottom left; convex.

    Source: Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, section 2.2.3 (square to quad).
    """
    p0, p1, p2, p3 = (corners[:, index] for index in range(4))
    d1, d2, sums = p1 - p2, p3 - p2, p0 - p1 + p2 - p3
    determinant = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    g = (sums[:, 0] * d2[:, 1] - sums[:, 1] * d2[:, 0]) / determinant
    h = (d1[:, 0] * sums[:, 1] - d1[:, 1] * sums[:, 0]) / determinant
    square = identity(len(corners))
    square[:, :2, 0] = p1 - p0 + g[:, None] * p1
    square[:, :2, 1] = p3 - p0 + h[:, None] * p3
    square[:, :2, 2] = p0
    square[:, 2, 0], square[:, 2, 1] = g, h
    to_unit_square = np.array([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    return square @ to_unit_square


def fitting(extent: npt.NDArray[np.floating], *, aspect: float, fit: str) -> Array:
    """Returns the maps from the output to the whole photo, before any operation.

    Args:
      extent: [B, 2], height and width of the photos in pixels.
      aspect: width of the output divided by its height.
      fit: resize mode, a key of `carclf.framing.RESIZE_MODES`.

    Raises:
      ValueError: `fit` is none.
    """
    if fit not in RESIZE_MODES:
        raise ValueError(f"fit must be one of {', '.join(RESIZE_MODES)}. Received: fit={fit!r}")
    height, width = np.maximum(np.asarray(extent, np.float64), 1.0).T
    across, down = RESIZE_MODES[fit].span(width / height / aspect, np)
    return scaling(across, down, batch=len(extent))
