"""Photos of the same picture: which ones stay together in one fold, and which ones a person should look at."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from carclf.convert import near_duplicates
from carclf.convert.photos import Photo
from carclf.convert.same_picture import SAME_PICTURE, grey_picture, likeness
from carclf.convert.scan import Context, PhotoCheck
from carclf.data import storage
from carclf.progress import Progress
from carclf.workers import Pool

LARGEST_GROUP = 20  # a larger group would unbalance the folds: it is reported, not kept together

LEAST_SHARED = 2048  # with fewer photos, sharing the search takes longer than the search itself
PAIRS_PER_TASK = 64

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
    with Progress("Comparing similar photos"):
        return [same for part in workers.map(_compare_task, tasks) for same in part]


def _compare_task(context: Context, task: list[tuple[tuple[int, str], tuple[int, str]]]) -> list[bool]:
    @functools.cache
    def picture(source: int, name: str) -> np.ndarray:
        return grey_picture(context.reader.read(source, name), max_side=context.max_side)

    return [likeness(picture(*one), picture(*other)) >= SAME_PICTURE for one, other in task]


def _near_groups(
    checks: Sequence[PhotoCheck], exact: Sequence[Group], workers: Pool | None, compare: Compare
) -> list[Group]:
    copies = {group.members[0]: group.members for group in exact}
    hidden = {member for group in exact for member in group.members[1:]}
    shown = [index for index in range(len(checks)) if index not in hidden]
    looks = np.frombuffer(b"".join(checks[index].look for index in shown), np.uint8).reshape(len(shown), -1)
    with Progress("Searching near-duplicates"):
        linked = _complete_linkage(*_similar_pairs(looks, workers))
    alike = [sorted(shown[index] for index in members) for members in linked]
    found = [
        Group(kind, tuple(sorted(i for member in members for i in copies.get(member, (member,)))))
        for kind, members in _same_pictures(alike, compare)
    ]
    return sorted(found, key=lambda group: (group.kind, group.members))


def _same_pictures(alike: Sequence[Sequence[int]], compare: Compare) -> Iterator[tuple[str, Sequence[int]]]:
    """Yields ('near', photos of the same picture) and ('scene', all photos of a group with different pictures)."""
    pairs = [pair for members in alike for pair in _pairs_to_compare(members)]
    same = iter(compare(pairs))
    for members in alike:
        picture = {member: {member} for member in members}
        for one, other in _pairs_to_compare(members):
            if next(same) and picture[one] is not picture[other]:
                picture[one] |= picture[other]
                picture |= dict.fromkeys(picture[other], picture[one])
        pictures = {min(together): together for together in picture.values()}
        yield from (("near", sorted(together)) for together in pictures.values() if len(together) > 1)
        if len(pictures) > 1:
            yield "scene", members


def _pairs_to_compare(members: Sequence[int]) -> Iterable[Pair]:
    """Returns all pairs of a group; of a group too large to stay together only those with its first photo."""
    return (
        itertools.combinations(members, 2) if len(members) <= LARGEST_GROUP else ((members[0], i) for i in members[1:])
    )


def _similar_pairs(looks: np.ndarray, workers: Pool | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns `near_duplicates.similar_pairs`, computed in parts by workers that read the looks from a file."""
    if workers is None or workers.count < 2 or len(looks) < LEAST_SHARED:
        return near_duplicates.similar_pairs(looks)
    with workers.shared_folder() as folder:
        path = storage.join(folder, "looks.npy")
        with storage.open_binary(path, "wb") as file:
            np.save(file, looks)
        tasks = ((path, start) for start in near_duplicates.search_starts(len(looks)))
        return near_duplicates.merge_pairs(workers.map(_search, tasks), photos=len(looks))


def _search(state: object, task: tuple[str, int]) -> near_duplicates.Found:
    path, start = task
    return near_duplicates.search(_index(path), start)


@functools.lru_cache(maxsize=1)
def _index(path: str) -> near_duplicates.Index:
    with storage.open_binary(path) as file:
        return near_duplicates.build_index(np.load(file))


def _complete_linkage(pairs: np.ndarray, correlations: np.ndarray) -> list[set[int]]:
    """Returns groups of at least two, in which every two photos are near-duplicates: similarity does not chain.

    Pairs are added in order of similarity; two groups merge if all pairs between them are near-duplicates.
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
    return [group for photo, group in sorted(group_of.items()) if photo == min(group) and len(group) > 1]


def fold_groups(groups: Sequence[Group], *, photos: int) -> list[int]:
    """Returns each photo's group number for the folds: its own, unless its group has at most LARGEST_GROUP photos."""
    numbers = list(range(photos))
    for group in groups:
        if len(group.members) <= LARGEST_GROUP:
            for member in group.members:
                numbers[member] = min(numbers[m] for m in group.members)
    return numbers


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
