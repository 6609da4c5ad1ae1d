"""The forms that answer with labels: one, one with its probability, or the likeliest ones in order."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from carclf.errors import UserError
from carclf.forms.evidence import Evidence, Recognised, digits, is_fraction, rank_columns, require_answer
from carclf.forms.form import Form
from carclf.forms.kind import Cells, FormKind
from carclf.wording import first_of

if TYPE_CHECKING:
    import numpy as np

SEPARATORS = (" ", ",", ";", "|", "\t")


class Label(FormKind):
    """The label of one class."""

    summary = "the label of one class"
    says = frozenset({"label"})

    def metric(self, form: Form) -> str:
        """Returns the accuracy."""
        return "accuracy"

    def fits(self, evidence: Evidence) -> bool:
        """Returns whether every cell that is not empty holds a class."""
        return bool(evidence.answer) and set(evidence.cells) <= set(evidence.classes)

    def build(self, evidence: Evidence) -> Recognised:
        """Returns the form."""
        require_answer(evidence)
        return Recognised(evidence.form("label"))

    def cells(
        self, form: Form, *, probabilities: "np.ndarray", labels: "np.ndarray", class_labels: Sequence[str]
    ) -> Cells:
        """Returns the label that was decided on."""
        return [(class_labels[label],) for label in labels]

    def problem(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns that the cell is no class."""
        return "" if cells[0] in class_labels else f"{cells[0]!r} is not a class"

    def answer(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns the cell."""
        return cells[0]

    def difference(self, form: Form, before: Sequence[str], after: Sequence[str]) -> float:
        """Returns 1 for another label."""
        return float(before[0] != after[0])


class ScoredLabel(Label):
    """The label of one class, a blank, and its probability."""

    summary = "the label of one class and its probability"

    def fits(self, evidence: Evidence) -> bool:
        """Returns whether every cell that is not empty holds a class and a decimal fraction."""
        pairs = [_scored(cell) for cell in evidence.cells]
        known = set(evidence.classes)
        return bool(pairs) and all(label in known and "." in score and is_fraction(score) for label, score in pairs)

    def build(self, evidence: Evidence) -> Recognised:
        """Returns the form."""
        require_answer(evidence)
        return Recognised(evidence.form("scored_label"))

    def cells(
        self, form: Form, *, probabilities: "np.ndarray", labels: "np.ndarray", class_labels: Sequence[str]
    ) -> Cells:
        """Returns the label that was decided on, and its probability."""
        pairs = zip(labels.tolist(), probabilities.tolist(), strict=True)
        return [(f"{class_labels[label]} {digits(row[label])}",) for label, row in pairs]

    def problem(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns that the cell has no class, or no probability."""
        label, score = _scored(cells[0])
        if label not in class_labels:
            return f"{label!r} is not a class"
        return "" if is_fraction(score) else f"{score!r} is not a number between 0 and 1"

    def answer(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns the label."""
        return _scored(cells[0])[0]

    def difference(self, form: Form, before: Sequence[str], after: Sequence[str]) -> float:
        """Returns 1 for another label, else the distance of the two probabilities."""
        (label, score), (other, other_score) = _scored(before[0]), _scored(after[0])
        return abs(float(other_score) - float(score)) if label == other else 1.0


def _scored(cell: str) -> tuple[str, str]:
    """Returns (label, its probability) of a cell."""
    label, _, score = cell.strip().rpartition(" ")
    return label.strip(), score


class Ranking(FormKind):
    """The k likeliest labels, the likeliest first: in one cell, or each in a column of its own."""

    summary = "the k likeliest labels in a cell or in k columns, the likeliest first"
    says = frozenset({"label", "order"})

    def metric(self, form: Form) -> str:
        """Returns the mean average precision of the k labels."""
        return f"map@{form.k}"

    def fits(self, evidence: Evidence) -> bool:
        """Returns whether known labels, somewhere several, are in the cells or in numbered columns."""
        if evidence.answer:
            return _separator(evidence) is not None
        return _ranks_classes(evidence)

    def build(self, evidence: Evidence) -> Recognised:
        """Returns the form, with as many labels as the fullest cell or as there are numbered columns."""
        columns = rank_columns(evidence)
        if columns and evidence.k in (0, len(columns)):
            return Recognised(evidence.form("ranking", columns=columns, k=len(columns)))
        if columns:
            raise UserError(
                f"--form='ranking({evidence.k})' does not fit {evidence.shown}, which has {len(columns)} columns for "
                f"labels ({first_of(columns)}): give --form=ranking."
            )
        require_answer(evidence)
        separator = _separator(evidence) or " "
        k = evidence.k or max((len(cell.split(separator)) for cell in evidence.cells), default=0)
        if k < 1:
            raise UserError(
                f"{evidence.shown} does not show how many labels a cell holds: say it, such as --form='ranking(5)'."
            )
        if unfit := [label for label in evidence.classes if separator in label]:
            raise UserError(
                f"A cell of several labels cannot be read where a label holds their separator, as {unfit[0]!r} does: "
                "give another --form."
            )
        return Recognised(evidence.form("ranking", k=k, separator=separator))

    def cells(
        self, form: Form, *, probabilities: "np.ndarray", labels: "np.ndarray", class_labels: Sequence[str]
    ) -> Cells:
        """Returns the k likeliest labels, all if there are fewer; columns that are left over stay empty."""
        order = (-probabilities).argsort(axis=1, kind="stable")[:, : form.k].tolist()
        ranked = [[class_labels[k] for k in row] for row in order]
        if len(form.answer_columns) == 1:
            return [(form.separator.join(row),) for row in ranked]
        return [(*row, *[""] * (form.k - len(row))) for row in ranked]

    def problem(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns that a label is no class, comes twice, or is one too many."""
        found = _labels(form, cells)
        if unknown := [label for label in found if label not in class_labels]:
            return f"{unknown[0]!r} is not a class"
        if len(set(found)) != len(found):
            return f"{form.separator.join(found)!r} names a class twice"
        return "" if len(found) <= form.k else f"{cells[0]!r} holds more than {form.k} labels"

    def answer(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns the first label."""
        return _labels(form, cells)[0]

    def difference(self, form: Form, before: Sequence[str], after: Sequence[str]) -> float:
        """Returns the fraction of the k places that hold another label."""
        places = [_labels(form, cells) for cells in (before, after)]
        most = max(map(len, places))
        same = sum(one == other for one, other in zip(*places, strict=False))
        return 1.0 - same / most


def _labels(form: Form, cells: Sequence[str]) -> list[str]:
    """Returns the labels in a photo's answer, the likeliest first; [""] if it names none."""
    if len(form.answer_columns) == 1:
        return cells[0].strip().split(form.separator)
    return [label for cell in cells if (label := cell.strip())] or [""]


def _ranks_classes(evidence: Evidence) -> bool:
    """Returns whether numbered columns hold classes or nothing, and no row names a class twice."""
    columns = rank_columns(evidence)
    known = set(evidence.classes)
    rows = zip(*(evidence.sample.cells(name) for name in columns), strict=True)
    named = [[label for cell in row if (label := cell.strip())] for row in rows]
    return bool(columns) and all(known.issuperset(row) and len(set(row)) == len(row) for row in named)


def _separator(evidence: Evidence) -> str | None:
    """Returns what separates the labels in the cells, or None if no cell holds several."""
    for separator in SEPARATORS:
        if any(separator in label for label in evidence.classes):
            continue
        split = [cell.split(separator) for cell in evidence.cells]
        known = set(evidence.classes)
        if any(len(labels) > 1 for labels in split) and all(known.issuperset(labels) for labels in split):
            return separator
    return None
