"""From logits of views to probabilities, and from probabilities of runs to an ensemble's: NumPy and SciPy only."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special
from scipy.optimize import minimize

from carclf.errors import UserError
from carclf.metrics import Metric
from carclf.metrics.tallies import MIN_PROBABILITY
from carclf.recipe import View

FITTED = "fitted"
SMOOTH = ("log_loss", "accuracy")  # metrics whose weights are those of the least log loss
FIRST_SHARE, LAST_SHARE = 0.4, 0.02  # that move to a run at a time
UNSEEN, DISPUTED = -2, -1  # in place of the class on which the views of a photo agree
MEANS = ("probabilities", "logits")  # the values that a mean over views can average


class ViewMean:
    """The weighted mean over the views of N photos, added batch by batch: [N, K] in memory for any number of views."""

    def __init__(self, photos: int, classes: int, *, views: Sequence[View], kind: str) -> None:
        """Creates an empty mean.

        Args:
          photos: N.
          classes: K.
          views: the views with their weights.
          kind: 'probabilities' or 'logits': the values to average.
        """
        self._weights = np.array([view.weight for view in views], np.float64)
        self._kind = kind
        self._sums = np.zeros((photos, classes))
        self._seen = np.zeros((photos, len(views)), np.uint8)
        self._agreed = np.full(photos, UNSEEN)

    def add(self, view: int, photo: np.ndarray, logits: np.ndarray) -> None:
        """Adds one view of some photos.

        Args:
          view: its index among all views.
          photo: int [B], the index of each photo among the N.
          logits: float [B, K].
        """
        values = logits if self._kind == "logits" else softmax(logits)
        np.add.at(self._sums, photo, self._weights[view] * values)
        np.add.at(self._seen[:, view], photo, 1)
        label, known = logits.argmax(axis=-1), self._agreed[photo]
        self._agreed[photo] = np.where((known == UNSEEN) | (known == label), label, DISPUTED)

    def agreed(self) -> np.ndarray:
        """Returns int64 [N]: the likeliest class of each photo in every view; −1 where the views differ."""
        return self._agreed

    def probabilities(self) -> np.ndarray:
        """Returns float64 [N, K]; each row sums to 1.

        Raises:
          RuntimeError: a photo was not added exactly once per view.
        """
        wrong = (self._seen != 1).any(axis=1)
        if wrong.any():
            raise RuntimeError(f"{wrong.sum()} photos were not predicted once in each of {len(self._weights)} views.")
        mean = self._sums / self._weights.sum()
        return softmax(mean) if self._kind == "logits" else mean


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities float64 [..., K] of logits [..., K]."""
    return np.asarray(special.softmax(logits.astype(np.float64), axis=-1))


def parse_run_weights(text: str, *, count: int) -> np.ndarray | None:
    """Returns the weights of `0.5,0.3,0.2`, float64 [M], summing to 1; equal for an empty text, None for 'fitted'.

    Raises:
      UserError: the text does not have M numbers of 0 or more, or all are 0.
    """
    if text == FITTED:
        return None
    try:
        weights = np.array([float(part) for part in text.split(",")] if text else [1.0] * count)
    except ValueError:
        weights = np.array([])
    if len(weights) != count or not np.isfinite(weights).all() or weights.min() < 0 or not weights.sum():
        raise UserError(
            f"--run_weights={text} is not possible: give {count} numbers of 0 or more, separated by commas, one for "
            f"each name of --run, or {FITTED}."
        )
    return np.asarray(weights / weights.sum())


def fit_run_weights(
    probabilities: Sequence[np.ndarray], labels: np.ndarray, *, metric: Metric | None = None
) -> np.ndarray:
    """Returns float64 [M], 0 or more, summing to 1: the weights of the runs in their mean.

    They minimise the mean's log loss, a convex problem. A metric other than log loss and accuracy, which has no slope,
    then improves them step by step.

    Args:
      probabilities: of each of M runs, float [N, K], on photos that it never trained on.
      labels: int [N].
      metric: what answers are scored by.
    """
    weights = _least_loss(probabilities, labels)
    if metric is None or metric.name in SMOOTH:
        return weights
    return _improved(weights, lambda tried: metric.rank(metric.compute(_mean(probabilities, tried), labels)))


def _mean(probabilities: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    return np.asarray(np.average(np.asarray(probabilities), axis=0, weights=weights))


def _improved(weights: np.ndarray, score: Callable[[np.ndarray], float]) -> np.ndarray:
    """Returns the weights after moving a share to one run at a time as long as that improves the score."""
    best, best_score, share = weights, score(weights), FIRST_SHARE
    while share >= LAST_SHARE:
        tried = [best + share * (own - best) for own in np.eye(len(weights))]
        scores = [score(one) for one in tried]
        if max(scores) > best_score:
            best, best_score = tried[int(np.argmax(scores))], max(scores)
        else:
            share /= 2
    return best


def _least_loss(probabilities: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Returns the weights float64 [M] with the least log loss."""
    of_label = np.stack([given[np.arange(len(labels)), labels] for given in probabilities], axis=1)
    of_label = np.maximum(of_label, MIN_PROBABILITY)
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
