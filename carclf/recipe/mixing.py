"""Boxes on the pixel grid, mixing weights, and the targets of mixed photos."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def symmetric_beta(first: Array, second: Array, *, alpha: float) -> Array:
    """Returns Beta(alpha, alpha) variates in [0, 1], one per pair of uniforms.

    Source: Bailey's polar t variate (Math. Comp. 62, 1994) with 2 alpha degrees of freedom, and
    (1 + t / sqrt(2 alpha + t^2)) / 2 ~ Beta(alpha, alpha) (Devroye, "Random variate generation in one line of
    code", 1996, section 3).
    """
    cosine = np.cos(2.0 * np.pi * first)
    with np.errstate(over="ignore", divide="ignore"):
        tangent = np.expm1(np.log(second) / -alpha) * cosine**2
        share = np.sqrt(1.0 / (1.0 + 1.0 / tangent))
    return 0.5 * (1.0 + np.sign(cosine) * share)


def boxes(centre_y: Array, centre_x: Array, height: Array, width: Array, *, image_size: tuple[int, int]) -> Array:
    """Returns whole-pixel boxes clipped to the picture: [B, 4], (y0, x0, y1, x1) in fractions.

    Args:
      centre_y: fraction of the height.
      centre_x: fraction of the width.
      height: fraction of the height.
      width: fraction of the width.
      image_size: (height, width) of the output in pixels. Edges are rounded to its pixels, so that the fraction of
          pixels inside a box is exactly its area.
    """
    size = np.array([*image_size, *image_size], np.float64)
    edges = np.stack([centre_y - height / 2, centre_x - width / 2, centre_y + height / 2, centre_x + width / 2], axis=1)
    snapped: Array = np.round(np.clip(edges, 0.0, 1.0) * size) / size
    return snapped * (areas(snapped) > 0)[:, None]


def areas(box: Array) -> Array:
    """Returns the areas [B] of boxes [B, 4], as fractions of the picture."""
    return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])


def mix_targets(target: npt.NDArray[np.float32], mix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns the label distributions of mixed photos: float32 [B, K], row sums unchanged.

    Photo 2k gets lambda of its own target and 1 - lambda of photo 2k + 1's, and vice versa. For a pasted box lambda
    is exactly the fraction of pixels outside it.

    Args:
      target: float32 [B, K], B even.
      mix: float32 [B, 5], as in `Draws`.

    Raises:
      ValueError: B is odd.
    """
    if len(target) % 2:
        raise ValueError(f"photos are mixed in pairs, so the batch must be even. Received: {len(target)} targets")
    partner = target.reshape(-1, 2, target.shape[1])[:, ::-1].reshape(target.shape)
    share = mix[:, :1]
    return (share * target + (1.0 - share) * partner).astype(np.float32)
