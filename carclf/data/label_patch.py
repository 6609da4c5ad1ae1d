"""Corrected labels of training photos: a CSV applied to a data set that itself never changes."""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

from carclf.data.manifest import LabelPatch, Manifest
from carclf.errors import UserError
from carclf.storage import copies
from carclf.text_file import csv_lines, encoding_of
from carclf.wording import first_of

COLUMNS = ("id", "class")


def read_label_patch(path: Path, manifest: Manifest) -> LabelPatch:
    """Returns the patch in a CSV with the columns `id` and `class` (a name or a category); other columns are ignored.

    Raises:
      UserError: it cannot be read, lacks a column, or has an unknown id, an unknown class, or an id twice.
    """
    try:
        content = path.read_bytes()
        header, lines = _lines(content.decode(encoding_of(content)))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"The label patch {path} cannot be read ({error}): give a CSV with id and class.") from None
    if missing := [name for name in COLUMNS if name not in header]:
        raise UserError(f"The label patch {path} has no column {missing[0]!r}: it needs {' and '.join(COLUMNS)}.")
    photos = manifest.read_ids("train")
    rows = {name: row for row, name in enumerate(photos["id"])}
    known = {entry.category: entry.label for entry in manifest.classes}
    known |= {entry.name: entry.label for entry in manifest.classes}
    labels: dict[int, int] = {}
    for line, row in lines:
        photo, name = (row[column] for column in COLUMNS)
        if photo not in rows:
            raise UserError(f"{path}, line {line}: the data set has no training photo {photo!r}: remove the line.")
        if name not in known:
            raise UserError(
                f"{path}, line {line}: there is no class {name!r}: write one of "
                f"{first_of(manifest.class_names, most=10)}."
            )
        if rows[photo] in labels:
            raise UserError(f"{path}, line {line}: the photo {photo!r} has an earlier line: keep one of the two.")
        labels[rows[photo]] = known[name]
    own = photos["label"].tolist()
    return LabelPatch({row: label for row, label in labels.items() if label != own[row]}, content)


def _lines(text: str) -> tuple[Sequence[str], list[tuple[int, dict[str, str]]]]:
    """Returns (the header, each row with its line).

    Raises:
      ValueError: there is no header, or a row is longer.
    """
    (_, header), *rows = csv_lines(text) or [(0, ())]
    if not header:
        raise ValueError("it is empty")
    if longer := [line for line, row in rows if len(row) > len(header)]:
        raise ValueError(f"line {longer[0]} has more cells than the header")
    return header, [(line, dict(itertools.zip_longest(header, row, fillvalue=""))) for line, row in rows]


def apply_label_patch(path: str, manifest: Manifest) -> Manifest:
    """Returns the data set with the labels of the patch at `path`, or unchanged if `path` is empty.

    Raises:
      UserError: see `read_label_patch`.
    """
    if not path:
        return manifest
    return dataclasses.replace(manifest, label_patch=read_label_patch(copies.local_path(path), manifest))
