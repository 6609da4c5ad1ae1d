"""Photos of the same picture: which ones stay together in one fold, and which ones a person should look at."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from carclf import storage
from carclf.convert import near_duplicates, turned_copies
from carclf.convert.encoded_photos import Place
from carclf.convert.linkage import Compare, Pair, alike_groups, picture_groups, scenes_among
from carclf.convert.photos import Photo
from carclf.convert.same_picture import SAME_PICTURE, Picture, likeness, read_picture
from carclf.convert.scan import Context, PhotoCheck
from carclf.data import lists
from carclf.data.image_formats import UnusableError
from carclf.data.validation import KEPT
from carclf.progress import Progress
from carclf.workers import Pool

LARGEST_GROUP = 20  # a larger group would unbalance the folds: it is reported, not kept together

LEAST_SHARED = 2048  # with fewer photos, sharing the search takes longer than the search itself
PAIRS_PER_TASK = 64
PICTURES_KEPT = 4  # in memory by a worker, 0.7 MB each; hardly any is compared again later
# Reading and comparing them takes milliseconds of a core per pair, so the number of pairs is limited.
LEAST_COMPARED = 3000  # pairs, in any data set
PHOTOS_PER_COMPARISON = 4

Scored = tuple[np.ndarray, np.ndarray]
"""(pairs, scores): photos' indices, int64 [P, 2], rows ascending; float32 [P]."""


class File(NamedTuple):
    """A photo to compare: its source, its name in there, how it is stored, and where what is stored may be kept."""

    source: int
    name: str
    how: str
    place: Place | None
    stored_sha256: bytes


@dataclasses.dataclass(frozen=True)
class Group:
    """Photos that belong together.

    Attributes:
      kind: 'exact' (the same bytes), 'near' (the same picture) or 'scene' (different pictures of one scene, or one
        picture and it turned).
      members: indices into the photos, ascending.
    """

    kind: str
    members: tuple[int, ...]


def exact_groups(checks: Sequence[PhotoCheck]) -> list[Group]:
    """Returns groups of photos with equal bytes, before or after conversion."""
    by_digest: dict[bytes, list[int]] = collections.defaultdict(list)
    for index, check in enumerate(checks):
        by_digest[check.stored_sha256].append(index)
    return [Group("exact", tuple(members)) for members in by_digest.values() if len(members) > 1]


def find_groups(
    photos: Sequence[Photo], checks: Sequence[PhotoCheck], *, near: bool, workers: Pool | None = None
) -> list[Group]:
    """Returns exact groups, near ones, scenes, each kind by first photo; a group also holds copies of its photos.

    Args:
      photos: of all splits, so that a test photo among the training photos is found.
      checks: of each photo.
      near: whether to search for near-duplicates, too.
      workers: processes that share the search, and read photos to compare pairs; None takes all similar pairs for the
        same picture.
    """
    exact = exact_groups(checks)
    if not near or len(photos) < 2:
        return exact
    compare = functools.partial(_compare, workers, photos, checks) if workers else None
    return [*exact, *_near_groups(checks, exact, workers, compare)]


def _compare(workers: Pool, photos: Sequence[Photo], checks: Sequence[PhotoCheck], pairs: Sequence[Pair]) -> list[bool]:
    ordered = sorted(pairs)  # a task reads a photo once, so the pairs of one photo stand together
    files = {
        photo: File(
            photos[photo].entry.source,
            photos[photo].entry.name,
            checks[photo].how,
            checks[photo].place,
            checks[photo].stored_sha256,
        )
        for photo in {photo for pair in ordered for photo in pair}
    }
    entries = [(files[one], files[other]) for one, other in ordered]
    tasks = (entries[start : start + PAIRS_PER_TASK] for start in range(0, len(entries), PAIRS_PER_TASK))
    with Progress("Comparing similar photos", total=len(pairs), unit="pairs") as progress:
        found: list[bool] = []
        for part in workers.map(_compare_task, tasks):
            found += part
            progress.add(len(part))
    same = dict(zip(ordered, found, strict=True))
    return [same[pair] for pair in pairs]


def _compare_task(context: Context, task: list[tuple[File, File]]) -> list[bool]:
    @functools.lru_cache(maxsize=PICTURES_KEPT)
    def picture(file: File) -> Picture | None:
        try:
            if (kept := context.encoded.read(file.place, file.stored_sha256)) is not None:
                return read_picture(kept, max_side=context.max_side, how=KEPT)
            return read_picture(context.reader.read(file.source, file.name), max_side=context.max_side, how=file.how)
        except (OSError, ValueError, UnusableError):
            return None  # it has changed since its validation, which the next pass says by its name

    pairs = ((picture(one), picture(other)) for one, other in task)
    return [one is not None and other is not None and likeness(one, other) >= SAME_PICTURE for one, other in pairs]


def _near_groups(
    checks: Sequence[PhotoCheck], exact: Sequence[Group], workers: Pool | None, compare: Compare | None
) -> list[Group]:
    copies = {group.members[0]: group.members for group in exact}
    hidden = {member for group in exact for member in group.members[1:]}
    shown = [index for index in range(len(checks)) if index not in hidden]
    thumbnails = np.frombuffer(b"".join(checks[index].thumbnail for index in shown), np.uint8).reshape(len(shown), -1)
    shapes = np.array([checks[index].width / checks[index].height for index in shown], np.float32)
    with Progress("Searching near-duplicates"):
        similar, turned = similar_pairs(thumbnails, shapes, workers)
        pairs = [(shown[one], shown[other]) for one, other in _most_similar_first(*similar)]
        alike = alike_groups(pairs)
    most = max(LEAST_COMPARED, len(checks) // PHOTOS_PER_COMPARISON)
    pictures = picture_groups(pairs, compare, most=most) if compare else alike
    scenes = scenes_among(alike, pictures)
    together = {pair for group in [*pictures, *scenes] for pair in itertools.combinations(group, 2)}
    partners = [(shown[one], shown[other]) for one, other in turned_copies.most_similar(*turned)]
    scenes += [list(pair) for pair in partners if pair not in together]
    return [
        Group(kind, tuple(sorted(i for index in members for i in copies.get(index, (index,)))))
        for kind, groups in (("near", pictures), (lists.SCENE, scenes))
        for members in groups
    ]


def _most_similar_first(pairs: np.ndarray, correlations: np.ndarray) -> list[Pair]:
    """Returns the pairs by descending correlation, equal ones by their photos."""
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -correlations.round(6)))
    return [(one, other) for one, other in pairs[order].tolist()]


def similar_pairs(thumbnails: np.ndarray, shapes: np.ndarray, workers: Pool | None) -> tuple[Scored, Scored]:
    """Returns the pairs of `near_duplicates` and of `turned_copies`; workers read the thumbnails from a file.

    Args:
      thumbnails: uint8 [N, 256], from `near_duplicates.thumbnail_of`.
      shapes: width / height of the photos, float32 [N].
      workers: that share the search; None searches here.
    """
    starts = near_duplicates.search_starts(len(thumbnails))
    if workers is None or workers.count < 2 or len(thumbnails) < LEAST_SHARED:
        index = near_duplicates.build_index(thumbnails)
        return _merged([_search(index, shapes, start) for start in starts], photos=len(thumbnails))
    with workers.shared_folder() as folder:
        path = storage.join(folder, "thumbnails.npz")
        with storage.writing(path) as file:
            np.savez(file, thumbnails=thumbnails, shapes=shapes)
        tasks = ((path, start) for start in starts)
        return _merged(workers.map(_search_task, tasks), photos=len(thumbnails))


def _merged(parts: Iterable[tuple[near_duplicates.Found, ...]], *, photos: int) -> tuple[Scored, Scored]:
    similar, turned = zip(*parts, strict=True) if (parts := list(parts)) else ((), ())
    return near_duplicates.merge_pairs(similar, photos=photos), near_duplicates.merge_pairs(turned, photos=photos)


def _search(index: near_duplicates.ThumbnailIndex, shapes: np.ndarray, start: int) -> tuple[near_duplicates.Found, ...]:
    return near_duplicates.search_part(index, start), turned_copies.search_turned(index, shapes, start)


def _search_task(state: object, task: tuple[str, int]) -> tuple[near_duplicates.Found, ...]:
    path, start = task
    return _search(*_index(path), start)


@functools.lru_cache(maxsize=1)
def _index(path: str) -> tuple[near_duplicates.ThumbnailIndex, np.ndarray]:
    with storage.open_binary(path) as file, np.load(file) as arrays:
        return near_duplicates.build_index(arrays["thumbnails"]), arrays["shapes"]


def fold_groups(groups: Sequence[Group], *, photos: int) -> list[int]:
    """Returns each photo's group number for the folds: that of its group's first photo, or its own.

    Groups that share photos are joined, unless more than LARGEST_GROUP photos would then stay together; exact groups
    come first, then near ones, then scenes.
    """
    together = [[number] for number in range(photos)]
    for group in groups:
        if len(joined := sorted({i for member in group.members for i in together[member]})) <= LARGEST_GROUP:
            for member in joined:
                together[member] = joined
    return [members[0] for members in together]


def duplicate_rows(
    groups: Sequence[Group], photos: Sequence[Photo], folds: Sequence[int | None]
) -> list[tuple[object, ...]]:
    """Returns the rows of duplicates.csv (`carclf.data.lists.DUPLICATE_COLUMNS`)."""
    return [
        (number, group.kind, photos[i].split, photos[i].id, photos[i].category, _fold(folds[i]), note)
        for number, group in enumerate(groups)
        for note in [note_on(group, photos)]
        for i in group.members
    ]


def note_on(group: Group, photos: Sequence[Photo]) -> str:
    """Returns what a reader should know about a group ('train/test leak', 'different labels', …), or ""."""
    if group.kind == lists.SCENE:
        return ""
    splits = {photos[i].split for i in group.members}
    labels = {photos[i].category for i in group.members if photos[i].split != "test"}
    found = {
        "train/test leak": "test" in splits and len(splits) > 1,
        "different labels": len(labels) > 1,
        "too large to keep together": len(group.members) > LARGEST_GROUP,
    }
    return "; ".join(text for text, holds in found.items() if holds)


def _fold(fold: int | None) -> object:
    return "" if fold is None else fold
