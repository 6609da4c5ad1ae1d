"""Logits of views to probabilities, and probabilities of runs to those of an ensemble: NumPy and SciPy only."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from carclf.errors import UserError
from carclf.recipe import View

FITTED = "fitted"
MEANS = ("probabilities", "logits")  # what a mean over views may be taken of
LEAST_PROBABILITY = 1e-12  # so that a run that excludes the truth costs much, not everything


class ViewMean:
    """The weighted mean over the views of N photos, taken in batch by batch: memory is [N, K], however many views."""

    def __init__(self, photos: int, classes: int, *, views: Sequence[View], kind: str) -> None:
        """An empty mean.

        Args:
          photos: N.
          classes: K.
          views: with their weights.
          kind: 'probabilities' or 'logits', what is averaged.
        """
        self._weights = np.array([view.weight for view in views], np.float64)
        self._kind = kind
        self._sums = np.zeros((photos, classes))
        self._seen = np.zeros((photos, len(views)), np.uint8)

    def add(self, view: int, photo: np.ndarray, logits: np.ndarray) -> None:
        """Takes in one view of some photos.

        Args:
          view: its place among all.
          photo: int [B], which of the N each row is.
          logits: float [B, K].
        """
        values = logits if self._kind == "logits" else softmax(logits)
        np.add.at(self._sums, photo, self._weights[view] * values)
        np.add.at(self._seen[:, view], photo, 1)

    def probabilities(self) -> np.ndarray:
        """float64 [N, K]; each row sums to 1.

        Raises:
          RuntimeError: a photo did not come exactly once in each view; nothing is returned then.
        """
        wrong = (self._seen != 1).any(axis=1)
        if wrong.any():
            raise RuntimeError(f"{wrong.sum()} photos did not come back once in each of {len(self._weights)} views.")
        mean = self._sums / self._weights.sum()
        return softmax(mean) if self._kind == "logits" else mean


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float64 [..., K] of logits [..., K]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def parse_run_weights(text: str, *, count: int) -> np.ndarray | None:
    """float64 [M], adding up to 1, as `0.5,0.3,0.2` says; all the same for an empty text, None for 'fitted'.

    Raises:
      UserError: they are not M numbers of 0 or more, or all are 0.
    """
    if text == FITTED:
        return None
    try:
        weights = np.array([float(part) for part in text.split(",")] if text else [1.0] * count)
    except ValueError:
        weights = np.array([])
    if len(weights) != count or not np.isfinite(weights).all() or weights.min() < 0 or not weights.sum():
        raise UserError(
            f"--run_weights={text} is not possible: give {count} numbers of 0 or more with commas, one for each name "
            f"of --run, or {FITTED}."
        )
    return np.asarray(weights / weights.sum())


def fit_run_weights(probabilities: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """float64 [M], 0 or more and adding up to 1: the weights whose mean has the least log loss, a convex problem.

    Args:
      probabilities: of each of M runs, float [N, K], of photos that it never trained on.
      labels: int [N].
    """
    of_label = np.stack([given[np.arange(len(labels)), labels] for given in probabilities], axis=1)
    of_label = np.maximum(of_label, LEAST_PROBABILITY)
    count = of_label.shape[1]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mean = of_label @ weights
        return -float(np.log(mean).mean()), -(of_label / mean[:, None]).mean(axis=0)

    found = minimize(
        loss,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1.0, "jac": lambda _: np.ones(count)},
        options={"ftol": 1e-9},
    )
    weights = np.clip(found.x, 0.0, 1.0)
    return np.asarray(weights / weights.sum())
