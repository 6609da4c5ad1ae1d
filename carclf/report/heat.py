"""Overlays heat maps on photos."""

import matplotlib
import numpy as np
from PIL import Image

MAX_OPACITY = 0.7  # of the highest heat, so that the photo stays visible
COLOUR_MAP = "turbo"


def overlay(pixels: np.ndarray, heat: np.ndarray, *, geometry: np.ndarray | None = None) -> np.ndarray:
    """Returns the photo, uint8 [H, W, 3], coloured from blue to red by its heat, and greyed elsewhere.

    Args:
      pixels: the photo, uint8 [H, W, 3].
      heat: float [h, w] in 0..1.
      geometry: float [3, 3], affine, from positions in the heat map to positions in the photo, both −1..1 from edge to
        edge (`carclf.recipe`); outside the map there is no heat. None if the map covers the photo exactly.
    """
    spread = _spread(heat, size=(pixels.shape[1], pixels.shape[0]), geometry=geometry)[..., None]
    colours = 255.0 * matplotlib.colormaps[COLOUR_MAP](spread[..., 0])[..., :3]
    grey = pixels.mean(axis=-1, keepdims=True)
    calm = 0.5 * pixels + 0.5 * grey
    opacity = MAX_OPACITY * spread
    return np.rint((1.0 - opacity) * calm + opacity * colours).astype(np.uint8)


def _spread(heat: np.ndarray, *, size: tuple[int, int], geometry: np.ndarray | None) -> np.ndarray:
    """Returns the heat at each pixel of a photo of `size` (width, height), float [H, W] in 0..1."""
    height, width = heat.shape
    inverse = np.linalg.inv(np.eye(3) if geometry is None else geometry.astype(np.float64))
    from_pixels = np.array([[2 / size[0], 0, -1], [0, 2 / size[1], -1], [0, 0, 1]])
    to_cells = np.array([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]])
    affine = (to_cells @ inverse @ from_pixels)[:2].ravel().tolist()
    image = Image.fromarray(heat.astype(np.float32))
    smooth = image.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth, np.float64), 0.0, 1.0)
