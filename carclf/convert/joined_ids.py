"""Ids of a sample submission or of a list of labels that name no photos themselves, but rows of a CSV that does."""

import contextlib
import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from carclf.convert.columns import RIVAL_FRACTION
from carclf.convert.id_lookup import Lookup
from carclf.convert.labels import LabelFile
from carclf.convert.photos import Findings
from carclf.convert.roles import TEST, Roles
from carclf.convert.sources import Entry
from carclf.convert.table import Table
from carclf.errors import UserError
from carclf.wording import first_of


def joined(ids: LabelFile, tables: Iterable[Table], *, lookup: Lookup, roles: Roles, findings: Findings) -> LabelFile:
    """Returns the Ids of a sample with their photos from a CSV that has them in one column and photos in another.

    If Ids name photos themselves, or there is no such CSV, they are returned as they are.

    Args:
      ids: of the sample.
      tables: the other CSVs of the input.
      lookup: finds all photos.
      roles: of the photos; no training photo is meant.
      findings: added to.

    Raises:
      UserError: an Id stands for several photos.
    """
    if any((path := lookup.named(photo_id)) and roles.may_test(path) for photo_id in ids.labels):
        return ids
    photos = Lookup(entry for entry in lookup.entries if roles.may_test(entry.path))
    if any(map(photos.named, ids.labels)) or photos.match(ids.labels, ids.shown)[0]:
        return ids
    if other := _other_table(ids, tables, photos):
        files = _files(ids, other.table, (other.ids, other.names), other.photos)
        findings.notes.append(other.note(ids))
        return dataclasses.replace(ids, files=files)
    return ids


def joined_labels(
    labels: LabelFile, tables: Iterable[Table], *, lookup: Lookup, roles: Roles, findings: Findings
) -> LabelFile:
    """Returns labels by photo, from a CSV that has their Ids in one column and photos in another.

    Several photos of one Id have its label and, without other groups, stay in one fold. If Ids name photos themselves,
    or there is no such CSV, the labels are returned as they are.

    Args:
      labels: of the training photos.
      tables: the other CSVs of the input.
      lookup: finds all photos.
      roles: of the photos; no test photo is meant.
      findings: added to.
    """
    if any(map(lookup.named, labels.labels)):
        return labels
    photos = Lookup(entry for entry in lookup.entries if roles.role(entry.path) != TEST)
    if photos.match(labels.labels, labels.shown)[0] or not (other := _other_table(labels, tables, photos)):
        return labels
    id_of = {row[other.names]: row[other.ids] for row in other.table.rows if row[other.ids] in labels.labels}
    several = len(id_of) > len(set(id_of.values()))
    groups = labels.groups or ({photo_id: photo_id for photo_id in labels.labels} if several else {})
    findings.notes.append(other.note(labels))
    return dataclasses.replace(
        labels,
        labels={name: labels.labels[photo_id] for name, photo_id in id_of.items()},
        groups={name: groups[photo_id] for name, photo_id in id_of.items() if photo_id in groups},
        id_column=other.table.header[other.names],
    )


class _Other(NamedTuple):
    """A CSV with Ids of another one in one column, and the names of photos in another column.

    Attributes:
      table: the CSV.
      ids: the column of the Ids.
      names: the column of the names.
      photos: name → photo.
    """

    table: Table
    ids: int
    names: int
    photos: dict[str, Entry]

    def note(self, labels: LabelFile) -> str:
        """Returns what is said of it."""
        return (
            f"The Ids of {labels.shown} are in the column {self.table.header[self.ids]!r} of {self.table.shown}, and "
            f"their photos in its column {self.table.header[self.names]!r}."
        )


def _other_table(ids: LabelFile, tables: Iterable[Table], photos: Lookup) -> _Other | None:
    """Returns the first CSV that has all Ids in a column and names photos in another one."""
    wanted = set(ids.labels)
    for table in tables:
        if table.shown == ids.shown:
            continue
        column = next((c for c in range(len(table.header)) if wanted <= set(table.cells(c))), None)
        if column is not None:
            place, found = _photos_in(table, photos)
            if found:
                return _Other(table, column, place, found)
    return None


def _photos_in(table: Table, photos: Lookup) -> tuple[int, dict[str, Entry]]:
    """Returns the column that names most photos, and cell → photo; nothing if no column names one for half its rows."""
    best: tuple[int, dict[str, Entry]] = (0, {})
    for column in range(len(table.header)):
        with contextlib.suppress(UserError):  # a cell that names several photos is the name of none
            found, _ = photos.match(dict.fromkeys(table.cells(column)), table.shown)
            if len(found) > len(best[1]) and len(found) >= RIVAL_FRACTION * len(table.rows):
                best = column, found
    return best


def _files(ids: LabelFile, table: Table, columns: tuple[int, int], found: dict[str, Entry]) -> dict[str, str]:
    """Returns Id → path of its photo."""
    several: dict[str, list[str]] = {photo_id: [] for photo_id in ids.labels}
    for row in table.rows:
        photo_id, cell = (row[column] for column in columns)
        if photo_id in several and cell in found:
            several[photo_id].append(found[cell].path)
    for photo_id, paths in several.items():
        if len(paths) > 1:
            raise UserError(
                f"The Id {photo_id} of {ids.shown} stands for several photos in {table.shown} ({first_of(paths)}), and "
                f"each photo gets an answer of its own: give a sample whose Ids are those of the column "
                f"{table.header[columns[1]]!r} with --sample=CSV, and join the answers yourself."
            )
    return {photo_id: paths[0] for photo_id, paths in several.items() if paths}
