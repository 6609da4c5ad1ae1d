"""Files that name the classes, such as label_num_to_disease_map.json, or a CSV with a row for each class."""

import itertools
import json
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from carclf.convert.table import Table
from carclf.convert.tree import Tree
from carclf.errors import UserError

MAX_BYTES = 2**20  # of a map
CODE, LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")
NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")
_PLAIN = {"true": "1", "false": "0"}
_WHOLE = re.compile(r"0*(\d+)(\.0*)?$")


def names_classes(table: Table, folders: Collection[str]) -> bool:
    """Returns whether a CSV has one row for each class, not for each photo.

    One of its columns then holds all class folders, and neither that one nor another repeats itself.

    Args:
      table: the CSV.
      folders: the names of the class folders.
    """
    if len(folders) < 2:
        return False
    every = [set(table.values(column)) for column in range(len(table.header))]
    single = [cells for cells in every if len(cells) == len(table.rows)]
    return len(single) >= min(2, len(every)) and any(cells >= {*folders} for cells in single)


def class_map(tree: Tree, categories: Collection[str], tables: Sequence[Table] = ()) -> tuple[dict[str, str], str]:
    """Returns (category → name, the file), from a JSON object at the root that maps each label to a name of its own.

    An object from name to label is turned round. Names that are all numbers are none, but labels or counts beside the
    classes, as in Keras's class_indices.json. A CSV with a row for each class names classes that are numbers or codes.
    Both are empty if there is no map.

    Args:
      tree: the files of the input.
      categories: the labels of the training photos.
      tables: CSVs that name no photos.
    """
    for pairs, path in _maps(tree):
        names = {category: pairs[category] for category in categories if category in pairs}
        if len(names) == len(categories) and _are_names(names.values()):
            return ({}, "") if all(label == name for label, name in names.items()) else (names, path)
    if all(CODE.search(category) for category in categories):
        for table in tables:
            if names := _names_in(table, categories):
                return names, table.shown
    return {}, ""


def written_labels(
    tree: Tree, categories: Collection[str], answers: Collection[str], tables: Sequence[Table] = ()
) -> tuple[dict[str, str], str]:
    """Returns (category → the label that stands for it in a sample submission, whose answers are numbers, the source).

    The source is a JSON object at the root, a CSV with a row for each class, or the categories themselves, where these
    are numbers written differently, such as 0.0 or False for 0. Both are empty if none of them has all answers.

    Args:
      tree: the files of the input.
      categories: the labels of the training photos.
      answers: the labels in the sample submission.
      tables: CSVs that name no photos.
    """
    of_tables = (
        (dict(zip(names, labels, strict=True)), table.shown)
        for table in tables
        for names, labels in itertools.permutations(_columns(table), 2)
    )
    plain = {category: _PLAIN.get(category.casefold(), _WHOLE.sub(r"\1", category)) for category in categories}
    for pairs, source in itertools.chain([(plain, "the categories")], _maps(tree), of_tables):
        labels = {category: pairs[category] for category in categories if category in pairs}
        if len(labels) == len(categories) == len(set(labels.values())) and set(answers) <= set(labels.values()):
            return (labels, source) if all(map(NUMBER.fullmatch, labels.values())) else ({}, "")
    return {}, ""


def _maps(tree: Tree) -> Iterator[tuple[dict[str, str], str]]:
    """Yields (the entries of a flat JSON object at the root, its path), and then the same turned round."""
    for entry in tree.entries:
        if "/" in entry.path or not entry.path.lower().endswith(".json") or entry.size > MAX_BYTES:
            continue
        try:
            pairs = _pairs(json.loads(tree.read(entry)))
        except (UserError, ValueError, RecursionError):
            continue
        yield pairs, entry.path
        if len(set(pairs.values())) == len(pairs):  # else they may be photos and their labels
            yield {name: label for label, name in pairs.items()}, entry.path


def _names_in(table: Table, categories: Collection[str]) -> dict[str, str]:
    """Returns category → name from the first two columns that have both for each class; else none."""
    columns = _columns(table)
    for labels in columns:
        if len(labels) > len(categories) or {*categories} != set(labels):
            continue
        for texts in columns:
            names = {label: name for label, name in zip(labels, texts, strict=True) if label in categories}
            if texts is not labels and all(map(LETTER.search, names.values())) and _are_names(names.values()):
                return names
    return {}


def _columns(table: Table) -> list[list[str]]:
    return [[cell.strip() for cell in table.cells(column)] for column in range(len(table.header))]


def _are_names(texts: Collection[str]) -> bool:
    return len(set(texts)) == len(texts) and not all(map(NUMBER.fullmatch, texts))


def _pairs(content: Any) -> dict[str, str]:
    """Returns the entries of a flat JSON object as texts; none if it is something else."""
    if not isinstance(content, dict) or not all(map(_is_text, content.values())):
        return {}
    return {key.strip(): str(value).strip() for key, value in content.items() if str(value).strip()}


def _is_text(value: object) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)
