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
# Correlation that a copy has before each step of the fine search: 1,800 crops of photos had 0.47, 0.72, 0.82 and 0.90.
LEAST_BEFORE_STEP = (0.42, 0.65, 0.78, 0.86)
LEAST_ONE_WAY = 0.8  # correlation after the search one way that is worth the other way: of those crops, all had 0.88
LONGEST_STEP = 0.02
LEAST_CHANGE = 1e-6  # of the strongest change, squared: a margin of which the detail shows less is not moved
LEAST_LENGTH = 1e-6
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
    def half(self) -> np.ndarray:
        """The picture at half its size, float32 [64, 64]."""
        return _halved(self.pixels)

    @functools.cached_property
    def coarse(self) -> np.ndarray:
        """The detail of the whole at 32x32, float32 [26, 26], the first of `coarse_windows`."""
        return _normalised(_detail(_halved(self.half)))

    @functools.cached_property
    def fine(self) -> np.ndarray:
        """The detail of the whole at 64x64, float32 [54, 54]."""
        return _normalised(_detail(self.half))

    @functools.cached_property
    def coarse_windows(self) -> np.ndarray:
        """The details of its coarse windows, float32 [15, 15, 26, 26], by STARTS down and across."""
        inside, blocks = _start_maps()
        rows = np.concatenate([inside @ self.half, blocks @ self.half], axis=1)
        windows = rows @ np.concatenate([inside, -blocks], axis=1).T  # inside less blocks, on both axes
        side = len(windows) // len(STARTS)
        return _normalised(_centred(windows.reshape(len(STARTS), side, len(STARTS), side).swapaxes(1, 2)))


def likeness(one: Picture, other: Picture) -> float:
    """Returns the correlation of the detail of two pictures, −1..1, at the scale and place where it is largest.

    The detail of a picture of 64x64 pixels is what its means over 4x4 lack. One picture may be mirrored, and either may
    be a crop of up to about 7 % per side. The search ends as soon as it is clear on which side of SAME_PICTURE a pair
    lies.
    """
    best = -1.0
    for whole, part in ((one, other), (other, one)):
        both = np.stack([part.coarse, part.coarse[:, ::-1]], axis=-1).reshape(-1, 2)
        scores = whole.coarse_windows.reshape(len(STARTS), len(STARTS), -1) @ both
        if scores.max() < LEAST_COARSE:
            return max(best, float(scores.max()))
        top, left, mirror = np.unravel_index(int(scores.argmax()), scores.shape)
        wanted = part.fine[:, ::-1] if mirror else part.fine
        best = max(best, _refined(whole.pixels, wanted.ravel(), (*STARTS[left], *STARTS[top])))
        if not LEAST_ONE_WAY <= best < SAME_PICTURE:
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


def _refined(pixels: np.ndarray, wanted: np.ndarray, margins: tuple[float, ...]) -> float:
    """Returns the correlation at the margins that Gauss-Newton steps reach from the given ones, if they improve it.

    Args:
      pixels: of a picture.
      wanted: the detail of the other one, [54²].
      margins: at the left, right, top and bottom of the picture, as fractions of a side.
    """
    place, best = np.array(margins), -1.0
    for least in (*LEAST_BEFORE_STEP, SAME_PICTURE):
        window = _window(pixels, place)
        detail = _detail(window).ravel()
        length = max(float(np.linalg.norm(detail)), LEAST_LENGTH)
        detail /= length
        if (score := float(detail @ wanted)) < best:
            break
        best = score
        if not least <= best < SAME_PICTURE:
            break
        changes = _changes(window, place).reshape(len(place), -1)
        changes -= np.outer(changes @ detail, detail)  # the length of the detail does not count
        step = length * np.linalg.lstsq(changes @ changes.T, changes @ wanted, rcond=LEAST_CHANGE)[0]
        place = place + np.clip(step / SIDE, -LONGEST_STEP, LONGEST_STEP)
    return best


def _window(pixels: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Returns float32 [64, 64], a picture [128, 128] without its margins (left, right, top, bottom), by area."""
    left, right, top, bottom = margins.tolist()
    rows, columns = _cut(top, bottom, SIDE, samples=SOURCE_SIDE), _cut(left, right, SIDE, samples=SOURCE_SIDE)
    return np.asarray(rows @ pixels @ columns.T)


def _changes(window: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Returns float32 [4, 54, 54]: how the detail of a window changes with each margin, per 64th of a side."""
    left, right, top, bottom = margins.tolist()
    down, across = np.gradient(window)
    down /= 1 - top - bottom
    across /= 1 - left - right
    after = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    before, below = 1 - after, after[:, None]
    return _detail(np.stack([across * before, -across * after, down * (1 - below), -down * below]))


def _cut(first: float, last: float, count: int, *, samples: int) -> np.ndarray:
    """Returns float32 [count, samples], the map from samples to equal parts between two margins, by area."""
    edges = np.clip(np.linspace(first, 1.0 - last, count + 1) * samples, 0, samples)  # none lies outside
    before = np.clip(edges[:, None] - np.arange(samples), 0, 1)  # the part of each sample before each edge
    return (np.diff(before, axis=0) / np.maximum(np.diff(edges), 1e-3)[:, None]).astype(np.float32)


def _halved(pixels: np.ndarray) -> np.ndarray:
    """Returns a picture at half its size, by area."""
    rows = pixels[::2] + pixels[1::2]
    return np.asarray((rows[:, ::2] + rows[:, 1::2]) / 4)


def _detail(windows: np.ndarray) -> np.ndarray:
    """Returns [..., i, i], the inside of windows [..., s, s] less its means over blocks, with mean 0."""
    *outer, side, _ = windows.shape
    means = _block_means(side)
    blocks = windows.reshape(*outer, len(means), BLOCK, len(means), BLOCK)
    detail = blocks - (means @ windows @ means.T)[..., :, None, :, None]
    border = round(BORDER * side)
    return _centred(detail.reshape(windows.shape)[..., border : side - border, border : side - border])


@functools.cache
def _block_means(side: int) -> np.ndarray:
    """Returns float32 [side / 4, side], the map from samples to the means of blocks of 4."""
    return np.kron(np.eye(side // BLOCK), np.full((1, BLOCK), 1 / BLOCK)).astype(np.float32)


def _normalised(details: np.ndarray) -> np.ndarray:
    """Returns details [..., i, i] of mean 0 with length 1; the array is overwritten."""
    length = np.sqrt(np.einsum("...ij,...ij->...", details, details))
    details /= np.maximum(length, LEAST_LENGTH)[..., None, None]
    return details


def _centred(details: np.ndarray) -> np.ndarray:
    """Returns details [..., i, i] less their means; the array is overwritten."""
    flat = details.reshape(*details.shape[:-2], -1)
    flat -= flat.mean(axis=-1, keepdims=True)
    return flat.reshape(details.shape)
