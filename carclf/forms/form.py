"""The form of an answer: which columns of a submission hold it, and what each cell says."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Form:
    """What an answer looks like, as a data set's dataset.json keeps it.

    Attributes:
      kind: a key of `FORMS`.
      header: the names of the submission's columns, in the sample's order.
      answer_columns: the columns that hold the answer, in the sample's order; all others are copied from the sample.
      column_classes: for `probabilities`, the class label of each of these columns.
      positive: for `probability`, the class label whose probability the column holds.
      k: for `ranking`, how many labels an answer holds.
      separator: for `ranking` in one column, what separates them.
      id_column: the column of the Ids; "" is the first.
      has_header: whether the submission's first line is `header`.
    """

    kind: str
    header: tuple[str, ...]
    answer_columns: tuple[str, ...]
    column_classes: tuple[str, ...] = ()
    positive: str = ""
    k: int = 0
    separator: str = " "
    id_column: str = ""
    has_header: bool = True

    @property
    def id_name(self) -> str:
        """The name of the column of the Ids."""
        return self.id_column or self.header[0]

    def describe(self) -> str:
        """Returns the form in a few words, such as 'ranking(5), the column Id'."""
        details = {"ranking": f"({self.k})", "probability": f" of {self.positive}"}.get(self.kind, "")
        count = len(self.answer_columns)
        column = f"the column {self.answer_columns[0]}" if self.has_header else self.answer_columns[0]
        columns = column if count == 1 else f"{count} columns"
        return f"{self.kind}{details}, {columns}{'' if self.has_header else ', without a header'}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the form ready for JSON."""
        return dataclasses.asdict(self)
