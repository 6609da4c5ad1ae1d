"""One metric: its counts, its formula, its direction, and what an answer must say to be scored by it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from carclf.metrics.tallies import LABEL_TALLIES, TALLIES

# Keras's names of the running means that every training has; another metric's is "score".
LOGS = {"accuracy": "accuracy", "log_loss": "cross_entropy"}


@dataclasses.dataclass(frozen=True)
class Metric:
    """One row of `METRICS`.

    Attributes:
      title: what people call it.
      tally: a key of `TALLIES`.
      formula: the value of a float tally; called with the tally, NumPy or `keras.ops`, and k.
      higher: whether more is better.
      needs: what an answer must say: a 'label', the 'order' of several labels, or 'probabilities'.
      percent: whether pages show it in percent.
      least_classes: the fewest classes for which it says anything.
      exact: the value from probabilities float [N, K] and labels int [N], where the tally only comes near it.
      name: as in `--metric`, such as 'map@5'.
      k: the number in its name; 0 where it has none.
    """

    title: str
    tally: str
    formula: Callable[[Any, Any, int], Any]
    higher: bool = True
    needs: str = "label"
    percent: bool = False
    least_classes: int = 2
    exact: Callable[[np.ndarray, np.ndarray], float] | None = None
    name: str = ""
    k: int = 0

    @property
    def log(self) -> str:
        """The name of its running value in the logs of a training."""
        return LOGS.get(self.name, "score")

    @property
    def column(self) -> str:
        """The column of history.csv with its value on the validation photos."""
        return "val_accuracy" if self.name == "accuracy" else "val_score"

    def rank(self, value: float) -> float:
        """Returns a number that is higher for a better value."""
        return value if self.higher else -value

    def compute(self, probabilities: np.ndarray, labels: np.ndarray) -> float:
        """Returns the value on N photos, N at least 1.

        Args:
          probabilities: float [N, K], each row summing to 1.
          labels: int [N].
        """
        if self.exact:
            return self.exact(probabilities, labels)
        return self.of_tally(TALLIES[self.tally](probabilities, labels))

    def of_labels(self, predicted: np.ndarray, labels: np.ndarray, *, classes: int) -> float:
        """Returns the value of decided classes, N at least 1, where the metric needs no more than those.

        Args:
          predicted: int [N].
          labels: int [N].
          classes: K.
        """
        return self.of_tally(LABEL_TALLIES[self.tally](predicted, labels, classes))

    def of_tally(self, tally: np.ndarray) -> float:
        """Returns the value of a tally, or of several added up."""
        return float(self.formula(np.asarray(tally, np.float64), np, self.k))

    def show(self, value: float) -> str:
        """Returns a value as text, such as '0.912' or '91.2 %'."""
        return f"{100 * value:.1f} %" if self.percent else f"{value:.4f}"
