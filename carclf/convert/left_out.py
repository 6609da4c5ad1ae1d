"""Says which photos of an input are left out, and why."""

from collections.abc import Collection, Sequence

from carclf.convert.lists import Lists
from carclf.convert.roles import ANNOTATION, TEST, Roles
from carclf.wording import counted, first_of


def left_out(
    paths: Sequence[str], roles: Roles, lists: Lists, *, splits: bool, unlabelled: Collection[str] = ()
) -> list[str]:
    """Returns a sentence for each reason why photos are left out.

    Args:
      paths: of the photos that are neither trained on nor predicted.
      roles: of all photos.
      lists: of the input.
      splits: whether a folder is known to hold the training photos.
      unlabelled: photos in files of records that give them no label.
    """
    apart = set() if lists.labels else set(unlabelled)  # a list would give the labels
    by_role: dict[str, list[str]] = {}
    without_label = []
    for path in paths:
        role = roles.role(path)
        if path in apart and role not in (TEST, ANNOTATION):
            without_label.append(path)
        else:
            by_role.setdefault(role, []).append(path)
    notes = []
    if without_label:
        count = counted(len(without_label), "photo has", "photos have")
        notes.append(f"{count} no label in the records, left out: {first_of(without_label)}.")
    if left := by_role.pop(ANNOTATION, []):
        are = counted(len(left), "photo is an annotation such as a mask", "photos are annotations such as masks")
        notes.append(f"{are}, left out: {first_of(left)}.")
    if (left := by_role.pop(TEST, [])) and lists.tests:
        notes.append(f"{_are(left)} not in {lists.tests.shown}, left out: {first_of(left)}.")
    if lists.labels and (left := [path for found in by_role.values() for path in found]):
        notes.append(f"{_are(left)} not in {lists.labels.shown}, left out: {first_of(left)}.")
    elif splits and (left := by_role.pop("", [])):
        folders = sorted({path.split("/")[0] for path in left if "/" in path})
        where = f", in {first_of(folders)}" if folders else ""
        notes.append(f"{counted(len(left), 'photo')} beside train/, left out{where}.")
    return notes


def _are(photos: Sequence[str]) -> str:
    return counted(len(photos), "photo is", "photos are")
