"""Photos of the same picture: which ones stay together in one fold, and which ones a person should look at."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from carclf import storage
from carclf.convert import near_duplicates
from carclf.convert.photos import Photo
from carclf.convert.same_picture import SAME_PICTURE, Picture, likeness, read_picture
from carclf.convert.scan import Context, PhotoCheck
from carclf.progress import Progress
from carclf.workers import Pool

LARGEST_GROUP = 20  # a larger group would unbalance the folds: it is reported, not kept together

LEAST_SHARED = 2048  # with fewer photos, sharing the search takes longer than the search itself
PAIRS_PER_TASK = 64
# A pair takes about 5 ms of a core, and a photo of it 9 ms, so the most similar pairs come first and their number is
# limited.
LEAST_COMPARED = 1000  # pairs, in any data set
PHOTOS_PER_COMPARISON = 10
ROUNDS = 2  # in each, a group's first photo is compared with the others; those of other pictures go to the next

Pair = tuple[int, int]
Compare = Callable[[Sequence[Pair]], Iterable[bool]]
"""For each pair of photos' indices: whether both are the same picture."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Photos that belong together.

    Attributes:
      kind: 'exact' (the same bytes), 'near' (the same picture) or 'scene' (different pictures of one scene).
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
    compare = functools.partial(_compare, workers, photos) if workers else lambda pairs: [True] * len(pairs)
    return [*exact, *_near_groups(checks, exact, workers, compare)]


def _compare(workers: Pool, photos: Sequence[Photo], pairs: Sequence[Pair]) -> list[bool]:
    files = [(photo.entry.source, photo.entry.name) for photo in photos]
    entries = [(files[one], files[other]) for one, other in pairs]
    tasks = (entries[start : start + PAIRS_PER_TASK] for start in range(0, len(entries), PAIRS_PER_TASK))
    with Progress("Comparing similar photos", total=len(pairs), unit="pairs") as progress:
        found: list[bool] = []
        for part in workers.map(_compare_task, tasks):
            found += part
            progress.add(len(part))
    return found


def _compare_task(context: Context, task: list[tuple[tuple[int, str], tuple[int, str]]]) -> list[bool]:
    @functools.cache
    def picture(source: int, name: str) -> Picture:
        return read_picture(context.reader.read(source, name), max_side=context.max_side)

    return [likeness(picture(*one), picture(*other)) >= SAME_PICTURE for one, other in task]


def _near_groups(
    checks: Sequence[PhotoCheck], exact: Sequence[Group], workers: Pool | None, compare: Compare
) -> list[Group]:
    copies = {group.members[0]: group.members for group in exact}
    hidden = {member for group in exact for member in group.members[1:]}
    shown = [index for index in range(len(checks)) if index not in hidden]
    thumbnails = np.frombuffer(b"".join(checks[index].thumbnail for index in shown), np.uint8).reshape(len(shown), -1)
    with Progress("Searching near-duplicates"):
        pairs, correlations = _similar_pairs(thumbnails, workers)
        alike = [[shown[index] for index in group] for group in _complete_linkage(pairs, correlations)]
    pictures = _same_pictures(alike, compare, most=max(LEAST_COMPARED, len(checks) // PHOTOS_PER_COMPARISON))
    scenes = [group for group in alike if not any(set(group) <= set(picture) for picture in pictures)]
    return [
        Group(kind, tuple(sorted(i for index in members for i in copies.get(index, (index,)))))
        for kind, groups in (("near", pictures), ("scene", scenes))
        for members in sorted(groups)
    ]


def _same_pictures(alike: Sequence[Sequence[int]], compare: Compare, *, most: int) -> list[list[int]]:
    """Returns the groups of at least two photos of the same picture, within groups of photos that look alike.

    Args:
      alike: photos' indices, ascending, the groups with the most similar photos first.
      compare: decides about pairs.
      most: pairs to compare in each of ROUNDS; groups beyond that are not compared.
    """
    pictures: list[list[int]] = []
    counts = itertools.accumulate(len(group) - 1 for group in alike)
    alike = [group for group, count in zip(alike, counts, strict=True) if count <= most]
    for _ in range(ROUNDS):
        pairs = [(group[0], other) for group in alike for other in group[1:]]
        same = {pair for pair, holds in zip(pairs, compare(pairs), strict=True) if holds}
        found = [[group[0], *(other for other in group[1:] if (group[0], other) in same)] for group in alike]
        pictures += [picture for picture in found if len(picture) > 1]
        rest = [[i for i in group if i not in picture[1:]][1:] for group, picture in zip(alike, found, strict=True)]
        alike = [group for group in rest if len(group) > 1]
    return pictures


def _similar_pairs(thumbnails: np.ndarray, workers: Pool | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns `near_duplicates.similar_pairs`, computed in parts by workers that read the thumbnails from a file."""
    if workers is None or workers.count < 2 or len(thumbnails) < LEAST_SHARED:
        return near_duplicates.similar_pairs(thumbnails)
    with workers.shared_folder() as folder:
        path = storage.join(folder, "thumbnails.npy")
        with storage.writing(path) as file:
            np.save(file, thumbnails)
        tasks = ((path, start) for start in near_duplicates.search_starts(len(thumbnails)))
        return near_duplicates.merge_pairs(workers.map(_search, tasks), photos=len(thumbnails))


def _search(state: object, task: tuple[str, int]) -> near_duplicates.Found:
    path, start = task
    return near_duplicates.search(_index(path), start)


@functools.lru_cache(maxsize=1)
def _index(path: str) -> near_duplicates.Index:
    with storage.open_binary(path) as file:
        return near_duplicates.build_index(np.load(file))


def _complete_linkage(pairs: np.ndarray, correlations: np.ndarray) -> list[list[int]]:
    """Returns groups of at least two, in which every two photos are near-duplicates, the most similar groups first.

    Pairs are added in order of similarity; two groups merge if all pairs between them are near-duplicates, so that
    similarity does not chain.
    """
    duplicates_of: dict[int, set[int]] = collections.defaultdict(set)
    for one, other in pairs.tolist():
        duplicates_of[one].add(other)
        duplicates_of[other].add(one)
    group_of = {photo: {photo} for photo in duplicates_of}
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -correlations.round(6)))
    for one, other in pairs[order].tolist():
        first, second = group_of[one], group_of[other]
        if first is not second and all(second <= duplicates_of[photo] for photo in first):
            first |= second
            for photo in second:
                group_of[photo] = first
    ordered = {min(group): sorted(group) for one, _ in pairs[order].tolist() if len(group := group_of[one]) > 1}
    return list(ordered.values())


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
    if group.kind == "scene":
        return ""
    splits = {photos[i].split for i in group.members}
    labels = {photos[i].category for i in group.members if photos[i].split != "test"}
    found = {
        "train/test leak": "test" in splits and len(splits) > 1,
        "external and training": {"train", "extra"} <= splits,
        "different labels": len(labels) > 1,
        "too large to keep together": len(group.members) > LARGEST_GROUP,
    }
    return "; ".join(text for text, holds in found.items() if holds)


def _fold(fold: int | None) -> object:
    return "" if fold is None else fold
