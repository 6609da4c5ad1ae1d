"""The CSV files of an input: which one holds the labels, which one is the sample submission, which one the test Ids.

A list is recognised by its content, a column whose cells name photos, not by its name.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Sequence

from carclf.convert.columns import NamedPhoto, Wanted, columns_of_list, id_column, with_labels
from carclf.convert.labels import ID_COLUMNS, LabelFile, columns_by_name, label_file, named
from carclf.convert.options import ConvertOptions
from carclf.convert.photos import Findings
from carclf.convert.roles import TEST, VALIDATION, Roles, role_of_file
from carclf.convert.sources import Entry
from carclf.convert.table import Table, read_table
from carclf.convert.tree import Tree
from carclf.errors import UserError
from carclf.forms import Sample, read_sample

SAMPLE_FILE = re.compile(
    r"sample[-_ ]?(sub|solution|entry)|sub(mission)?[-_ ]?(sample|format|example|template)|^submission", re.IGNORECASE
)
LABEL_FILE = re.compile(r"^(train|training|labels|train[-_ ]?labels)\.csv$", re.IGNORECASE)
MOST_IN_FOLDERS = 50  # lists in folders are looked at if there are not more


@dataclasses.dataclass(frozen=True)
class Lists:
    """What the CSV files of an input say.

    Attributes:
      labels: the Ids and labels of the training photos; None if no CSV has them.
      sample: the sample submission, or None.
      content: the bytes of the sample submission, or None.
      tests: the Ids of the test photos: the sample's, else those of a list of test photos; None if there is none.
    """

    labels: LabelFile | None = None
    sample: Sample | None = None
    content: bytes | None = None
    tests: LabelFile | None = None


@dataclasses.dataclass(frozen=True)
class _Listed:
    """A CSV whose cells name photos: its Ids, their labels if it has them, the role of its photos."""

    labels: LabelFile
    role: str

    @property
    def has_labels(self) -> bool:
        return bool(self.labels.label_column)


def find_lists(tree: Tree, options: ConvertOptions, *, names: NamedPhoto, roles: Roles, findings: Findings) -> Lists:
    """Returns the lists of an input.

    Args:
      tree: the files of the input.
      options: of the converter.
      names: finds the photo of a cell.
      roles: of the photos.
      findings: added to.

    Raises:
      UserError: a list that counts cannot be read, or several could count.
    """
    sample, content = _sample(tree, options)
    wanted = Wanted(options.id_column, options.label_column, sample)
    tests = _ids_of(sample) if sample else None
    if options.label_pattern:
        return Lists(None, sample, content, tests)
    if options.labels:
        given = read_table(file_bytes(options.labels, "labels"), shown=os.path.basename(options.labels))
        table, ids, label, note = columns_of_list(given, names, wanted)
        findings.notes += [note] if note else []
        return Lists(_label_file(table, ids, label, options), sample, content, tests)
    found = _listed_at(tree, lambda entry: "/" not in entry.path, options, wanted, names, roles, findings)
    if not any(one.has_labels and one.role != TEST for one in found):
        deeper = [entry for entry in tree.entries if "/" in entry.path and _is_csv(entry)]
        if len(deeper) <= MOST_IN_FOLDERS:
            found += _listed_at(tree, lambda entry: "/" in entry.path, options, wanted, names, roles, Findings())
    labels = _label_list([one for one in found if one.has_labels and one.role != TEST], findings)
    _check_flags_used(options, labels)
    others = [one.labels for one in found if one.role == TEST]
    return Lists(labels, sample, content, tests or (_without_labels(others[0], findings) if others else None))


def file_bytes(path: str, flag: str) -> bytes:
    """Returns the bytes of a file that a flag names.

    Raises:
      UserError: it is not there.
    """
    if not os.path.isfile(path):
        raise UserError(f"There is no file --{flag}={path}: give an existing CSV.")
    with open(path, "rb") as file:
        return file.read()


def _sample(tree: Tree, options: ConvertOptions) -> tuple[Sample | None, bytes | None]:
    """Returns the sample submission that a flag names or that lies at the root, and its bytes."""
    flag = "sample" if options.sample else "test_csv" if options.test_csv else ""
    if flag:
        path = str(getattr(options, flag))
        content, shown = file_bytes(path, flag), os.path.basename(path)
    else:
        found = [e for e in tree.entries if "/" not in e.path and _is_csv(e) and SAMPLE_FILE.search(e.path)]
        if len(found) > 1:
            names = named([entry.path for entry in found])
            raise UserError(f"The input holds {names} side by side: say which one counts with --sample=CSV.")
        if not found:
            return None, None
        content, shown = tree.read(found[0]), found[0].path
    sample = read_sample(content, shown=shown)
    if options.id_column in sample.header[1:]:
        sample = read_sample(content, shown=shown, id_column=options.id_column)
    return sample, content


def _ids_of(sample: Sample) -> LabelFile:
    return LabelFile(sample.shown, dict.fromkeys(sample.ids, ""), (), sample.id_column, sample.header)


def _is_csv(entry: Entry) -> bool:
    return entry.path.lower().endswith((".csv", ".tsv"))


def _listed_at(
    tree: Tree,
    where: Callable[[Entry], bool],
    options: ConvertOptions,
    wanted: Wanted,
    names: NamedPhoto,
    roles: Roles,
    findings: Findings,
) -> list[_Listed]:
    """Returns the CSV files at some place whose cells name photos, the sample submission left out."""
    found = []
    for entry in tree.entries:
        if not where(entry) or not _is_csv(entry) or SAMPLE_FILE.search(entry.path.rpartition("/")[2]):
            continue
        if listed := _read(tree, entry, options, wanted, names, roles, findings):
            found.append(listed)
    return found


def _read(
    tree: Tree,
    entry: Entry,
    options: ConvertOptions,
    wanted: Wanted,
    names: NamedPhoto,
    roles: Roles,
    findings: Findings,
) -> _Listed | None:
    """Returns the Ids and labels of a CSV, or None if it names no photo."""
    counts = bool(LABEL_FILE.match(entry.path))
    try:
        table = read_table(tree.read(entry), shown=entry.path)
    except UserError as error:
        if counts:
            raise
        findings.notes.append(f"{entry.path} was left out: {error}")
        return None
    ids = id_column(table, names, wanted)
    if ids is None and counts and not wanted.id_column:  # its Ids may be written otherwise
        ids = columns_by_name(table, id_column="", label_column=wanted.label_column, with_labels=False)[0]
    if ids is None:
        return None
    if _has_no_header(table, ids, names):
        findings.notes.append(f"{entry.path} has no header and was left out.")
        return None
    role = _role(table, ids, names, roles)
    found = with_labels(table, ids, wanted)
    if found is None:
        if role != TEST:
            findings.notes.append(
                f"{entry.path} names photos, but none of its columns is known to hold labels "
                f"({named(table.header)}): it was left out; --label_column=NAME takes one."
            )
            return None
        return _Listed(label_file(table, ids=ids, label=None), role)
    table, label, note = found
    findings.notes += [note] if note else []
    return _Listed(
        _label_file(table, ids, label, options) if role != TEST else label_file(table, ids=ids, label=label), role
    )


def _label_file(table: Table, ids: int, label: int, options: ConvertOptions) -> LabelFile:
    group = table.find(options.group_column) if options.group_column else None
    if options.group_column and group is None:
        raise UserError(
            f"{table.shown} has no column {options.group_column!r} for --group_column: its columns are "
            f"{', '.join(table.header)}."
        )
    return label_file(table, ids=ids, label=label, group=group)


def _has_no_header(table: Table, ids: int, names: NamedPhoto) -> bool:
    first = table.header[ids]
    return "." in first and first.lower() not in ID_COLUMNS and bool(names(first))


def _role(table: Table, ids: int, names: NamedPhoto, roles: Roles) -> str:
    """Returns the role of a list: that of its name, else TEST if all of its photos have that."""
    if role := role_of_file(table.shown.rpartition("/")[2]):
        return role
    found = {roles.role(path) for row in table.rows if (path := names(row[ids]))}
    return TEST if found == {TEST} else ""


def _label_list(found: Sequence[_Listed], findings: Findings) -> LabelFile | None:
    """Returns the labels of the lists; those of validation join those of training.

    Raises:
      UserError: several lists could count.
    """
    main = [one.labels for one in found if one.role != VALIDATION]
    more = [one.labels for one in found if one.role == VALIDATION]
    if not main:
        main, more = more, []
    if len(main) > 1:
        usual = [labels for labels in main if LABEL_FILE.match(labels.shown)]
        distinct = list({tuple(labels.labels.items()): labels for labels in main}.values())
        if len(usual) != 1 and len(distinct) > 1:
            raise UserError(
                f"The input holds {named([labels.shown for labels in main])} side by side, which give labels to "
                "photos: say which one counts with --labels=CSV."
            )
        kept = usual[0] if len(usual) == 1 else main[0]
        left = named([labels.shown for labels in main if labels is not kept])
        findings.notes.append(f"The labels are those of {kept.shown}; {left} was left out.")
        main = [kept]
    return _joined(main[0], more) if main else None


def _joined(main: LabelFile, more: Sequence[LabelFile]) -> LabelFile:
    for other in more:
        both = [i for i in other.labels if main.labels.get(i, other.labels[i]) != other.labels[i]]
        if both:
            raise UserError(f"{main.shown} and {other.shown} give {both[0]} different labels: correct one of them.")
        main = dataclasses.replace(
            main,
            shown=f"{main.shown} and {other.shown}",
            labels={**main.labels, **other.labels},
            groups={**main.groups, **other.groups},
        )
    return main


def _without_labels(tests: LabelFile, findings: Findings) -> LabelFile:
    if tests.label_column:
        findings.notes.append(f"The photos of {tests.shown} are test photos: their labels were left out.")
    return dataclasses.replace(tests, labels=dict.fromkeys(tests.labels, ""), repeated=())


def _check_flags_used(options: ConvertOptions, labels: LabelFile | None) -> None:
    """Checks that a list was found where a flag names one of its columns.

    Raises:
      UserError: there is none.
    """
    for flag in ("id_column", "label_column", "group_column"):
        if labels is None and getattr(options, flag):
            raise UserError(
                f"--{flag}={getattr(options, flag)} is a column of no CSV that names photos: give the file with "
                "--labels=CSV."
            )
