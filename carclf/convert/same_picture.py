"""Decides whether two photos that look alike are copies of one picture, or different pictures of one scene."""

import functools

import numpy as np
from PIL import Image

from carclf.data.decoder import decode_for
from carclf.data.validation import KEPT, validate_photo
from carclf.framing import Framing

SOURCE_SIDE = 128  # of the kept picture; windows are cut from it
SIDE = 64  # of the compared windows
COARSE_SIDE = 32  # of the windows with which the search begins
BLOCK = 4  # pixels: what pictures of one scene share is coarser than this
BORDER = 0.08  # fraction of a side at each edge that is not compared, because a crop may lack it
# Correlation of the detail, at the best scale and place, from which two photos are one picture.
# `benchmarks/duplicates.py` measures how many copies reach it, and how many other pairs.
SAME_PICTURE = 0.93
LEAST_COARSE = 0.72  # coarse correlation of a pair that is worth a fine search; copies reach it both ways
# Correlation that a copy has before each step of the fine search: 263 crops of photos had 0.52, 0.70, 0.77 and more.
LEAST_BEFORE_STEP = (0.45, 0.65, 0.74, 0.82, 0.88, 0.92)
DIFFERENCE = 0.004  # of a margin, for derivatives
LONGEST_STEP = 0.02
# Margins at the left and right (or top and bottom), as fractions of a side, with which the search begins. Negative
# ones are those of the other photo.
_CROPS = ((0.02, 0.02), (0.04, 0.04), (0.06, 0.06), (0.0, 0.03), (0.03, 0.0), (0.0, 0.06), (0.06, 0.0))
STARTS = ((0.0, 0.0), *_CROPS, *((-left, -right) for left, right in _CROPS))


def read_picture(raw: bytes, *, max_side: int, how: str) -> "Picture":
    """Returns a photo squashed to a grey square.

    Args:
      raw: the bytes of a photo that was accepted.
      max_side: longest side of a stored photo in pixels.
      how: the way it is stored, of `carclf.data.validation.Stored`.
    """
    encoded = raw if how == KEPT else validate_photo(raw, max_side=max_side).encoded
    pixels = decode_for(encoded, framing=Framing((SOURCE_SIDE, SOURCE_SIDE)))
    grey = Image.fromarray(pixels).convert("L").resize((SOURCE_SIDE, SOURCE_SIDE), Image.Resampling.HAMMING)
    return Picture(np.asarray(grey, np.float32))


class Picture:
    """A photo to be compared with many others.

    Attributes:
      pixels: float32 [128, 128], grey, 0..255.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    @functools.cached_property
    def detail(self) -> np.ndarray:
        """The detail of its coarse whole, float32 [26, 26], the first of `details`."""
        return _detail(_reduced(self.pixels, COARSE_SIDE))

    @functools.cached_property
    def details(self) -> np.ndarray:
        """The detail of its coarse windows, float32 [15, 15, 26, 26], by STARTS down and across."""
        inside, blocks = _start_maps()
        pixels = _reduced(self.pixels, SIDE)
        windows = inside @ pixels @ inside.T - blocks @ pixels @ blocks.T
        side = len(windows) // len(STARTS)
        return _normalised(windows.reshape(len(STARTS), side, len(STARTS), side).swapaxes(1, 2))


def likeness(one: Picture, other: Picture) -> float:
    """Returns the correlation of the detail of two pictures, −1..1, at the scale and place where it is largest.

    The detail of a picture of 64x64 pixels is what its means over 4x4 lack. One picture may be mirrored, and either may
    be a crop of up to about 7 % per side. The search ends as soon as it is clear on which side of SAME_PICTURE a pair
    lies.
    """
    best = -1.0
    for whole, part in ((one, other), (other, one)):
        both = np.stack([part.detail, part.detail[:, ::-1]], axis=-1).reshape(-1, 2)
        scores = whole.details.reshape(len(STARTS), len(STARTS), -1) @ both
        if scores.max() < LEAST_COARSE:
            return max(best, float(scores.max()))
        top, left, mirror = np.unravel_index(int(scores.argmax()), scores.shape)
        pixels = part.pixels[:, ::-1] if mirror else part.pixels
        best = max(best, _refined(whole.pixels, pixels, (*STARTS[left], *STARTS[top])))
        if best >= SAME_PICTURE:
            break
    return best


@functools.cache
def _start_maps() -> tuple[np.ndarray, np.ndarray]:
    """Returns the maps from 64 samples to the inside of windows of 32, for each of STARTS, and to its blocks' means.

    Their difference on both axes is `_detail`; float32 [15 · 26, 64] each.
    """
    border = round(BORDER * COARSE_SIDE)
    means = np.kron(np.eye(COARSE_SIDE // BLOCK), np.full((BLOCK, BLOCK), 1 / BLOCK))
    cuts = [_cut(*start, COARSE_SIDE, samples=SIDE) for start in STARTS]
    inside, blocks = (
        np.concatenate([(one @ cut)[border:-border] for cut in cuts]) for one in (np.eye(COARSE_SIDE), means)
    )
    return inside.astype(np.float32), blocks.astype(np.float32)


def _refined(one: np.ndarray, other: np.ndarray, margins: tuple[float, ...]) -> float:
    """Returns the correlation at the margins that Gauss-Newton steps reach from the given ones, if they improve it."""
    wanted = _detail(_reduced(other, SIDE)).ravel()
    place, detail = np.array(margins), _window_details(one, np.array([margins]))[0]
    best = float(detail @ wanted)
    for least in LEAST_BEFORE_STEP:
        if not least <= best < SAME_PICTURE:
            break
        changes = (_window_details(one, place + DIFFERENCE * np.eye(4)) - detail).T
        step = np.linalg.lstsq(changes, wanted - detail, rcond=None)[0] * DIFFERENCE
        place = place + np.clip(step, -LONGEST_STEP, LONGEST_STEP)
        detail = _window_details(one, place[None])[0]
        score = float(detail @ wanted)
        if score < best:
            break
        best = score
    return best


def _window_details(pixels: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Returns float64 [N, 54²], the detail of a picture [128, 128] without its margins, by area.

    Args:
      pixels: of the picture.
      margins: at the left, right, top and bottom, as fractions of a side, float64 [N, 4].
    """
    windows, rows = [], dict[tuple[float, float], np.ndarray]()
    for left, right, top, bottom in margins.tolist():
        if (top, bottom) not in rows:
            rows[top, bottom] = _cut(top, bottom, SIDE, samples=SOURCE_SIDE) @ pixels
        windows.append(rows[top, bottom] @ _cut(left, right, SIDE, samples=SOURCE_SIDE).T)
    return _detail(np.stack(windows)).reshape(len(margins), -1)


def _cut(first: float, last: float, count: int, *, samples: int) -> np.ndarray:
    """Returns float64 [count, samples], the map from samples to equal parts between two margins, by area."""
    edges = np.clip(np.linspace(first, 1.0 - last, count + 1) * samples, 0, samples)  # none lies outside
    before = np.clip(edges[:, None] - np.arange(samples), 0, 1)  # the part of each sample before each edge
    return np.asarray(np.diff(before, axis=0) / np.maximum(np.diff(edges), 1e-3)[:, None])


def _reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    """Returns a picture [128, 128] at [side, side], by area."""
    step = SOURCE_SIDE // side
    return np.asarray(pixels.reshape(side, step, side, step).mean(axis=(1, 3)))


def _detail(windows: np.ndarray) -> np.ndarray:
    """Returns [..., i, i], the inside of windows [..., s, s] less its means over blocks: mean 0, length 1."""
    *outer, side, _ = windows.shape
    border, blocks = round(BORDER * side), windows.reshape(*outer, side // BLOCK, BLOCK, side // BLOCK, BLOCK)
    means = blocks.mean(axis=(-3, -1))
    detail = windows - means.repeat(BLOCK, axis=-2).repeat(BLOCK, axis=-1)
    return _normalised(detail[..., border : side - border, border : side - border])


def _normalised(details: np.ndarray) -> np.ndarray:
    """Returns details [..., i, i] with mean 0 and length 1."""
    flat = details.reshape(*details.shape[:-2], -1)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    length = np.sqrt(np.einsum("...i,...i->...", flat, flat))[..., None]
    flat /= np.maximum(length, 1e-6)
    return np.asarray(flat).reshape(details.shape)
