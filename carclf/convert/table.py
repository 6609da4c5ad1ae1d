"""A list as it stands: a header and rows of texts."""

import csv
import dataclasses
import functools
from collections.abc import Iterable

from carclf.errors import UserError
from carclf.forms.sample_file import numbered_columns, unzipped
from carclf.text_file import csv_lines, encoding_of, without_separator_line


@dataclasses.dataclass(frozen=True)
class Table:
    """A CSV, or a list in JSON.

    Attributes:
      shown: its name in messages.
      header: the names of its columns, without spaces around them.
      rows: the cells of every row, as many as the header has.
      lines: of the file, from 1; a row's is its last one if cells hold line breaks.
      unit: what `lines` counts; 'record' in JSON.
    """

    shown: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    unit: str = "line"

    def cells(self, column: int) -> list[str]:
        """Returns the cells of a column."""
        return [row[column] for row in self.rows]

    def values(self, column: int) -> list[str]:
        """Returns the different cells of a column without spaces around them, in order; empty ones do not count."""
        return list(dict.fromkeys(text for row in self.rows if (text := row[column].strip())))

    def find(self, name: str) -> int | None:
        """Returns the column of this name, else the only one that differs in letter case, or None."""
        exact, near = self._places
        return exact.get(name, near.get(name.casefold()))

    @functools.cached_property
    def _places(self) -> tuple[dict[str, int], dict[str, int | None]]:
        """Returns name → its first column, and name without regard to case → its only column, None for several."""
        exact: dict[str, int] = {}
        near: dict[str, int | None] = {}
        for place, name in enumerate(self.header):
            exact.setdefault(name, place)
            near[name.casefold()] = None if name.casefold() in near else place
        return exact, near

    def without_header(self) -> "Table":
        """Returns the table whose first line is a row, too; its columns are numbered."""
        return Table(self.shown, numbered_columns(len(self.header)), (self.header, *self.rows), (1, *self.lines))

    def with_column(self, name: str, cells: Iterable[str]) -> "Table":
        """Returns the table with one more column at its end."""
        rows = tuple((*row, cell) for row, cell in zip(self.rows, cells, strict=True))
        return dataclasses.replace(self, header=(*self.header, name), rows=rows)


def read_table(content: bytes, *, shown: str) -> Table:
    """Returns the table in a CSV; every cell stays the string it is.

    Args:
      content: its bytes, in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; separated by commas, semicolons,
        tabs or bars, or by what Excel's line `sep=;` says; or a zip with it.
      shown: its name in messages.

    Raises:
      UserError: a damaged zip, not UTF-8, not CSV, no rows, or a row of another length. Rows of empty cells do not
        count.
    """
    content = unzipped(content, shown, "give the CSV in it")
    try:
        text = content.decode(encoding_of(content))
    except UnicodeDecodeError as error:
        raise UserError(f"{shown} is not UTF-8 (byte {error.start}): save it as UTF-8 CSV.") from None
    text, delimiter = without_separator_line(text)
    try:
        rows = csv_lines(text, delimiter=delimiter)
    except csv.Error as error:
        raise UserError(f"{shown} is not CSV ({error}): correct the file.") from None
    if len(rows) < 2:
        raise UserError(f"{shown} has no rows below its header: give a CSV with Ids.")
    header = tuple(cell.strip() for cell in rows[0][1])
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise UserError(f"{shown} line {number} has {len(row)} of {len(header)} cells: correct the file.")
    return Table(shown, header, tuple(row for _, row in rows[1:]), tuple(number for number, _ in rows[1:]))
