"""Finds copies that were turned by up to 12°, as augmenting programs write them: they must not be held out alone."""

import functools
from collections.abc import Sequence

import numpy as np

from carclf.convert.near_duplicates import (
    CHUNK,
    HASH_SIDE,
    MARGINS,
    PAIRS,
    THUMBNAIL_SIDE,
    Found,
    ThumbnailIndex,
    cosines,
    details,
    proposed,
    signs,
)

TURNS = tuple(np.radians((-12.0, -8.0, -4.0, 4.0, 8.0, 12.0)).tolist())
# `benchmarks/duplicates.py` counts how many turned copies reach it. Copies whose corners were filled with black do not.
MIN_CORRELATION = 0.96
MAX_DISTANCE = 8  # bits of 64; at 10, the next that occurs, there are four times as many pairs to compare
MOST_PER_PHOTO = 4  # partners; in one studio very many photos look alike


def search_turned(index: ThumbnailIndex, shapes: np.ndarray, start: int) -> Found:
    """Returns the pairs of a part of the photos of which one looks like the other turned.

    Args:
      index: of all photos.
      shapes: float32 [N], width / height of each.
      start: of the part, one of `near_duplicates.search_starts`.
    """
    here = slice(start, start + CHUNK)
    queries = turned_hashes(index.thumbnails[here], shapes[here])
    owner, window, other = proposed(queries, index.hashes, index.bands, first=start, max_distance=MAX_DISTANCE)
    scores = [np.zeros(0, np.float32)]
    for at in range(0, len(owner), PAIRS):
        part = slice(at, at + PAIRS)
        turned = turn(index.thumbnails[owner[part]], shapes[owner[part]], np.array(TURNS)[window[part]])
        theirs, theirs_of = np.unique(other[part], return_inverse=True)
        whole = details(index.thumbnails[theirs], margins=MARGINS[:1])[theirs_of, 0]
        scores.append(np.einsum("pi,pi->p", details(turned, margins=MARGINS[:1])[:, 0], whole))
    score = np.concatenate(scores)
    found = score >= MIN_CORRELATION
    low, high = np.minimum(owner, other)[found], np.maximum(owner, other)[found]
    return low * len(index.hashes) + high, score[found]


def turned_hashes(thumbnails: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Returns uint64 [n, 6], `near_duplicates.perceptual_hash` of the thumbnails turned by each of TURNS.

    Args:
      thumbnails: uint8 [n, 16, 16], of photos squashed to a square.
      shapes: float32 [n], width / height of the photos; twentieths count.
    """
    hashes = np.zeros((len(thumbnails), len(TURNS)), np.uint64)
    twentieths = (20 * shapes).round().astype(np.int64).clip(1, 400)
    for shape in np.unique(twentieths).tolist():
        here = twentieths == shape
        coefficients = thumbnails[here].reshape(-1, THUMBNAIL_SIDE**2) @ _turned_coefficients(shape)
        hashes[here] = signs(coefficients.reshape(-1, HASH_SIDE, HASH_SIDE)).reshape(-1, len(TURNS))
    return hashes


@functools.lru_cache(maxsize=64)
def _turned_coefficients(twentieths: int) -> np.ndarray:
    """Returns float64 [256, 384], the map from a thumbnail to the DCT coefficients of it turned by each of TURNS."""
    samples = np.eye(THUMBNAIL_SIDE**2).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    shapes = np.full(len(samples), twentieths / 20)
    turned = np.stack([turn(samples, shapes, np.full(len(samples), radians)) for radians in TURNS], axis=1)
    return np.asarray(cosines() @ turned @ cosines().T).reshape(len(samples), -1)


def turn(thumbnails: np.ndarray, shapes: np.ndarray, radians: np.ndarray) -> np.ndarray:
    """Returns thumbnails turned counter-clockwise about their centres as the photos are, float32 [n, 16, 16].

    Outside of a photo, its edge is repeated.

    Args:
      thumbnails: numbers [n, 16, 16], of photos squashed to a square.
      shapes: numbers [n], width / height of the photos.
      radians: numbers [n].
    """
    centres = (np.arange(THUMBNAIL_SIDE, dtype=np.float32) + 0.5) * 2 / THUMBNAIL_SIDE - 1
    down, across = np.meshgrid(centres, centres, indexing="ij")
    cosine, sine, shape = (
        numbers[:, None, None].astype(np.float32) for numbers in (np.cos(radians), np.sin(radians), shapes)
    )
    rows = _samples(sine * across * shape + cosine * down)
    columns = _samples(cosine * across - sine * down / shape)
    above, left = (np.minimum(places.astype(np.int32), THUMBNAIL_SIDE - 2) for places in (rows, columns))
    weight_down, weight_across = (rows - above).astype(np.float32), (columns - left).astype(np.float32)
    flat = thumbnails.reshape(-1).astype(np.float32)
    number = np.arange(len(thumbnails), dtype=np.int32)[:, None, None]
    first = (number * THUMBNAIL_SIDE + above) * THUMBNAIL_SIDE + left
    upper, lower = (
        flat[first + step] * (1 - weight_across) + flat[first + step + 1] * weight_across
        for step in (0, THUMBNAIL_SIDE)
    )
    return np.asarray(upper * (1 - weight_down) + lower * weight_down)


def _samples(positions: np.ndarray) -> np.ndarray:
    """Returns the samples at positions in −1..1, none outside."""
    return np.clip((positions + 1) * THUMBNAIL_SIDE / 2 - 0.5, 0, THUMBNAIL_SIDE - 1)


def most_similar(pairs: np.ndarray, scores: np.ndarray) -> Sequence[tuple[int, int]]:
    """Returns the pairs, the most similar first, up to MOST_PER_PHOTO of each photo.

    Args:
      pairs: int64 [P, 2].
      scores: float32 [P].
    """
    taken, counts = [], dict[int, int]()
    for one, other in pairs[np.lexsort((pairs[:, 1], pairs[:, 0], -scores.round(6)))].tolist():
        if max(counts.get(one, 0), counts.get(other, 0)) < MOST_PER_PHOTO:
            taken.append((one, other))
            counts[one], counts[other] = counts.get(one, 0) + 1, counts.get(other, 0) + 1
    return taken
