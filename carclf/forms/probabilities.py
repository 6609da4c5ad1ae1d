"""The forms that answer with probabilities: of one class, or of every class."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from carclf.errors import UserError
from carclf.forms.evidence import (
    Evidence,
    Recognised,
    digits,
    is_fraction,
    loose_matches,
    number_in,
    require_answer,
    wrapped_matches,
)
from carclf.forms.form import Form
from carclf.forms.kind import Cells, FormKind
from carclf.wording import first_of

if TYPE_CHECKING:
    import numpy as np

POSITIVE_NAMES = ("1", "true", "yes", "positive")
SUM_TOLERANCE = 1e-3  # of the sum of a row's probabilities, which may come from a 16-bit softmax


class Probability(FormKind):
    """The probability of the positive one of two classes."""

    summary = "the probability of the positive one of two classes"
    says = frozenset({"label", "order", "probabilities"})

    def metric(self, form: Form) -> str:
        """Returns the log loss."""
        return "log_loss"

    def fits(self, evidence: Evidence) -> bool:
        """Returns whether the cells are fractions such as 0.5, or the same 0 or 1 where these are the classes."""
        if not (evidence.answer and evidence.cells and len(evidence.classes) == 2):
            return False
        if not all(is_fraction(cell) for cell in evidence.cells):
            return False
        if any(not cell.lstrip("+-").isdecimal() for cell in evidence.cells):
            return True
        numbers = {number_in(label) for label in evidence.classes}
        return len(evidence.cells) == 1 and (numbers == {0.0, 1.0} or bool(evidence.positive))

    def build(self, evidence: Evidence) -> Recognised:
        """Returns the form, and how the positive class was found if that is a guess."""
        require_answer(evidence)
        if len(evidence.classes) != 2:
            raise UserError(
                f"The form probability is for two classes, but there are {len(evidence.classes)}: give another --form."
            )
        positive, notes = _positive_class(evidence)
        return Recognised(evidence.form("probability", positive=positive), notes)

    def cells(
        self, form: Form, *, probabilities: "np.ndarray", labels: "np.ndarray", class_labels: Sequence[str]
    ) -> Cells:
        """Returns the probability of the positive class."""
        column = probabilities[:, list(class_labels).index(form.positive)]
        return [(digits(value),) for value in column.tolist()]

    def problem(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns that the cell is no probability."""
        return "" if is_fraction(cells[0]) else f"{cells[0]!r} is not a number between 0 and 1"

    def answer(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns the positive class from 0.5 on, else the other."""
        other = next(label for label in class_labels if label != form.positive)
        return form.positive if (number_in(cells[0]) or 0.0) >= 0.5 else other

    def difference(self, form: Form, before: Sequence[str], after: Sequence[str]) -> float:
        """Returns the distance of the two probabilities."""
        return abs(float(after[0]) - float(before[0]))


class Probabilities(FormKind):
    """The probability of every class, in a column for each."""

    summary = "the probability of every class, in a column for each"
    says = frozenset({"label", "order", "probabilities"})

    def metric(self, form: Form) -> str:
        """Returns the log loss."""
        return "log_loss"

    def fits(self, evidence: Evidence) -> bool:
        """Returns whether the columns are the classes."""
        found = _columns_of_classes(evidence)
        if len(evidence.columns) < 2 or not found:
            return False
        whole = len(found) == len(evidence.classes)
        several = len(found) > 1 or len(_fraction_columns(evidence)) > 1
        if not whole and (evidence.answer or not several):
            return False
        _check_columns(evidence, found)
        return True

    def build(self, evidence: Evidence) -> Recognised:
        """Returns the form; a sample of Ids only gets a column for each class."""
        if not evidence.columns:
            names = tuple(evidence.classes)
            return Recognised(evidence.form("probabilities", columns=names, column_classes=names))
        found = _columns_of_classes(evidence)
        _check_columns(evidence, found)
        class_of = {column: label for label, column in found.items()}
        columns = [name for name in evidence.columns if name in class_of]
        classes = tuple(class_of[name] for name in columns)
        return Recognised(evidence.form("probabilities", columns=columns, column_classes=classes))

    def cells(
        self, form: Form, *, probabilities: "np.ndarray", labels: "np.ndarray", class_labels: Sequence[str]
    ) -> Cells:
        """Returns the probabilities in the order of the columns."""
        number_of = {label: number for number, label in enumerate(class_labels)}
        order = [number_of[label] for label in form.column_classes]
        return [tuple(digits(value) for value in row) for row in probabilities[:, order].tolist()]

    def problem(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns that a cell is no probability, or that the row does not sum to 1."""
        wrong = next((cell for cell in cells if not is_fraction(cell)), None)
        if wrong is not None:
            return f"{wrong!r} is not a number between 0 and 1"
        total = sum(float(cell) for cell in cells)
        return "" if abs(total - 1.0) <= SUM_TOLERANCE else f"its probabilities sum to {total:.4f}"

    def answer(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns the class of the largest cell, the first of equal ones."""
        values = [number_in(cell) or 0.0 for cell in cells]
        return form.column_classes[values.index(max(values))]

    def difference(self, form: Form, before: Sequence[str], after: Sequence[str]) -> float:
        """Returns the probability that moves to another class, half the sum of the distances."""
        return sum(abs(float(new) - float(old)) for old, new in zip(before, after, strict=True)) / 2


def _positive_class(evidence: Evidence) -> tuple[str, tuple[str, ...]]:
    """Returns the class whose probability is asked for, and a note if that is a guess."""
    if evidence.positive:
        if label := loose_matches(evidence.classes, [evidence.positive]).get(evidence.positive):
            return label, ()
        raise UserError(
            f"--positive={evidence.positive} is none of the classes: choose one of {first_of(evidence.classes)}."
        )
    first, second = evidence.classes
    for label, other in ((second, first), (first, second)):
        if label.casefold() in POSITIVE_NAMES and other != "2":
            return label, ()
    if label := loose_matches(evidence.classes, [evidence.answer]).get(evidence.answer, ""):
        return label, ()
    return second, (
        f"The column {evidence.answer} of {evidence.shown} is taken for the probability of {second}, the second of the "
        f"two classes: carclf.predict --positive={first} takes the other.",
    )


def _columns_of_classes(evidence: Evidence) -> dict[str, str]:
    """Returns class → its column; words that all columns have in common do not count."""
    found = loose_matches(evidence.columns, evidence.classes)
    return found if found or len(evidence.columns) < 2 else wrapped_matches(evidence.columns, evidence.classes)


def _check_columns(evidence: Evidence, found: dict[str, str]) -> None:
    """Checks that no class lacks a column, and that no other column looks like a class.

    Raises:
      UserError: otherwise, with the difference.
    """
    missing = [label for label in evidence.classes if label not in found]
    taken = set(found.values())
    extra = [name for name in _fraction_columns(evidence) if name not in taken]
    if not missing and not extra:
        return
    lacks = f", none for {first_of(missing)}" if missing else ""
    has = f", and also {first_of(extra)}, which no training photo shows" if extra else ""
    raise UserError(
        f"{evidence.shown} has columns for {len(found)} of the {len(evidence.classes)} classes{lacks}{has}: give the "
        "sample of these photos, or correct the classes."
    )


def _fraction_columns(evidence: Evidence) -> list[str]:
    """Returns the columns whose cells are all numbers between 0 and 1."""
    return [name for name in evidence.columns if all(is_fraction(cell) for cell in evidence.sample.cells(name))]
