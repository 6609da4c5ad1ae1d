"""What every form of answers can do."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from carclf.forms.evidence import Evidence, Recognised
from carclf.forms.form import Form

if TYPE_CHECKING:
    import numpy as np

Cells = list[tuple[str, ...]]


class FormKind:
    """One form: what tells it from the others, and what its cells are. Each method takes one photo's cells or all."""

    summary: str
    says: frozenset[str]  # of 'label', 'order' and 'probabilities': what a metric can score in an answer

    def metric(self, form: Form) -> str:
        """Returns the name of the metric that such answers are usually scored by."""
        raise NotImplementedError

    def fits(self, evidence: Evidence) -> bool:
        """Returns whether a sample asks for this form.

        Raises:
          UserError: it does, but for other classes.
        """
        raise NotImplementedError

    def build(self, evidence: Evidence) -> Recognised:
        """Returns this form for a sample.

        Raises:
          UserError: the sample cannot hold it.
        """
        raise NotImplementedError

    def cells(
        self, form: Form, *, probabilities: "np.ndarray", labels: "np.ndarray", class_labels: Sequence[str]
    ) -> Cells:
        """Returns the cells of the answer columns for each photo.

        Args:
          form: of this kind.
          probabilities: float [N, K], each row summing to 1.
          labels: int [N], the class that was decided on for each photo.
          class_labels: the K labels as the competition writes them.
        """
        raise NotImplementedError

    def problem(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns what is wrong with the cells of a photo, a clause such as "'x' is not a class"; empty if nothing."""
        raise NotImplementedError

    def answer(self, form: Form, cells: Sequence[str], *, class_labels: Collection[str]) -> str:
        """Returns the label of the class that the cells of a photo name as the likeliest."""
        raise NotImplementedError

    def difference(self, form: Form, before: Sequence[str], after: Sequence[str]) -> float:
        """Returns how far two answers for a photo are apart: 0 if they say the same, 1 if nothing is common."""
        raise NotImplementedError
