"""The sample submission of an input: which file it is, whether it has a header, and which column holds its Ids."""

import os
import re
from pathlib import PurePosixPath

from carclf.convert.columns import Wanted, disagree, id_column, loose_id_column
from carclf.convert.file_kinds import PHOTO_SUFFIXES, is_csv
from carclf.convert.headers import lacks_header
from carclf.convert.id_lookup import Lookup
from carclf.convert.labels import ID_COLUMNS, LabelFile
from carclf.convert.options import ConvertOptions
from carclf.convert.photos import Findings
from carclf.convert.roles import Roles
from carclf.convert.sources import Entry
from carclf.convert.table import Table, read_table
from carclf.convert.tree import Tree
from carclf.errors import UserError
from carclf.forms import Sample, read_sample
from carclf.storage import copies
from carclf.wording import first_of

SAMPLE_FILES = (  # an earlier pattern counts first
    re.compile(
        r"sample[-_ ]?(sub|solution|entry)|sub(mission)?[-_ ]?(sample|format|example|template)|^submission",
        re.IGNORECASE,
    ),
    re.compile(r"(example|random|baseline|dummy)[-_ ]?(sub|solution|entry)|^submit", re.IGNORECASE),
)


def find_sample(
    tree: Tree, options: ConvertOptions, lookup: Lookup, roles: Roles, findings: Findings
) -> tuple[Sample | None, bytes | None]:
    """Returns the sample submission that a flag names or that lies in the input, and its bytes; None without one.

    Args:
      tree: the files of the input.
      options: of the converter.
      lookup: finds all photos.
      roles: of the photos.
      findings: added to.

    Raises:
      UserError: it cannot be read, or several files or columns could count.
    """
    flag = "sample" if options.sample else "test_csv" if options.test_csv else ""
    if flag:
        path = str(getattr(options, flag))
        content, shown = file_bytes(path, flag), os.path.basename(path)
    else:
        every = [entry for entry in tree.entries if is_csv(entry.path)]
        so_called = ([e for e in every if pattern.search(_name(e))] for pattern in SAMPLE_FILES)
        named_so = next(filter(None, so_called), [])
        found = [entry for entry in named_so if "/" not in entry.path] or named_so
        if len(found) > 1:
            names = first_of([entry.path for entry in found])
            raise UserError(f"The input holds {names} side by side: say which one counts with --sample=CSV.")
        if not found:
            return None, None
        content, shown = tree.read(found[0]), found[0].path
    table = read_table(content, shown=shown)
    has_header = not lacks_header(table, lookup.named)
    if not has_header:
        table = table.without_header()
        findings.notes.append(f"{shown} has no header, so that a submission has none.")
    ids = table.header[_id_column(table, lookup, roles, options.id_column)]
    return read_sample(content, shown=shown, has_header=has_header, id_column=ids), content


def ids_of(sample: Sample) -> LabelFile:
    """Returns the Ids of a sample submission as a list of test photos."""
    return LabelFile(sample.shown, dict.fromkeys(sample.ids, ""), (), sample.id_column, sample.header)


def is_called_sample(entry: Entry) -> bool:
    """Returns whether a file is called as sample submissions are."""
    return any(pattern.search(_name(entry)) for pattern in SAMPLE_FILES)


def _name(entry: Entry) -> str:
    return entry.path.rpartition("/")[2]


def file_bytes(path: str, flag: str) -> bytes:
    """Returns the bytes of a file that a flag names.

    Raises:
      UserError: it is not there.
    """
    file = copies.local_path(path)
    if not file.is_file():
        raise UserError(f"There is no file --{flag}={path}: give an existing CSV.")
    return file.read_bytes()


def _id_column(table: Table, lookup: Lookup, roles: Roles, wanted: str) -> int:
    """Returns the column of a sample's Ids: the first one, unless another that cannot hold answers names the photos.

    Args:
      table: the sample.
      lookup: finds all photos.
      roles: of the photos; no training photo is meant.
      wanted: --id_column, which counts if the sample has it.

    Raises:
      UserError: two columns name photos, and not the same in each row.
    """
    if wanted and (place := table.find(wanted)) is not None:
        return place
    others = [c for c, name in enumerate(table.header) if c and (name.lower() in ID_COLUMNS or _are_files(table, c))]
    if not others:
        return 0
    tests = Lookup(entry for entry in lookup.entries if roles.may_test(entry.path))
    found = id_column(table, tests.named, Wanted(), among=[0, *others])
    if found is None:
        return loose_id_column(table, tests, Wanted(), among=[0, *others]) or 0
    return found if disagree(table, 0, found, tests.named) else 0


def _are_files(table: Table, column: int) -> bool:
    """Returns whether all cells of a column have the extension of a photo, as no answers have."""
    suffixes = {PurePosixPath(value).suffix.lower() for value in table.values(column)}
    return bool(suffixes) and suffixes <= PHOTO_SUFFIXES - {""}
