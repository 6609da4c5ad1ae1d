"""Label files and classes: any CSV with an Id and a label column; labels are strings, mapped to numbers once."""

import dataclasses
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from carclf.convert.table import Table
from carclf.errors import UserError
from carclf.text_file import read_text
from carclf.wording import first_of

ID_COLUMNS = ("id", "image_id", "imageid", "image/filename", "filename", "file_name", "file", "image", "img", "path")
LABEL_COLUMNS = (
    "category",
    "label",
    "labels",
    "class",
    "image/class/label",
    "image/class/text",
    "class_name",
    "class_id",
    "target",
    "classname",
    "classid",
    "category_id",
    "species",
    "breed",
    "diagnosis",
    "dx",
)
_GROUP = re.compile(
    r"(patient|subject|person|participant|individual|lesion|case|study|series|exam|visit|observation|obs|sequence|seq|"
    r"burst|session|video|clip|slide|driver|site|location|camera|device|scanner|hospital|cent(er|re)|group)"
    r"(instance)?(id|uid|uuid|no|nr|num|number|name|key)?"
)
_STORAGE = re.compile(r"(batch|folder|directory|dir|part)(id|no|nr|num|number|name)?")
_NO_LETTERS = re.compile(r"[\W_]+")


def is_group(column: str) -> bool:
    """Returns whether a column is called as what several photos have in common usually is, such as patient_id."""
    return bool(_GROUP.fullmatch(_NO_LETTERS.sub("", column).casefold()))


def is_storage(column: str) -> bool:
    """Returns whether a column is called as where photos are stored usually is, such as folder."""
    return bool(_STORAGE.fullmatch(_NO_LETTERS.sub("", column).casefold()))


@dataclasses.dataclass(frozen=True)
class LabelFile:
    """A CSV of Ids, with or without labels.

    Attributes:
      shown: its name in messages.
      labels: Id → label, in the file's order; the label is "" if there is no such column.
      repeated: Ids that occur more than once, always with the same label.
      id_column: header of the column that the Ids were read from.
      columns: every header.
      label_column: header of the column that the labels were read from; "" if there is none.
      groups: Id → what is kept in one fold (--group_column).
      files: Id → the path of its photo, where the Ids themselves name none.
      sure: whether name or cells of the column of labels say what it is.
      rivals: other columns that are called as labels are, and divide the photos in another way.
    """

    shown: str
    labels: dict[str, str]
    repeated: tuple[str, ...]
    id_column: str = ""
    columns: tuple[str, ...] = ()
    label_column: str = ""
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sure: bool = True
    rivals: tuple[str, ...] = ()
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def file_of(self, photo_id: str) -> str:
        """Returns what names the photo of an Id."""
        return self.files.get(photo_id, photo_id)

    def advice(self) -> str:
        """Returns the end of an error about Ids: which column they were read from, and how to choose another."""
        return _id_advice(self.id_column, [name for name in self.columns if name != self.label_column])


def _id_advice(id_column: str, columns: Sequence[str]) -> str:
    others = [name for name in columns if name != id_column]
    if not others:
        return "correct the file"
    return f"correct the file, or read the Ids from another column than {id_column!r} with --id_column=NAME " + (
        f"({first_of(others)})"
    )


def label_file(table: Table, *, ids: int, label: int | None, group: int | None = None) -> LabelFile:
    """Returns the Ids and the labels of a table.

    Args:
      table: the CSV.
      ids: the column of the Ids.
      label: the column of the labels; None if there is none.
      group: the column of the groups; None if there is none.

    Raises:
      UserError: an Id is empty, has no label, or has two labels or groups.
    """
    others = [name for place, name in enumerate(table.header) if place != label]
    shown, advice = table.shown, _id_advice(table.header[ids], others)
    labels: dict[str, str] = {}
    repeated: dict[str, None] = {}
    for number, row in zip(table.lines, table.rows, strict=True):
        if not row[ids]:
            raise UserError(f"{shown} {table.unit} {number} has no Id in the column {table.header[ids]!r}: {advice}.")
        text = row[label].strip() if label is not None else ""
        if label is not None and not text:
            raise UserError(f"{shown} {table.unit} {number} has no label for {row[ids]}: correct the file.")
        if row[ids] in labels:
            if labels[row[ids]] != text:
                raise UserError(f"{shown} gives {row[ids]} the labels {labels[row[ids]]} and {text}: {advice}.")
            repeated[row[ids]] = None
        labels[row[ids]] = text
    groups = _groups(table, ids, group) if group is not None else {}
    names = [table.header[ids], table.header[label] if label is not None else ""]
    return LabelFile(shown, labels, tuple(repeated), names[0], table.header, label_column=names[1], groups=groups)


def _groups(table: Table, ids: int, group: int) -> dict[str, str]:
    """Returns Id → group; blanks around a group do not count."""
    groups: dict[str, str] = {}
    for row in table.rows:
        value = row[group].strip()
        if groups.setdefault(row[ids], value) != value:
            raise UserError(
                f"{table.shown} puts {row[ids]} into the groups {groups[row[ids]]!r} and {value!r} of the column "
                f"{table.header[group]!r}: correct the file, or give another --group_column."
            )
    return groups


def columns_by_name(
    table: Table, *, id_column: str, label_column: str, with_labels: bool = True
) -> tuple[int, int | None]:
    """Returns the columns of the Ids and of the labels; one that is given by name is no candidate for the other.

    Args:
      table: the CSV.
      id_column: header of the Ids; "" recognises one of ID_COLUMNS, or takes the first column that is not the label's.
      label_column: header of the labels; "" recognises one of LABEL_COLUMNS, or takes the other of two.
      with_labels: whether there must be a label column.

    Raises:
      UserError: there is no such column, or both are the same.
    """
    header, shown = list(table.header), table.shown
    if not with_labels:
        return column_named(header, id_column, ID_COLUMNS, shown, flag="id_column", otherwise=0), None
    named_label = None
    if label_column:
        named_label = column_named(header, label_column, (), shown, flag="label_column", otherwise=None)
    first = 0 if named_label != 0 or len(header) < 2 else 1
    ids = column_named(header, id_column, ID_COLUMNS, shown, flag="id_column", otherwise=first, taken=named_label)
    if named_label is None:
        other = 1 - ids if len(header) == 2 else None
        return ids, column_named(header, "", LABEL_COLUMNS, shown, flag="label_column", otherwise=other, taken=ids)
    if named_label == ids:
        raise both_columns(shown, header[ids])
    return ids, named_label


def both_columns(shown: str, column: str) -> UserError:
    """Returns the error about one column for Ids and labels."""
    return UserError(
        f"{shown}: Ids and labels would both be read from the column {column!r}: give two columns with "
        "--id_column=NAME and --label_column=NAME."
    )


def column_named(
    header: Sequence[str],
    wanted: str,
    known: Iterable[str],
    shown: str,
    *,
    flag: str,
    otherwise: int | None,
    taken: int | None = None,
) -> int:
    """Returns the column `wanted`, else the first of the names `known`, else `otherwise`.

    Raises:
      UserError: there is no such column, and no other choice.
    """
    if wanted:
        if wanted not in header:
            raise UserError(f"{shown} has no column {wanted!r}: its columns are {', '.join(header)}.")
        return list(header).index(wanted)
    lowered = [name.lower() for name in header]
    found = next((lowered.index(name) for name in known if name in lowered and lowered.index(name) != taken), otherwise)
    if found is None:
        raise UserError(f"{shown} has the columns {', '.join(header)}: say which one to read with --{flag}=NAME.")
    return found


def order_categories(categories: Iterable[str]) -> list[str]:
    """Returns the distinct categories in label order: numbers by value, 10 after 9; words by spelling."""
    different = set(categories)
    if all(text.isdecimal() for text in different):
        return sorted(different, key=_by_value)
    return sorted(different)


def _by_value(text: str) -> tuple[int, str, str]:
    """Returns a sort key: numbers by value, however many digits they have."""
    digits = "".join(str(unicodedata.decimal(digit)) for digit in text).lstrip("0")
    return len(digits), digits, text


def name_classes(categories: Iterable[str], classes: str) -> list[tuple[str, str]]:
    """Returns (category, name) of every class in label order.

    Args:
      categories: of all training photos.
      classes: the flag: names separated by commas, or a file with one name per line; "" takes the categories as names.

    Raises:
      UserError: the names do not fit the categories.
    """
    ordered = order_categories(categories)
    if not classes:
        return [(category, category) for category in ordered]
    names = class_names(classes)
    if set(ordered) <= set(names):  # the names are the categories: they set the order
        return [(name, name) for name in names]
    numbers = all(text.isdecimal() for text in ordered)
    if numbers and len(names) == len(ordered):
        return list(zip(ordered, names, strict=True))
    found = f"--classes names {len(names)} classes and there are {len(ordered)}"
    if numbers:
        raise UserError(f"{found}, {first_of(ordered)}: give as many names, in the order of these numbers.")
    outside = [category for category in ordered if category not in names]
    raise UserError(f"{found}; not among the names: {first_of(outside)}: give every class by its name.")


def class_names(classes: str) -> list[str]:
    """Returns the names that --classes gives: separated by commas, or one per line in a file.

    Raises:
      UserError: a name occurs twice, or there is none.
    """
    if os.path.isfile(classes):
        lines = read_text(Path(classes), what="file of --classes").split("\n")
        names = [line.strip() for line in lines if line.strip()]
    else:
        names = [name.strip() for name in classes.split(",") if name.strip()]
    if len(set(names)) != len(names) or not names:
        raise UserError(f"--classes={classes} names a class twice or none: give every name once.")
    return names
