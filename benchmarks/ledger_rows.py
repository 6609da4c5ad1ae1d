"""The rows of the ledger."""

import dataclasses
import difflib

from carclf.errors import UserError

PROBE = "probe"  # no flag file: what carclf.probe writes


@dataclasses.dataclass(frozen=True)
class Row:
    """One change.

    Attributes:
      name: of the row.
      change: what it changes in the row that it is compared with.
      runs: flag files of stages/ledger whose runs answer, several as an ensemble; `PROBE` is a logistic regression.
      against: name of the row that it is compared with.
      views: of the prediction.
    """

    name: str
    change: str
    runs: tuple[str, ...]
    against: str = ""
    views: str = "clean"


ROWS: tuple[Row, ...] = ()


def find_rows(names: str) -> tuple[Row, ...]:
    """Returns the rows of these names, separated by commas.

    Raises:
      UserError: there is no such row.
    """
    known = {row.name: row for row in ROWS}
    for name in names.split(","):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the rows are {', '.join(known)}."
            raise UserError(f"--rows={names} is not possible: there is no row {name!r}; {hint}")
    return tuple(known[name] for name in names.split(","))
