"""The rule of lists: a CSV gives the label of each photo, wherever the photos lie."""

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from carclf.convert.by_folder import folder_pattern
from carclf.convert.id_lookup import ONLY_EXACTLY, Lookup, Rank
from carclf.convert.labels import LabelFile
from carclf.convert.photos import Findings, Photo, Rejection, composed
from carclf.convert.roles import ANNOTATION, TEST, TRAIN, VALIDATION, Roles
from carclf.convert.sources import Entry
from carclf.errors import UserError
from carclf.wording import counted, first_of

RANKS = {  # split → role of a photo → which of several photos of one Id is meant
    "train": {TRAIN: 0, VALIDATION: 1, "": 2, ANNOTATION: ONLY_EXACTLY, TEST: ONLY_EXACTLY + 1},
    "test": {TEST: 0, "": 1, ANNOTATION: ONLY_EXACTLY, VALIDATION: ONLY_EXACTLY + 1, TRAIN: ONLY_EXACTLY + 2},
}
NUMBERS = re.compile(r"([ ,;]+[-\d.]+)+")


def rank_for(split: str, roles: Roles) -> Rank:
    """Returns what settles ties between several photos of one Id: the folders above them."""
    ranks = RANKS[split]
    return lambda entry: ranks[roles.role(entry.path)]


def by_label(
    lookup: Lookup,
    labels: LabelFile,
    *,
    split: str,
    rank: Rank,
    findings: Findings,
    taken: Collection[str] = (),
    barred: Collection[str] = (),
) -> list[Photo]:
    """Returns the photos that `labels` names, under its Ids; rejects Ids without a photo.

    Args:
      lookup: finds all photos.
      labels: Ids, and categories if the file has them.
      split: of the photos.
      rank: settles ties.
      findings: added to.
      taken: paths of photos that another file names exactly: no Id means them loosely.
      barred: paths of photos that these Ids must not mean.

    Raises:
      UserError: an Id matches several photos, or a photo several Ids.
    """
    matches, note = lookup.match(
        [*map(labels.file_of, labels.labels)], labels.shown, rank=rank, taken=[*taken, *barred]
    )
    findings.notes += [note] if note else []
    photos: dict[str, Photo] = {}
    for photo_id, category in labels.labels.items():
        entry = matches.get(labels.file_of(photo_id))
        if entry is None or entry.path in barred:
            why = "there is no such photo" if entry is None else f"{entry.path} is a training photo"
            reason = f"named in {labels.shown}, but {why}"
            findings.rejected.append(Rejection(photo_id, split, category, reason, "", "unusable"))
        elif entry.path in photos:
            raise UserError(
                f"{labels.shown} names {entry.path} as {photos[entry.path].id} and as {photo_id}: {labels.advice()}."
            )
        else:
            photos[entry.path] = Photo(photo_id, split, composed(category), entry, labels.groups.get(photo_id, ""))
    if labels.repeated:
        count = counted(len(labels.repeated), "Id")
        findings.notes.append(f"{labels.shown} names {count} repeatedly: {first_of(labels.repeated)}.")
    return list(photos.values())


def no_tests(tests: LabelFile, entries: Sequence[Entry]) -> UserError:
    """Returns the error about a sample that names none of the photos that may be test photos."""
    return UserError(
        f"None of the {len(tests.labels):,} Ids in the column {tests.id_column!r} of {tests.shown} names a photo "
        f"(first: {next(iter(tests.labels))}; a photo is {entries[0].path}): add a CSV to the input that has these Ids "
        "in one column and the names of the photos in another, or give a sample that names the photos with "
        "--sample=CSV."
    )


def none_named(labels: LabelFile, entries: Sequence[Entry], *, folder: str = "") -> UserError:
    """Returns the error about a list that names none of the photos.

    Args:
      labels: the list.
      entries: the photos.
      folder: the class folder of the first one; "" if it lies in none.
    """
    example, present = next(iter(labels.labels)), entries[0].path
    instead = f"; or {_by_folder(present, folder)}" if folder else ""
    return UserError(
        f"No photo has one of the {len(labels.labels):,} Ids in the column {labels.id_column!r} of {labels.shown} "
        f"(such as {example}; a photo is {present}): {labels.advice()}{instead}."
    )


def with_folders(
    listed: list[Photo],
    classes: Mapping[str, str],
    others: Sequence[Photo],
    *,
    labels: LabelFile,
    by_flag: bool,
    findings: Findings,
) -> list[Photo]:
    """Returns the listed photos, and those of class folders that the list does not name if both agree.

    Args:
      listed: the photos that the list names.
      classes: path → class folder, of the photos that lie in one.
      others: the photos of class folders that the list does not name.
      labels: the list.
      by_flag: whether --label_column names its labels.
      findings: added to.

    Raises:
      UserError: the list names no photo, or some photos lie in another class's folder than it says.
    """
    if not listed:
        raise none_named(labels, [photo.entry for photo in others], folder=others[0].category if others else "")
    inside = [photo for photo in listed if photo.entry.path in classes]
    wrong = [photo for photo in inside if classes[photo.entry.path] != photo.category]
    if not inside:
        return listed
    if len(inside) == len(listed) and all(_begins_with(photo.category, classes[photo.entry.path]) for photo in listed):
        findings.notes.append(
            f"The labels of {labels.shown} begin with the folder above the photo (such as {listed[0].category}): the "
            "folders are the classes."
        )
        return [*(dataclasses.replace(photo, category=classes[photo.entry.path]) for photo in listed), *others]
    if _all_folders_contradict(inside, classes):
        few = len(inside) < len(others) and not {photo.category for photo in inside}.isdisjoint(classes.values())
        if not labels.sure or (few and not by_flag):
            path = wrong[0].entry.path
            raise UserError(
                f"{labels.shown} and the folders above the photos give different labels (such as "
                f"{path}: {wrong[0].category}): give --label_column={labels.label_column} to go by the "
                f"list, or {_by_folder(path, classes[path])}."
            )
        findings.notes.append(
            f"The labels are those of {labels.shown}: the folders above the photos are not its classes (such as "
            f"{wrong[0].entry.path}, which is {wrong[0].category})."
        )
        return listed
    if wrong:
        paths = first_of([f"{photo.entry.path} ({labels.shown}: {photo.category})" for photo in wrong])
        count = counted(len(wrong), "photo lies", "photos lie")
        raise UserError(
            f"{count} in another class's folder than {labels.shown} says: {paths}; correct the one or the other, or "
            "give the list as --labels=CSV to go by it alone."
        )
    if others:
        names = first_of([photo.entry.path for photo in others])
        count = counted(len(others), "photo is", "photos are")
        findings.notes.append(f"{count} not in {labels.shown}, labelled by folder: {names}.")
    return [*listed, *others]


def _by_folder(path: str, folder: str) -> str:
    return f"give {folder_pattern(path, folder)} to go by the folders"


def _begins_with(label: str, folder: str) -> bool:
    """Returns whether a label is the folder's name and numbers, as of boxes."""
    return NUMBERS.fullmatch(label.removeprefix(folder)) is not None and label.startswith(folder)


def _all_folders_contradict(photos: Sequence[Photo], classes: Mapping[str, str]) -> bool:
    """Returns whether in each class folder most of the listed photos have another label."""
    votes: dict[str, Counter[bool]] = defaultdict(Counter)
    for photo in photos:
        votes[classes[photo.entry.path]][classes[photo.entry.path] == photo.category] += 1
    return all(vote[False] > vote[True] for vote in votes.values())


def as_tests(photos: Sequence[Photo]) -> list[Photo]:
    """Returns the photos as test photos: their labels are left out."""
    return [dataclasses.replace(photo, split="test", category="", group="") for photo in photos]
