"""Groups of photos that belong in one fold, such as those of a patient: from a column, and hints at what may be one."""

import dataclasses
import re
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from carclf.advice import argument
from carclf.convert.by_list import rank_for
from carclf.convert.columns import Wanted, id_column
from carclf.convert.id_lookup import Lookup
from carclf.convert.labels import LabelFile, is_group, label_file
from carclf.convert.list_files import list_files, read_list
from carclf.convert.photos import Findings, Photo
from carclf.convert.roles import TEST, Roles, role_of_file
from carclf.convert.table import Table
from carclf.convert.tree import Tree
from carclf.errors import UserError
from carclf.wording import counted

_SIDE = re.compile(r"(.+)[-_ ](left|right|l|r|od|os|front|back)", re.IGNORECASE)
PAIRS = 0.5  # of the photos, from which on names such as 1_left and 1_right are told


def grouped(
    photos: Sequence[Photo],
    column: str,
    *,
    tree: Tree,
    labels: LabelFile | None,
    lookup: Lookup,
    roles: Roles,
    findings: Findings,
) -> list[Photo]:
    """Returns the training photos with their groups: those of the list of labels, else those of other CSVs.

    Args:
      photos: with the groups that the list of labels gives.
      column: the name of the column of groups.
      tree: the files of the input.
      labels: the list of labels, or None.
      lookup: finds all photos.
      roles: of the photos.
      findings: added to, if some photos have no group.

    Raises:
      UserError: no photo has a group, or two CSVs give one photo different groups.
    """
    if all(photo.group for photo in photos):
        return list(photos)
    groups: dict[str, str] = {}
    for entry in list_files(tree):
        if role_of_file(entry.path.rpartition("/")[2]) != TEST:
            for path, group in _groups_in(tree.read(entry), entry.path, column, lookup, roles).items():
                if groups.setdefault(path, group) != group:
                    raise UserError(
                        f"{entry.path} and another CSV put {path} into the groups {group!r} and {groups[path]!r} of "
                        f"the column {column!r}: correct one of them."
                    )
    result = [dataclasses.replace(p, group=p.group or groups.get(p.entry.path, "")) for p in photos]
    if not any(photo.group for photo in result):
        raise _no_group(column, labels)
    if without := [photo.entry.path for photo in result if not photo.group]:
        count = counted(len(without), "training photo is", "training photos are")
        findings.notes.append(f"{count} in no group of the column {column} (first: {without[0]}).")
    return result


def _groups_in(content: bytes, shown: str, column: str, lookup: Lookup, roles: Roles) -> dict[str, str]:
    """Returns path of a photo → its group, of a CSV that may lack the column or be none."""
    try:
        table = read_list(content, shown=shown).photos
    except UserError:  # it is no list
        return {}
    if table is None:
        return {}
    place = table.find(column)
    ids = None if place is None else id_column(table, lookup.named, Wanted())
    if ids is None or ids == place:
        return {}
    groups = label_file(table, ids=ids, label=None, group=place).groups
    matches, _ = lookup.match(groups, shown, rank=rank_for("train", roles))
    return {entry.path: groups[photo_id] for photo_id, entry in matches.items() if groups[photo_id]}


def _no_group(column: str, labels: LabelFile | None) -> UserError:
    if labels is None:
        return UserError(
            f"--group_column={column} is a column of no CSV that names the training photos: add one with a row for "
            "each photo, or leave the flag out."
        )
    return UserError(
        f"{labels.shown} has no column {column!r} for --group_column, nor has another CSV that names the photos: its "
        f"columns are {', '.join(labels.columns)}."
    )


def group_note(table: Table, taken: Collection[int], *, folds: int) -> str:
    """Returns that a column is called as one of groups and repeats itself, if there is one, else "".

    Args:
      table: a list of photos.
      taken: the columns of Ids and labels.
      folds: fewer groups cannot be dealt to them.
    """
    places = [place for place, name in enumerate(table.header) if place not in taken and is_group(name)]
    counts = {place: len(table.values(place)) for place in places}
    several = [place for place in places if folds <= counts[place] < sum(1 for c in table.cells(place) if c.strip())]
    if not several:
        return ""
    name = table.header[min(several, key=lambda place: counts[place])]
    return (
        f"Several photos of {table.shown} have the same {name}: {argument('group_column', name)} keeps them in one "
        "fold, so that none is held out while others are trained on."
    )


def pair_note(photos: Sequence[Photo]) -> str:
    """Returns that the names of training photos are pairs such as 10_left and 10_right, if most are, else ""."""
    found = [_SIDE.fullmatch(PurePosixPath(photo.entry.path).stem) for photo in photos]
    sides: dict[str, set[str]] = {}
    for match in filter(None, found):
        sides.setdefault(match[1], set()).add(match[2].lower())
    pairs = [name for name, both in sides.items() if len(both) == 2]
    if 2 * len(pairs) <= PAIRS * len(photos):
        return ""
    one, other = sorted(sides[pairs[0]])
    return (
        f"{counted(len(pairs), 'pair')} of photos have names such as {pairs[0]}_{one} and {pairs[0]}_{other}: a CSV "
        "with a column that is the same for both, and --group_column=NAME, keep them in one fold."
    )
