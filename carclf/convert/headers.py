"""Whether the first line of a CSV names its columns, or is a row already."""

from carclf.convert.columns import LOOK_AT, RIVAL_FRACTION, NamedPhoto
from carclf.convert.labels import ID_COLUMNS, LABEL_COLUMNS
from carclf.convert.table import Table
from carclf.errors import UserError
from carclf.forms.evidence import number_in

ADD_ONE = "add a first line with the names of its columns, such as id,label"


def check_header(table: Table, names: NamedPhoto) -> None:
    """Checks that the first line of a list names its columns.

    Raises:
      UserError: it is a row.
    """
    if lacks_header(table, names):
        raise UserError(f"{table.shown} has no header (it begins with {','.join(table.header[:3])}): {ADD_ONE}.")


def lacks_header(table: Table, names: NamedPhoto) -> bool:
    """Returns whether the first line is a row: one of its cells names a photo, and none reads as a column's name.

    Args:
      table: the CSV, whose first line was read as its header.
      names: finds the photo of a cell.
    """
    if {cell.lower() for cell in table.header} & {*ID_COLUMNS, *LABEL_COLUMNS}:
        return False
    return any(names(cell) and _is_id(table, place, names) for place, cell in enumerate(table.header))


def _is_id(table: Table, place: int, names: NamedPhoto) -> bool:
    """Returns whether the cell above a column is a file name, or an Id as those below it beside answers as theirs."""
    cell = table.header[place]
    if "." in cell:
        return True
    ids = [row[place] for row in table.rows[:LOOK_AT]]
    found = sum(bool(names(photo_id)) for photo_id in ids)
    return found >= RIVAL_FRACTION * len(ids) and all(
        _is_answer(table, other) for other in range(len(table.header)) if other != place
    )


def _is_answer(table: Table, column: int) -> bool:
    """Returns whether the cell above a column is one of it, or a number as all of them are."""
    cell, values = table.header[column], table.values(column)
    return cell in values or all(number_in(text) is not None for text in (cell, *values))
