"""The lists of an input: which one holds the labels, which one is the sample submission, which one the test Ids.

A list is recognised by its content, a column whose cells name photos, not by its name.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Collection, Iterator, Sequence

from carclf.convert.class_maps import names_classes
from carclf.convert.columns import (
    SET_OF,
    Labelled,
    Wanted,
    columns_of_list,
    id_column,
    loose_id_column,
    with_labels,
)
from carclf.convert.file_kinds import is_csv
from carclf.convert.groups import group_note
from carclf.convert.headers import check_header, lacks_header
from carclf.convert.id_lookup import Lookup
from carclf.convert.joined_ids import joined, joined_labels
from carclf.convert.json_lists import Found
from carclf.convert.labels import ID_COLUMNS, LABEL_COLUMNS, LabelFile, columns_by_name, label_file
from carclf.convert.list_files import list_files, read_list
from carclf.convert.listed import (
    LABEL_FILE,
    Listed,
    answers_everywhere_alike,
    check_no_answers,
    label_list,
    split_note,
    test_list,
)
from carclf.convert.options import ConvertOptions
from carclf.convert.photos import Findings, composed
from carclf.convert.roles import ANNOTATION, TEST, Roles, role_of_file
from carclf.convert.sample_csv import file_bytes, find_sample, ids_of, is_called_sample
from carclf.convert.sources import Entry
from carclf.convert.table import Table
from carclf.convert.tree import Tree
from carclf.convert.unlabelled import Unlabelled
from carclf.errors import UserError
from carclf.forms import Sample, read_sample
from carclf.wording import first_of

MOST_IN_FOLDERS = 50  # lists in folders are looked at if there are not more


@dataclasses.dataclass(frozen=True)
class Lists:
    """What the CSV files of an input say.

    Attributes:
      labels: the Ids and labels of the training photos; None if no CSV has them.
      sample: the sample submission, or None.
      content: the bytes of the sample submission, or None.
      tests: the Ids of the test photos: the sample's, else those of a list of test photos; None if there is none.
      unlabelled: the CSVs that name photos but are not known to hold labels; the one of most photos comes first.
      class_tables: CSVs that name no photos, but perhaps the classes.
      headless: CSVs that name photos in their first line already.
    """

    labels: LabelFile | None = None
    sample: Sample | None = None
    content: bytes | None = None
    tests: LabelFile | None = None
    unlabelled: Sequence[Unlabelled] = ()
    class_tables: Sequence[Table] = ()
    headless: Sequence[str] = ()


def find_lists(tree: Tree, options: ConvertOptions, *, lookup: Lookup, roles: Roles, findings: Findings) -> Lists:
    """Returns the lists of an input.

    Args:
      tree: the files of the input.
      options: of the converter.
      lookup: finds all photos.
      roles: of the photos.
      findings: added to.

    Raises:
      UserError: a list that counts cannot be read, or several lists or columns could count.
    """
    sample, content = find_sample(tree, options, lookup, roles, findings)
    wanted = Wanted(options.id_column, options.label_column, sample, options.group_column)
    finder = _Finder(tree, options, wanted, lookup, roles, findings)
    tests = None
    if sample:
        tests = joined(ids_of(sample), finder.tables(), lookup=lookup, roles=roles, findings=findings)
    if options.label_pattern or options.labels:
        given = finder.given() if options.labels else None
        if given:
            _check_only_column(given)
            given = joined_labels(given, finder.tables(), lookup=lookup, roles=roles, findings=findings)
        return Lists(given, sample, content, tests, class_tables=finder.class_tables)
    found = finder.all_lists()
    labels = label_list(found, findings, lookup=lookup, roles=roles)
    if labels:
        _check_only_column(labels)
        labels = joined_labels(labels, finder.tables(), lookup=lookup, roles=roles, findings=findings)
    _check_flags_used(options, labels, of_records=tree.label_columns)
    if sample is None and (alike := next((one for one in found if answers_everywhere_alike(one, labels)), None)):
        content = tree.read(alike.entry)
        sample = read_sample(content, shown=alike.entry.path, id_column=alike.labels.id_column)
        findings.notes.append(f"{alike.entry.path} is the sample submission: its answers are all alike.")
        tests = ids_of(sample)
    if sample is None:
        check_no_answers(found, labels, tests=sum(roles.role(entry.path) == TEST for entry in lookup.entries))
    tests = tests or test_list(found, findings)
    unlabelled = sorted(finder.unlabelled, key=lambda one: -one.photos)
    return Lists(labels, sample, content, tests, unlabelled, finder.class_tables, finder.headless)


@dataclasses.dataclass(frozen=True)
class _Finder:
    """Reads the lists of an input."""

    tree: Tree
    options: ConvertOptions
    wanted: Wanted
    lookup: Lookup
    roles: Roles
    findings: Findings
    unlabelled: list[Unlabelled] = dataclasses.field(default_factory=list)
    class_tables: list[Table] = dataclasses.field(default_factory=list)
    headless: list[str] = dataclasses.field(default_factory=list)
    _known: dict[str, Found] = dataclasses.field(default_factory=dict)

    def given(self) -> LabelFile:
        """Returns the list that --labels names."""
        path = self.options.labels
        shown = os.path.basename(path)
        lists = read_list(file_bytes(path, "labels"), shown=shown)
        table = lists.photos
        if table is None:
            raise UserError(f"{shown} is no list of photos and labels: give such a list as --labels=FILE.")
        self.class_tables.extend(filter(None, [lists.classes]))
        check_header(table, self.lookup.named)
        found, ids = columns_of_list(table, self.lookup, self.wanted.of_table(table))
        self._note(found, ids)
        return _label_file(found, ids, self.options)

    def _files(self) -> list[Entry]:
        return [entry for entry in list_files(self.tree) if not is_called_sample(entry)]

    def _found(self, entry: Entry) -> Found:
        """Returns the lists in a file, which is read once: JSON of a million photos takes many seconds."""
        if entry.path not in self._known:
            self._known[entry.path] = read_list(self.tree.read(entry), shown=entry.path)
        return self._known[entry.path]

    def tables(self) -> Iterator[Table]:
        """Returns the lists that can be read, those at the root first, and those in folders if they are not many."""
        files = sorted(self._files(), key=lambda entry: "/" in entry.path)
        for entry in files if len(files) <= MOST_IN_FOLDERS else [e for e in files if "/" not in e.path]:
            with contextlib.suppress(UserError):
                if table := self._found(entry).photos:
                    yield table

    def all_lists(self) -> list[Listed]:
        """Returns the lists at the root of the input, and those in folders if none at the root has labels."""
        files = self._files()
        found = self._read_all([entry for entry in files if "/" not in entry.path])
        deeper = [entry for entry in files if "/" in entry.path]
        if not any(one.has_labels for one in found) and len(deeper) <= MOST_IN_FOLDERS:
            found += self._read_all(deeper)
        return found

    def _read_all(self, files: Sequence[Entry]) -> list[Listed]:
        return [listed for entry in files if (listed := self._read(entry))]

    def _read(self, entry: Entry) -> Listed | None:
        """Returns a list, or None if the file names no photo or has no column of labels."""
        try:
            table, classes, note = self._found(entry)
        except UserError as error:
            if LABEL_FILE.match(entry.path):
                raise
            self.findings.notes.append(f"{entry.path} was left out: {error}")
            return None
        self.class_tables.extend(filter(None, [classes]))
        self.findings.notes.extend(filter(None, [note]))
        if table is None:
            return None
        if is_csv(entry.path) and lacks_header(table, self.lookup.named):
            self.headless.append(entry.path)
            self.findings.notes.append(f"{entry.path} has no header and was left out.")
            return None
        if names_classes(table, self._class_folders) and not self._names_photos(table):
            self.findings.notes.append(f"{entry.path} has a row for each class folder, and is no list of photos.")
            self.class_tables.append(table)
            return None
        ids = self._id_column(table)
        if ids is None:
            self.class_tables.append(table)
            return None
        return self._with_labels(entry, self._in_own_folder(entry, table, ids), ids)

    def _in_own_folder(self, entry: Entry, table: Table, ids: int) -> Table:
        """Returns the table of a list in a folder; Ids of several photos that are to be used alike become paths."""
        folder, role = entry.path.rpartition("/")[0], self.roles.role(entry.path)

        def written(photo_id: str) -> str:
            try:
                self.lookup.get(photo_id, entry.path, rank=lambda photo: self.roles.role(photo.path) != role)
            except UserError:
                path = self.lookup.named(f"{folder}/{photo_id}")
                return path if path.startswith(f"{folder}/") else photo_id
            return photo_id

        if not folder:
            return table
        rows = tuple((*row[:ids], written(row[ids]), *row[ids + 1 :]) for row in table.rows)
        return dataclasses.replace(table, rows=rows)

    def _names_photos(self, table: Table) -> bool:
        """Returns whether a cell names a photo; numbers do not count, which may be those of classes."""
        return any(self.lookup.named(cell) for row in table.rows for cell in row if not cell.strip().isdecimal())

    @functools.cached_property
    def _class_folders(self) -> set[str]:
        """The names of the folders directly above photos that may be training photos."""
        paths = [entry.path for entry in self.lookup.entries]
        below = [self.roles.below(path) for path in paths if self.roles.role(path) not in (TEST, ANNOTATION)]
        return {composed(folders[-1]) for folders in below if folders}

    def _id_column(self, table: Table) -> int | None:
        wanted = self.wanted.of_table(table)
        ids = id_column(table, self.lookup.named, wanted)
        if ids is None:  # Ids written differently
            ids = loose_id_column(table, self.lookup, wanted)
        if ids is None and LABEL_FILE.match(table.shown) and not wanted.id_column:
            columns = columns_by_name(table, id_column="", label_column=wanted.label_column, with_labels=False)
            return columns[0]
        if ids is None and (column := _label_beside_ids(table)):
            self.findings.notes.append(
                f"{table.shown} has the columns of a list of labels (such as {column}), but its Ids name no photo: it "
                "was left out."
            )
        return ids

    def _with_labels(self, entry: Entry, table: Table, ids: int) -> Listed | None:
        role = _role(table, ids, self.lookup, self.roles)
        found = with_labels(table, ids, self.wanted)
        if found is None and role != TEST:
            one = Unlabelled(table, ids, _paths(table, ids, self.lookup))
            self.unlabelled.append(one)
            self.findings.notes.append(
                f"{table.shown} names photos, but none of its columns is known to hold labels "
                f"({first_of(one.columns)}): it was left out; --label_column=NAME takes one."
            )
            self._note_group(table, [ids])
            return None
        if found is None:
            return Listed(entry, table, label_file(table, ids=ids, label=None), role)
        if role == TEST:
            return Listed(entry, found.table, label_file(found.table, ids=ids, label=found.label), role)
        self._note(found, ids)
        return Listed(entry, found.table, _label_file(found, ids, self.options), role)

    def _note(self, found: Labelled, ids: int) -> None:
        split = split_note(found.table, ids=ids, label=found.label, names=self.lookup.named, roles=self.roles)
        self.findings.notes += filter(None, [found.note, split])
        self._note_group(found.table, [ids, found.label])

    def _note_group(self, table: Table, taken: Sequence[int]) -> None:
        note = group_note(table, taken, folds=self.options.folds)
        self.findings.notes += [note] if note and not self.options.group_column else []


def _label_file(found: Labelled, ids: int, options: ConvertOptions) -> LabelFile:
    table = found.table
    group = table.find(options.group_column) if options.group_column else None
    labels = label_file(table, ids=ids, label=found.label, group=group)
    columns = tuple(name for name in labels.columns if name != SET_OF)
    return dataclasses.replace(labels, columns=columns, sure=found.sure, rivals=found.rivals)


def _check_only_column(labels: LabelFile) -> None:
    """Checks that one column alone may hold the labels.

    Raises:
      UserError: another one may, too, and gives other classes.
    """
    if labels.rivals:
        columns = [labels.label_column, *labels.rivals]
        raise UserError(
            f"{labels.shown} has {len(columns)} columns that may hold the labels and that divide the photos in "
            f"different ways ({first_of(columns)}): say which one counts with --label_column=NAME."
        )


def _label_beside_ids(table: Table) -> str:
    """Returns a column that is called as labels are if there is one of Ids, too, else ""."""
    names = [name.lower() for name in table.header]
    ids, labels = ([known for known in columns if known in names] for columns in (ID_COLUMNS, LABEL_COLUMNS))
    return labels[0] if ids and labels else ""


def _role(table: Table, ids: int, lookup: Lookup, roles: Roles) -> str:
    """Returns the role of a list: that of its name or its folder, else TEST if all of its photos have that."""
    if role := role_of_file(table.shown.rpartition("/")[2]) or roles.role(table.shown):
        return role
    found = {roles.role(path) for path in _paths(table, ids, lookup) if path}
    return TEST if found == {TEST} else ""


def _paths(table: Table, ids: int, lookup: Lookup) -> list[str]:
    """Returns the photo of each row, or ""; Ids are taken loosely if none names a photo as written."""
    cells = table.cells(ids)
    if any(found := [lookup.named(cell) for cell in cells]):
        return found
    matches, _ = lookup.match(dict.fromkeys(cells), table.shown)
    return [matches[cell].path if cell in matches else "" for cell in cells]


def _check_flags_used(options: ConvertOptions, labels: LabelFile | None, *, of_records: Collection[str]) -> None:
    """Checks that a list was found where a flag names one of its columns; files of records may have that of labels.

    Raises:
      UserError: there is none.
    """
    for flag in ("id_column", "label_column"):
        used = flag == "label_column" and options.label_column in of_records
        if labels is None and getattr(options, flag) and not used:
            raise UserError(
                f"--{flag}={getattr(options, flag)} is a column of no CSV that names photos: give the file with "
                "--labels=CSV."
            )
