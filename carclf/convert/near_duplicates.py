"""Finds near-duplicates: a perceptual hash proposes pairs, and a comparison of thumbnails decides.

They are recompressed, resized, brightened, darkened and mirrored copies, and crops of up to about 6 % per side. Work
and memory grow linearly with the number of photos: hashes are sorted in BANDS different orders and compared with their
neighbours there. A photo without the margins that a crop would remove (25 combinations) is compared with the other
photo.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

THUMBNAIL_SIDE = 16
THUMBNAIL_BYTES = THUMBNAIL_SIDE**2
HASH_SIDE = 8  # of the block of DCT coefficients; their signs are the hash

# Margins that a crop may have removed at the left and right (or top and bottom), as fractions of a side.
Margins = tuple[tuple[float, float], ...]
MARGINS: Margins = ((0.0, 0.0), (0.03, 0.03), (0.06, 0.06), (0.0, 0.06), (0.06, 0.0))

BANDS = 10  # bit orders in which the hashes are sorted; the leading bits of one order are the last of another
NEIGHBOURS = 4  # neighbours to compare on either side, in each order
MAX_DISTANCE = 10  # bits of 64 by which the hashes of a proposed pair may differ
MIN_CORRELATION = 0.94  # measured on 1,935 car photos: 98 % of cropped, brightened and recompressed copies are above it
MIN_DETAIL = 16.0  # a filtered thumbnail with a smaller norm shows only noise
CHUNK = 512  # photos at a time, which bounds memory
HASHED = 64  # photos whose windows are hashed at a time, at 40 kB each
PAIRS = 1024  # pairs at a time; those of one photo are contiguous


def thumbnail_of(reduced: np.ndarray, *, height: int, width: int) -> bytes:
    """Returns the grey thumbnail of a photo, 16×16 uint8 row by row: the only pixels that are kept of it.

    Args:
      reduced: uint8 [h, w, 3], decoded at 1, 1/2, 1/4 or 1/8 of its size.
      height: of the photo in pixels; h is rounded up.
      width: the same.
    """
    grey = Image.fromarray(reduced).convert("L")
    # Only part of the last row and column is the photo's: with them, a mirrored copy would be shifted. Pillow's BOX
    # would take whole pixels, alternately two and three, which shifts a mirrored copy, too.
    extent = (width / round(width / grey.width), height / round(height / grey.height))
    return grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.HAMMING, box=(0, 0, *extent)).tobytes()


@dataclasses.dataclass(frozen=True)
class ThumbnailIndex:
    """The index of all photos for the search for near-duplicates.

    Attributes:
      thumbnails: uint8 [N, 16, 16].
      hashes: uint64 [N], of the whole photos.
      bands: for each order of bits: the order, and the photos' indices, hashes and lengths of equal runs in it.
    """

    thumbnails: np.ndarray
    hashes: np.ndarray
    bands: tuple[tuple[np.ndarray, ...], ...]


Found = tuple[np.ndarray, np.ndarray]
"""(keys, scores) of pairs: smaller · N + larger number, int64 [P]; correlation, float32 [P]."""


def build_index(thumbnails: np.ndarray) -> ThumbnailIndex:
    """Returns the index of `thumbnails`, uint8 [N, 256], from `thumbnail_of`."""
    thumbnails = thumbnails.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    hashes = np.concatenate([np.zeros(0, np.uint64), *(perceptual_hash(part) for part in _chunks(thumbnails))])
    orders = [np.random.default_rng(band).permutation(64) for band in range(BANDS)]
    bands = ((order, *_sorted(_permuted(hashes, order), band=band)) for band, order in enumerate(orders))
    return ThumbnailIndex(thumbnails, hashes, tuple(bands))


def search_starts(photos: int) -> range:
    """Returns the starts of the parts that `search_part` takes for this many photos; a single one has no duplicate."""
    return range(0, photos if photos > 1 else 0, CHUNK)


def search_part(index: ThumbnailIndex, start: int) -> Found:
    """Returns the near-duplicates of the CHUNK photos from `start` on; the parts are independent of each other."""
    photos = index.thumbnails[start : start + CHUNK]
    parts = [_window_hashes(photos[first : first + HASHED]) for first in range(0, len(photos), HASHED)]
    queries = np.concatenate(parts)
    owner, window, other = proposed(queries, index.hashes, index.bands, first=start)
    score = _scores(index.thumbnails, owner, window, other)
    found = score >= MIN_CORRELATION
    low, high = np.minimum(owner, other)[found], np.maximum(owner, other)[found]
    return low * len(index.hashes) + high, score[found]


def merge_pairs(parts: Iterable[Found], *, photos: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (pairs, scores) of all parts of the search: int64 [P, 2], rows ascending, and float32 [P].

    A pair that was found twice gets its best score.
    """
    keys, scores = zip((np.zeros(0, np.int64), np.zeros(0, np.float32)), *parts, strict=True)
    key, where = np.unique(np.concatenate(keys), return_inverse=True)
    best = np.zeros(len(key), np.float32)
    np.maximum.at(best, where, np.concatenate(scores))
    return np.stack([key // max(photos, 1), key % max(photos, 1)], axis=1), best


def perceptual_hash(thumbnails: np.ndarray) -> np.ndarray:
    """Returns uint64 [N], one bit per low DCT coefficient (8×8, row by row, highest bit first): is it above the median?

    Source: `imagehash.phash(image, highfreq_factor=2)`, with which a test compares it; here for many photos at once.

    Args:
      thumbnails: numbers [N, 16, 16].
    """
    transform = cosines()
    return signs(transform @ np.asarray(thumbnails, np.float64) @ transform.T)


def _window_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Returns uint64 [N, 26], the hashes of every photo without each combination of margins, and of it mirrored."""
    transform = np.concatenate([cosines() @ _cut(*margins) for margins in MARGINS])
    count = len(MARGINS)
    all_cuts = transform @ np.asarray(thumbnails, np.float64) @ transform.T
    by_cut = all_cuts.reshape(-1, count, HASH_SIDE, count, HASH_SIDE).transpose(0, 1, 3, 2, 4)
    windows = signs(by_cut.reshape(-1, HASH_SIDE, HASH_SIDE)).reshape(-1, count**2)
    mirrored = by_cut[:, 0, 0] * (1 - 2 * (np.arange(HASH_SIDE) % 2))  # mirroring negates the odd columns of a DCT
    return np.concatenate([windows, signs(mirrored)[:, None]], axis=1)


@functools.cache
def cosines() -> np.ndarray:
    """Returns the first 8 rows of the unnormalised DCT-II of 16 points, float64 [8, 16]."""
    frequency, sample = np.arange(HASH_SIDE)[:, None], np.arange(THUMBNAIL_SIDE)[None]
    return np.asarray(2.0 * np.cos(np.pi * frequency * (2 * sample + 1) / (2 * THUMBNAIL_SIDE)))


def signs(coefficients: np.ndarray) -> np.ndarray:
    """Returns uint64 [N], the hashes of DCT coefficients [N, 8, 8]."""
    low = coefficients.reshape(len(coefficients), HASH_SIDE**2)
    middle = HASH_SIDE**2 // 2
    halves = np.sort(low, axis=1)[:, middle - 1 : middle + 1]  # three times as fast as np.median
    return _packed(low > halves.mean(axis=1, keepdims=True))


def _packed(bits: np.ndarray) -> np.ndarray:
    return np.frombuffer(np.packbits(bits, axis=1).tobytes(), ">u8").astype(np.uint64)


def proposed(
    queries: np.ndarray,
    hashes: np.ndarray,
    bands: Sequence[tuple[np.ndarray, ...]],
    *,
    first: int,
    max_distance: int = MAX_DISTANCE,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (owner, window, other), int64 each: windows of a photo with a hash close to that of another photo.

    Args:
      queries: uint64 [n, 26], the window hashes of the photos `first`, `first` + 1, …
      hashes: uint64 [N], of all whole photos.
      bands: of `ThumbnailIndex`.
      first: index of the first photo.
      max_distance: bits by which the hashes may differ.
    """
    windows = queries.shape[1]
    flat = queries.reshape(-1)
    owners = np.repeat(np.arange(first, first + len(queries)), windows)
    found = [np.zeros(0, np.int64)]
    for order, indices, values, runs in bands:
        position = _positions(_permuted(flat, order), owners, values, runs)
        for step in range(-NEIGHBOURS, NEIGHBOURS):
            other = indices[np.clip(position + step, 0, len(indices) - 1)]
            near = np.flatnonzero((other != owners) & (_distance(flat, hashes[other]) <= max_distance))
            found.append(near * len(hashes) + other[near].astype(np.int64))
    packed = np.unique(np.concatenate(found))
    query, other = packed // len(hashes), packed % len(hashes)
    return first + query // windows, query % windows, other


def _scores(thumbnails: np.ndarray, owner: np.ndarray, window: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns float32 [P]: the correlation of window `window` of photo `owner` with photo `other`, all int64 [P]."""
    scores = [np.zeros(0, np.float32)]
    for start in range(0, len(owner), PAIRS):
        here = slice(start, start + PAIRS)
        parts, part_of = np.unique(owner[here], return_inverse=True)
        wholes, whole_of = np.unique(other[here], return_inverse=True)
        mirrored = details(thumbnails[parts][:, :, ::-1], margins=MARGINS[:1])
        windows = np.concatenate([details(thumbnails[parts]), mirrored], axis=1)[part_of, window[here]]
        photos = details(thumbnails[wholes], margins=MARGINS[:1])[whole_of, 0]
        scores.append(np.einsum("pi,pi->p", windows, photos))
    return np.concatenate(scores)


def _sorted(values: np.ndarray, *, band: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (indices, values, runs), ascending, ties in a different order per band; runs count equal values."""
    indices = np.lexsort((_mixed(np.arange(len(values)), band), values))
    ordered = values[indices]
    ends = np.searchsorted(ordered, ordered, side="right")
    return indices, ordered, ends - np.arange(len(values))


def _positions(queries: np.ndarray, owners: np.ndarray, values: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """Returns the positions of the queries' neighbours; among many equal hashes, one of them per query.

    If it were always the first one, only the first few of many equal hashes would ever be compared.
    """
    ascending = np.argsort(queries)  # ascending queries are found in half the time
    first = np.empty(len(queries), np.int64)
    first[ascending] = np.searchsorted(values, queries[ascending])
    inside = np.minimum(first, len(values) - 1)
    run = np.where(values[inside] == queries, runs[inside], 0)
    spread = NEIGHBOURS + _mixed(owners, BANDS) % np.maximum(run - 2 * NEIGHBOURS + 1, 1)
    return np.asarray(first + np.where(run > 2 * NEIGHBOURS, spread, run // 2))


def _mixed(numbers: np.ndarray, band: int) -> np.ndarray:
    """Returns uint32 keys that sort the numbers in a different order for each band (Knuth's multiplicative hash)."""
    factor = 2654435761 * (2 * band + 1) % 2**32
    return (numbers.astype(np.uint64) * np.uint64(factor) % np.uint64(2**32)).astype(np.uint32)


def _permuted(hashes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns the hashes with their 64 bits in another order."""
    tables = _bit_tables(tuple(order.tolist()))
    moved = np.zeros(len(hashes), np.uint64)
    for table, values in zip(tables, hashes.astype(">u8").view(np.uint8).reshape(-1, 8).T, strict=True):
        moved |= table[values]
    return moved


@functools.cache
def _bit_tables(order: tuple[int, ...]) -> np.ndarray:
    """Returns uint64 [8, 256]: for every byte of a hash and its value, its bits where the order puts them."""
    values = np.zeros((8, 256, 8), np.uint8)
    values[np.arange(8), :, np.arange(8)] = np.arange(256)
    bits = np.unpackbits(values.reshape(-1, 8), axis=1)
    return _packed(bits[:, list(order)]).reshape(8, 256)


@functools.cache
def _bit_counts() -> np.ndarray:
    return np.unpackbits(np.arange(2**16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(1, dtype=np.uint8)


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the number of differing bits of 64."""
    if hasattr(np, "bitwise_count"):  # since NumPy 2.0, five times faster
        return np.asarray(np.bitwise_count(one ^ other))
    return np.asarray(_bit_counts()[(one ^ other).view(np.uint16).reshape(-1, 4)].sum(axis=1))


@functools.cache
def _cut(left: float, right: float) -> np.ndarray:
    """Returns float32 [16, 16], the map that stretches 16 samples without their margins to 16 samples, by area."""
    edges = np.linspace(left, 1.0 - right, THUMBNAIL_SIDE + 1) * THUMBNAIL_SIDE
    sample = np.arange(THUMBNAIL_SIDE)
    overlap = np.minimum(edges[1:, None], sample + 1) - np.maximum(edges[:-1, None], sample)
    weight = np.maximum(overlap, 0.0)
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


@functools.cache
def _band_pass() -> tuple[np.ndarray, np.ndarray]:
    """Returns two filters of a row, float32 [16, 16] each: a slight blur, and the same after a mean over 7 samples.

    Their difference keeps shapes of medium size and removes light and background, which studio photos share.
    """
    blur = _repeated_edge(np.array([0.25, 0.5, 0.25]))
    return blur, _repeated_edge(np.full(7, 1 / 7)) @ blur


def _repeated_edge(kernel: np.ndarray) -> np.ndarray:
    matrix = np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.float32)
    for row in range(THUMBNAIL_SIDE):
        for step, weight in enumerate(kernel):
            matrix[row, np.clip(row + step - len(kernel) // 2, 0, THUMBNAIL_SIDE - 1)] += weight
    return matrix


def details(thumbnails: np.ndarray, *, margins: Margins = MARGINS) -> np.ndarray:
    """Returns float32 [N, 25, 256], the filtered windows of every photo, whole photo first, zero mean and unit length.

    A window without detail is all zeros, which match nothing.
    """
    count = len(margins)
    source = thumbnails.astype(np.float32)
    filtered = []
    for side in _band_pass():
        cuts = np.concatenate([side @ _cut(*cut) for cut in margins])
        filtered.append(cuts @ source @ cuts.T)
    by_cut = (
        (filtered[0] - filtered[1]).reshape(-1, count, THUMBNAIL_SIDE, count, THUMBNAIL_SIDE).transpose(0, 1, 3, 2, 4)
    )
    detail = by_cut.reshape(len(source), count**2, THUMBNAIL_BYTES)
    detail -= detail.mean(axis=-1, keepdims=True)
    length = np.sqrt(np.einsum("nwi,nwi->nw", detail, detail))[..., None]
    detail *= np.where(length > MIN_DETAIL, 1 / np.maximum(length, 1e-6), np.float32(0))
    return detail


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(array), CHUNK):
        yield array[start : start + CHUNK]
