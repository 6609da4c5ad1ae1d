"""Lists of photos, and which of several counts: for the labels, for the test photos, as the sample submission."""

import dataclasses
import re
from collections.abc import Sequence

from carclf.convert.columns import NamedPhoto
from carclf.convert.id_lookup import Lookup
from carclf.convert.labels import LABEL_COLUMNS, LabelFile
from carclf.convert.photos import Findings
from carclf.convert.roles import TEST, VALIDATION, Roles, role_of, role_of_file
from carclf.convert.sources import Entry
from carclf.convert.table import Table
from carclf.errors import UserError
from carclf.forms.evidence import is_fraction
from carclf.wording import counted, first_of

SPLIT_COLUMNS = ("split", "set", "subset", "partition", "data_split", "usage")
LABEL_FILE = re.compile(r"^(train|training|labels|train[-_ ]?labels)\.(csv|jsonl?)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Listed:
    """A CSV whose cells name photos.

    Attributes:
      entry: the file.
      table: its content.
      labels: its Ids, and their labels if it has any.
      role: of its photos: TEST, VALIDATION, TRAIN or "".
    """

    entry: Entry
    table: Table
    labels: LabelFile
    role: str

    @property
    def has_labels(self) -> bool:
        """Whether the labels of training photos may be read from it."""
        return bool(self.labels.label_column) and self.role != TEST


def split_note(table: Table, *, ids: int, label: int, names: NamedPhoto, roles: Roles) -> str:
    """Returns that a column such as split is not read, if it says that photos are not to be trained on; else "".

    Args:
      table: a CSV of labels.
      ids: the column of its Ids.
      label: the column of its labels.
      names: finds the photo of a cell.
      roles: of the photos; those that lie in a folder of test photos are not trained on anyway.
    """
    for place, name in enumerate(table.header):
        if place in (ids, label) or name.casefold() not in SPLIT_COLUMNS:
            continue
        held = {value: role_of(value) in (TEST, VALIDATION) for value in table.values(place)}
        rows = [row for row in table.rows if held.get(row[place].strip()) and roles.role(names(row[ids])) != TEST]
        if rows and not all(held.values()):
            values = first_of(sorted({row[place].strip() for row in rows}))
            return (
                f"The column {name} of {table.shown} is not read: {counted(len(rows), 'row')} with {values} in it "
                f"{'is' if len(rows) == 1 else 'are'} trained on, too; remove such rows to leave their photos out."
            )
    return ""


def label_list(found: Sequence[Listed], findings: Findings, *, lookup: Lookup, roles: Roles) -> LabelFile | None:
    """Returns the labels of the lists; those of validation join those of training. None if no list has any.

    Args:
      found: the lists.
      findings: added to.
      lookup: finds all photos.
      roles: of the photos.

    Raises:
      UserError: several lists could count.
    """
    main = [one.labels for one in found if one.has_labels and one.role != VALIDATION]
    more = [one.labels for one in found if one.has_labels and one.role == VALIDATION]
    if not main:
        main, more = more, []
    if not main:
        return None
    joined = _of_folders(main)
    kept = _only(main, findings) if joined is None else joined
    return _joined(kept, [_of_validation(other, kept, lookup, roles) for other in more])


def _of_folders(lists: Sequence[LabelFile]) -> LabelFile | None:
    """Returns lists of the same columns as one if each lies in a folder of its own and names photos of its own."""
    first = lists[0]
    folders = {labels.shown.rpartition("/")[0] for labels in lists}
    alike = all((one.columns, one.label_column) == (first.columns, first.label_column) for one in lists)
    ids = [photo_id for labels in lists for photo_id in labels.labels]
    if len(lists) == 1 or len(folders) < len(lists) or not alike or len(set(ids)) < len(ids):
        return None
    return dataclasses.replace(
        first,
        shown=f"{first.shown} and {counted(len(lists) - 1, 'list')} like it",
        labels={photo_id: label for one in lists for photo_id, label in one.labels.items()},
        repeated=tuple(photo_id for one in lists for photo_id in one.repeated),
        groups={photo_id: group for one in lists for photo_id, group in one.groups.items()},
    )


def _of_validation(labels: LabelFile, train: LabelFile, lookup: Lookup, roles: Roles) -> LabelFile:
    """Returns a list of validation photos whose Ids that the training list has, too, are paths of other photos."""

    def rank(entry: Entry) -> int:
        return roles.role(entry.path) != VALIDATION

    paths: dict[str, str] = {}
    for photo_id in labels.labels:
        entry = lookup.get(photo_id, labels.shown, rank=rank) if photo_id in train.labels else None
        paths[photo_id] = entry.path if entry and not rank(entry) else photo_id
    return dataclasses.replace(
        labels,
        labels={paths[photo_id]: label for photo_id, label in labels.labels.items()},
        groups={paths[photo_id]: group for photo_id, group in labels.groups.items()},
    )


def _only(lists: Sequence[LabelFile], findings: Findings) -> LabelFile:
    """Returns the list that counts: the only one, the only one with a usual name, or the first of equal ones."""
    if len(lists) == 1:
        return lists[0]
    usual = [labels for labels in lists if LABEL_FILE.match(labels.shown)]
    if len(usual) != 1 and any(labels.labels != lists[0].labels for labels in lists):
        raise UserError(
            f"The input holds {first_of([labels.shown for labels in lists])} side by side, which give labels to "
            "photos: say which one counts with --labels=CSV."
        )
    kept = usual[0] if len(usual) == 1 else lists[0]
    left = first_of([labels.shown for labels in lists if labels is not kept])
    findings.notes.append(f"The labels are those of {kept.shown}; {left} was left out.")
    return kept


def _joined(main: LabelFile, more: Sequence[LabelFile]) -> LabelFile:
    for other in more:
        both = [i for i in other.labels if main.labels.get(i, other.labels[i]) != other.labels[i]]
        if both:
            raise UserError(f"{main.shown} and {other.shown} give {both[0]} different labels: correct one of them.")
        apart = [i for i in other.groups if main.groups.get(i, other.groups[i]) != other.groups[i]]
        if apart:
            raise UserError(
                f"{main.shown} and {other.shown} put {apart[0]} into different groups: correct one of them."
            )
        main = dataclasses.replace(
            main,
            shown=f"{main.shown} and {other.shown}",
            labels={**main.labels, **other.labels},
            groups={**main.groups, **other.groups},
        )
    return main


def test_list(found: Sequence[Listed], findings: Findings) -> LabelFile | None:
    """Returns the Ids of the first list of test photos, or None; labels in it are left out."""
    tests = next((one.labels for one in found if one.role == TEST), None)
    if tests and tests.label_column:
        findings.notes.append(f"The photos of {tests.shown} are test photos: their labels were left out.")
    return dataclasses.replace(tests, labels=dict.fromkeys(tests.labels, ""), repeated=()) if tests else None


def answers_everywhere_alike(one: Listed, labels: LabelFile | None) -> bool:
    """Returns whether a list of test photos is a sample submission: its answers are named as labels, and all alike."""
    if one.role != TEST or labels is None:
        return False
    places = [place for place, name in enumerate(one.table.header) if name != one.labels.id_column]
    answers = [one.table.header[place] for place in places]
    named_so = labels.label_column in answers or (len(answers) > 1 and set(labels.labels.values()) <= set(answers))
    return named_so and all(len(one.table.values(place)) <= 1 for place in places)


def check_no_answers(found: Sequence[Listed], labels: LabelFile | None, *, tests: int) -> None:
    """Checks that no list is a sample submission of another name, which only the user can tell.

    Args:
      found: the lists.
      labels: those of the training photos, or None.
      tests: the photos in folders of test photos.

    Raises:
      UserError: a list that is not called test names all test photos, and has a column of answers.
    """
    for one in found:
        called_test = any(role_of_file(part) == TEST for part in one.entry.path.split("/"))
        if one.role != TEST or called_test or len(one.labels.labels) != tests:
            continue
        if answers := [name for place, name in enumerate(one.table.header) if _may_answer(one, place, labels)]:
            raise UserError(
                f"{one.entry.path} names the test photos and may hold answers ({first_of(answers)}), and no CSV is "
                "called as sample submissions are: give it as --sample=CSV if it is one, else remove it."
            )


def _may_answer(one: Listed, column: int, labels: LabelFile | None) -> bool:
    """Returns whether a column of a list of test photos is called as labels are, or holds labels or fractions."""
    name, cells = one.table.header[column], one.table.values(column)
    if name == one.labels.id_column:
        return False
    known = {*labels.labels.values()} if labels else set()
    as_labels = name.lower() in LABEL_COLUMNS or (labels is not None and name == labels.label_column)
    return as_labels or (bool(cells) and ({*cells} <= known or all(map(is_fraction, cells))))
