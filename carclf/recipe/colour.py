"""4x4 matrices that act on (red, green, blue, 1), channels in 0..255; the last row is (0, 0, 0, 1).

Every function returns float64 [B, 4, 4]. A chain of operations, first one leftmost, is the product of their
matrices in *reverse* order. Nothing is clipped between operations.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Source: ITU-R BT.601-7, section 2.5.1.
LUMA = np.array([0.299, 0.587, 0.114])
# Source: tf.image.rgb_to_grayscale, which rounds the same weights; they sum to 0.9999.
GRAYSCALE = np.array([0.2989, 0.5870, 0.1140])
# Source: FCC NTSC, 47 CFR 73.682 (a)(20), I and Q in terms of R, G, B.
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
YIQ_TO_RGB = np.linalg.inv(RGB_TO_YIQ)
CONTRAST_PIVOT = 127.5


def identity(batch: int) -> Array:
    """Returns `batch` identity matrices, writable."""
    matrix = np.zeros((batch, 4, 4))
    matrix[:, (0, 1, 2, 3), (0, 1, 2, 3)] = 1.0
    return matrix


def gain(factor: Array, offset: Array | float = 0.0) -> Array:
    """Returns the maps channel -> factor * channel + offset.

    Args:
      factor: [B], the same for the three channels.
      offset: number, [B, 1] or [B, 3], in units of 0..255.
    """
    matrix = identity(len(factor))
    matrix[:, (0, 1, 2), (0, 1, 2)] = factor[:, None]
    matrix[:, :3, 3] = offset
    return matrix


def contrast(factor: Array) -> Array:
    """Returns the maps that stretch every channel about 127.5 by factor [B]."""
    return gain(factor, (CONTRAST_PIVOT * (1.0 - factor))[:, None])


def saturation(factor: Array) -> Array:
    """Returns the maps luma + factor * (channel - luma), factor [B], BT.601 luma: 0 is grey, 1 the identity."""
    matrix = gain(factor)
    matrix[:, :3, :3] += (1.0 - factor)[:, None, None] * LUMA
    return matrix


def grayscale(batch: int) -> Array:
    """Returns `batch` maps to grey in three equal channels, with the weights of `tf.image.rgb_to_grayscale`."""
    matrix = identity(batch)
    matrix[:, :3, :3] = GRAYSCALE
    return matrix


def hue(radians: Array) -> Array:
    """Returns the maps that rotate the (I, Q) plane of YIQ by `radians` [B]; luma and greys do not change."""
    rotation = np.zeros((len(radians), 3, 3))
    rotation[:, 0, 0] = 1.0
    rotation[:, 1, 1] = rotation[:, 2, 2] = np.cos(radians)
    rotation[:, 2, 1] = np.sin(radians)
    rotation[:, 1, 2] = -rotation[:, 2, 1]
    matrix = identity(len(radians))
    matrix[:, :3, :3] = YIQ_TO_RGB @ rotation @ RGB_TO_YIQ
    return matrix
