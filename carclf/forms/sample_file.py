"""The one reader of sample submissions and of submissions: every cell stays the text that it is."""

import csv
import dataclasses
import functools
import io
import zipfile
from pathlib import Path

from carclf.errors import UserError
from carclf.text_file import csv_lines, encoding_of, without_separator_line

MAX_BYTES = 2**30  # of a table that is unpacked
MAX_RATIO = 200
RATIO_FREE_BYTES = 2**26  # the same answer in every cell is compressed well


@dataclasses.dataclass(frozen=True)
class Sample:
    """A table whose rows are photos: a sample submission, an older submission, or a list of Ids.

    Attributes:
      shown: its name in messages.
      header: the names of its columns, in the file's order.
      rows: the cells of each row below the header.
      ids: the cells of the Id column, each once.
      id_column: the name of that column.
      delimiter: what separates its cells.
      has_header: whether the names of the columns are its first line; else they are those of `numbered_columns`.
    """

    shown: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    ids: tuple[str, ...]
    id_column: str
    delimiter: str = ","
    has_header: bool = True

    def cells(self, column: str) -> tuple[str, ...]:
        """Returns the cells of a column, from the first row on."""
        place = self._places[column]
        return tuple(row[place] for row in self.rows)

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.header)}


def numbered_columns(count: int) -> tuple[str, ...]:
    """Returns the names of the columns of a table without a header: column 1, column 2, and so on."""
    return tuple(f"column {number}" for number in range(1, count + 1))


def read_sample(
    content: bytes, *, shown: str, id_column: str = "", has_header: bool = True, advice: str = "correct the file"
) -> Sample:
    """Returns the table in a CSV.

    Args:
      content: the file, in UTF-8, or in UTF-16 or UTF-32 with a byte order mark, with commas, semicolons or tabs; or a
        zip with it.
      shown: its name in messages.
      id_column: the column of the Ids; "" takes the first.
      has_header: whether its first line names the columns.
      advice: the end of error messages.

    Raises:
      UserError: it is not such a CSV, has no rows, lacks the column, has a column or an Id twice, or an Id is empty.
    """
    text, delimiter = without_separator_line(_text(unzipped(content, shown, advice), shown, advice))
    (_, header), *rows = _rows(text, delimiter, has_header=has_header, shown=shown, advice=advice)
    names = [name.strip() for name in header]
    if id_column and id_column.strip() not in names:
        raise UserError(f"{shown} has no column {id_column!r}: its columns are {', '.join(header)}.")
    place = names.index(id_column.strip()) if id_column else 0
    return Sample(
        shown=shown,
        header=header,
        rows=tuple(row for _, row in rows),
        ids=_checked_ids([(number, row[place]) for number, row in rows], shown=shown, advice=advice),
        id_column=header[place],
        delimiter=delimiter,
        has_header=has_header,
    )


def read_sample_file(path: Path, *, what: str, advice: str, id_column: str = "", has_header: bool = True) -> Sample:
    """Returns the table in a file.

    Args:
      path: of the CSV, or of a zip that holds it alone.
      what: its name in the message if it is not there.
      advice: the end of error messages.
      id_column: the column of the Ids; "" takes the first.
      has_header: whether its first line names the columns.

    Raises:
      UserError: there is no such file, or as for `read_sample`.
    """
    if not path.is_file():
        raise UserError(f"There is no {what} {path}: {advice}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {advice}.") from None
    return read_sample(content, shown=str(path), id_column=id_column, has_header=has_header, advice=advice)


def unzipped(content: bytes, shown: str, advice: str) -> bytes:
    """Returns the content, or that of the only file in it if it is a zip.

    Raises:
      UserError: the zip is damaged, holds another number of files, or unpacks to an absurd size.
    """
    if not content.startswith(b"PK\x03\x04"):
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = [info for info in archive.infolist() if not _is_no_file(info.filename)]
            if len(files) != 1:
                raise UserError(f"{shown} holds {len(files)} files instead of one CSV: {advice}.")
            size = files[0].file_size
            if size > MAX_BYTES or (size > RATIO_FREE_BYTES and size > MAX_RATIO * len(content)):
                raise UserError(
                    f"{shown} unpacks to {size / 1e6:,.0f} MB, more than such a list holds: unpack it if you trust it, "
                    "and give the CSV."
                )
            return archive.read(files[0])
    except UserError:
        raise
    except Exception as error:  # zlib and lzma have errors of their own
        raise UserError(f"{shown} cannot be unpacked ({error}): {advice}.") from None


def _is_no_file(name: str) -> bool:
    return name.endswith("/") or name.startswith("__MACOSX/")


def _text(content: bytes, shown: str, advice: str) -> str:
    try:
        return content.decode(encoding_of(content))
    except UnicodeDecodeError as error:
        raise UserError(f"{shown} is not UTF-8 (byte {error.start}): save it as UTF-8 CSV, or {advice}.") from None


def _rows(text: str, delimiter: str, *, has_header: bool, shown: str, advice: str) -> list[tuple[int, tuple[str, ...]]]:
    """Returns the header and the rows, all of one length, each with its line; rows of blank cells do not count."""
    try:
        lines = csv_lines(text, delimiter=delimiter)
    except csv.Error as error:
        raise UserError(f"{shown} is not CSV ({error}): {advice}.") from None
    if lines and not has_header:
        lines = [(0, numbered_columns(len(lines[0][1]))), *lines]
    if len(lines) < 2:
        raise UserError(f"{shown} has no rows below its header: {advice}.")
    header = lines[0][1]
    seen: set[str] = set()
    for name in header:
        if name in seen:
            raise UserError(f"{shown} has the column {name!r} twice: {advice}.")
        seen.add(name)
    for number, row in lines:
        if len(row) != len(header):
            raise UserError(f"{shown} line {number} has {len(row)} of {len(header)} cells: {advice}.")
    return lines


def _checked_ids(ids: list[tuple[int, str]], *, shown: str, advice: str) -> tuple[str, ...]:
    """Returns the Ids, after comparing them; they are given with their lines."""
    seen: set[str] = set()
    for number, name in ids:
        if not name:
            raise UserError(f"{shown} line {number} has no Id: {advice}.")
        if name in seen:
            raise UserError(f"{shown} has the Id {name!r} twice: {advice}.")
        seen.add(name)
    return tuple(name for _, name in ids)
