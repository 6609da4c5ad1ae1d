"""Which photos show the same picture: a perceptual hash proposes pairs, a comparison of thumbnails decides."""

import functools
from collections.abc import Iterator

import numpy as np
from PIL import Image

THUMBNAIL_SIDE = 16
LOOK_BYTES = THUMBNAIL_SIDE**2
HASH_SIDE = 8  # of the DCT coefficients whose signs are the hash

# Margins, as fractions of a side, that a crop may have cut off on the left and on the right (or above and below).
HASHED_MARGINS = ((0.0, 0.0), (0.03, 0.03), (0.06, 0.06), (0.0, 0.06), (0.06, 0.0))
COMPARED_MARGINS = tuple((left, right) for left in (0.0, 0.03, 0.06) for right in (0.0, 0.03, 0.06))

BANDS = 10  # orders in which the hashes are sorted; bits that lead in one order are last in another
NEIGHBOURS = 4  # places to look at on either side, in each order
MAX_DISTANCE = 10  # bits of 64 by which the hashes of a proposed pair may differ
MIN_CORRELATION = 0.94  # measured on 1,935 car photos: of cropped, brightened and recompressed copies 98 % lie above
CHUNK = 1024  # photos or pairs at a time, which bounds memory


def look_of(reduced: np.ndarray) -> bytes:
    """The grey thumbnail of a photo, 16×16 uint8 row by row: all that is kept of its pixels.

    Args:
      reduced: uint8 [h, w, 3].
    """
    grey = Image.fromarray(reduced).convert("L")
    return grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX).tobytes()


def similar_pairs(looks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(pairs, correlations): int64 [P, 2], ascending in each row, and float32 [P] in 0.94..1 of photos that look alike.

    Finds recompressed, resized, brightened and darkened copies, and crops of up to about 6 % a side. Work and memory
    grow with the number of photos, not with its square: hashes are sorted in BANDS different orders and compared with
    their neighbours there.

    Args:
      looks: uint8 [N, 256], from `look_of`.
    """
    thumbnails = looks.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    proposed = _proposed(thumbnails)
    scores = [
        np.maximum(_correlations(thumbnails, part[:, 0], part[:, 1]), _correlations(thumbnails, part[:, 1], part[:, 0]))
        for part in _chunks(proposed)
    ]
    score = np.concatenate([np.zeros(0, np.float32), *scores])
    found = score >= MIN_CORRELATION
    return proposed[found], score[found]


def perceptual_hash(thumbnails: np.ndarray) -> np.ndarray:
    """uint64 [N]: which of the 8×8 lowest DCT coefficients lie above their median, row by row, first bit highest.

    Source: `imagehash.phash(image, highfreq_factor=2)`, to which a test compares it. Here for many at once.

    Args:
      thumbnails: numbers [N, 16, 16].
    """
    transform = _cosines()
    return _signs(transform @ np.asarray(thumbnails, np.float64) @ transform.T)


def _window_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """uint64 [N, 25]: the hashes of every photo without each of the margins above and below, left and right."""
    transform = np.concatenate([_cosines() @ _cut(*margins) for margins in HASHED_MARGINS])
    count = len(HASHED_MARGINS)
    all_cuts = transform @ np.asarray(thumbnails, np.float64) @ transform.T
    by_cut = all_cuts.reshape(-1, count, HASH_SIDE, count, HASH_SIDE).transpose(0, 1, 3, 2, 4)
    return _signs(by_cut.reshape(-1, HASH_SIDE, HASH_SIDE)).reshape(-1, count**2)


@functools.cache
def _cosines() -> np.ndarray:
    """The first 8 rows of the unnormalised DCT-II of 16 points, float64 [8, 16]."""
    frequency, place = np.arange(HASH_SIDE)[:, None], np.arange(THUMBNAIL_SIDE)[None]
    return np.asarray(2.0 * np.cos(np.pi * frequency * (2 * place + 1) / (2 * THUMBNAIL_SIDE)))


def _signs(coefficients: np.ndarray) -> np.ndarray:
    low = coefficients.reshape(len(coefficients), HASH_SIDE**2)
    return _packed(low > np.median(low, axis=1, keepdims=True))


def _packed(bits: np.ndarray) -> np.ndarray:
    return np.frombuffer(np.packbits(bits, axis=1).tobytes(), ">u8").astype(np.uint64)


def _proposed(thumbnails: np.ndarray) -> np.ndarray:
    """int64 [P, 2]: pairs of which one photo's hash is near the hash of the other, or of a part of it."""
    if len(thumbnails) < 2:
        return np.zeros((0, 2), np.int64)
    hashes = np.concatenate([perceptual_hash(part) for part in _chunks(thumbnails)])
    found = [np.zeros(0, np.int64)]
    orders = [np.random.default_rng(band).permutation(64) for band in range(BANDS)]
    sorts = [(order, *_sorted(_permuted(hashes, order))) for order in orders]
    for start in range(0, len(thumbnails), CHUNK):
        queries = _window_hashes(thumbnails[start : start + CHUNK])
        owners = np.repeat(np.arange(start, start + len(queries)), queries.shape[1])
        keys = [_neighbours(queries.reshape(-1), owners, hashes, *band) for band in sorts]
        found.append(np.unique(np.concatenate(keys)))
    packed = np.unique(np.concatenate(found))
    return np.stack([packed // len(thumbnails), packed % len(thumbnails)], axis=1)


def _sorted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places = np.argsort(values, kind="stable")
    return places, values[places]


def _permuted(hashes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The hashes with their 64 bits in another order."""
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    return _packed(bits[:, order])


def _neighbours(
    queries: np.ndarray,
    owners: np.ndarray,
    hashes: np.ndarray,
    order: np.ndarray,
    places: np.ndarray,
    values: np.ndarray,
) -> np.ndarray:
    """smaller · N + larger index of the photos whose hashes lie beside a query's in this order, and near it."""
    position = np.searchsorted(values, _permuted(queries, order))
    found = []
    for step in range(-NEIGHBOURS, NEIGHBOURS):
        other = places[np.clip(position + step, 0, len(places) - 1)]
        near = (other != owners) & (_distance(queries, hashes[other]) <= MAX_DISTANCE)
        low, high = np.minimum(owners[near], other[near]), np.maximum(owners[near], other[near])
        found.append(low * len(hashes) + high)
    return np.concatenate(found)


@functools.cache
def _bit_counts() -> np.ndarray:
    return np.unpackbits(np.arange(2**16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(1, dtype=np.uint8)


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return _bit_counts()[(one ^ other).view(np.uint16).reshape(-1, 4)].sum(axis=1)


@functools.cache
def _cut(left: float, right: float) -> np.ndarray:
    """What stretches a row of 16 samples without its margins to 16 samples again: float32 [16, 16], by area."""
    edges = np.linspace(left, 1.0 - right, THUMBNAIL_SIDE + 1) * THUMBNAIL_SIDE
    place = np.arange(THUMBNAIL_SIDE)
    overlap = np.minimum(edges[1:, None], place + 1) - np.maximum(edges[:-1, None], place)
    weight = np.maximum(overlap, 0.0)
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


@functools.cache
def _band_pass() -> tuple[np.ndarray, np.ndarray]:
    """Two filters of a row, float32 [16, 16] each: a slight blur, and the same after a mean over 7 samples.

    Their difference leaves the shapes of middling size: light and background, which studio photos share, are gone.
    """
    blur = _repeated_edge(np.array([0.25, 0.5, 0.25]))
    return blur, _repeated_edge(np.full(7, 1 / 7)) @ blur


def _repeated_edge(kernel: np.ndarray) -> np.ndarray:
    matrix = np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.float32)
    for row in range(THUMBNAIL_SIDE):
        for step, weight in enumerate(kernel):
            matrix[row, np.clip(row + step - len(kernel) // 2, 0, THUMBNAIL_SIDE - 1)] += weight
    return matrix


def _correlations(thumbnails: np.ndarray, cropped: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """float32 [P]: how well a part of each photo `cropped` matches the photo `whole`, over the best margins found.

    The margins of a side are searched with those of the other held fixed: x, y, then x again.
    """
    blur, mean = _band_pass()
    shape = (-1, THUMBNAIL_SIDE, len(COMPARED_MARGINS), THUMBNAIL_SIDE)
    cuts = np.stack([_cut(*margins) for margins in COMPARED_MARGINS])
    source = thumbnails[cropped].astype(np.float32)
    target = thumbnails[whole].astype(np.float32)
    target = _unit(blur @ target @ blur.T - mean @ target @ mean.T)
    across = down = np.zeros(len(cropped), np.int64)
    score = np.zeros(len(cropped), np.float32)
    for search_across in (True, False, True):
        # The picture is turned instead of the code: what is searched runs along its rows.
        photo, goal = (source, target) if search_across else (source.transpose(0, 2, 1), target.transpose(0, 2, 1))
        fixed = cuts[down if search_across else across]
        rows = [side @ (fixed @ photo) for side in (blur, mean)]
        smooth, level = (
            (part @ np.concatenate([(side @ cut).T for cut in cuts], axis=1)).reshape(shape)
            for part, side in zip(rows, (blur, mean), strict=True)
        )
        candidates = _unit((smooth - level).transpose(0, 2, 1, 3))
        scores = np.einsum("pwij,pij->pw", candidates, goal)
        best = scores.argmax(axis=1)
        score = scores[np.arange(len(best)), best]
        if search_across:
            across = best
        else:
            down = best
    return np.asarray(score, np.float32)


def _unit(pictures: np.ndarray) -> np.ndarray:
    """Zero mean and unit length; a picture without any detail becomes zeros, which match nothing."""
    centred = pictures - pictures.mean(axis=(-2, -1), keepdims=True)
    length = np.sqrt((centred**2).sum(axis=(-2, -1), keepdims=True))
    return np.asarray(np.where(length > THUMBNAIL_SIDE, centred / np.maximum(length, 1e-6), 0.0), np.float32)


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(array), CHUNK):
        yield array[start : start + CHUNK]
