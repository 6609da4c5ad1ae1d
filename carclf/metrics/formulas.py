"""The formulas of the metrics: each takes a tally and the module that computes, NumPy or `keras.ops`.

The names that both modules have in common are all that is used here. A tally is float, of the shape that
`carclf.metrics.tallies` says; the value is a scalar.
"""

from typing import Any

import numpy as np


def accuracy(counts: Any, ops: Any, k: int) -> Any:
    """Returns the accuracy, which is the F1 of all classes counted together where a photo has one class."""
    return ops.sum(counts[2]) / ops.maximum(ops.sum(counts[0]), 1.0)


def balanced_accuracy(counts: Any, ops: Any, k: int) -> Any:
    """Returns the mean recall of the classes that occur as a label."""
    return _mean_where(counts[2] / ops.maximum(counts[0], 1.0), counts[0] > 0, ops)


def macro_f1(counts: Any, ops: Any, k: int) -> Any:
    """Returns the mean F1 of the classes that occur as a label or as a prediction."""
    both = counts[0] + counts[1]
    return _mean_where(2.0 * counts[2] / ops.maximum(both, 1.0), both > 0, ops)


def quadratic_kappa(grades: Any, ops: Any, k: int) -> Any:
    """Returns Cohen's kappa with quadratic weights: 1 is agreement, 0 that of chance; the label is the grade.

    It is 1 where labels and predictions are all one class.

    Source: Cohen, "Weighted kappa", Psychological Bulletin 70 (1968). The sum over all pairs of grades of
      photos · predicted · distance² is that of its three products, each of which is a sum over the grades.
    """
    count = grades.shape[1]
    # From the middle, so that float32 loses no digits of large grades.
    grade = (np.arange(count) - (count - 1) / 2).astype(np.float32)
    # A graph tensor must be on the left of a NumPy array, which would otherwise try to read it.
    photos, predicted = grades[0] * grade, grades[1] * grade
    total = ops.sum(grades[0])
    squares = ops.sum(photos * grade) + ops.sum(predicted * grade)
    of_pairs = total * squares - 2.0 * ops.sum(photos) * ops.sum(predicted)
    by_chance = of_pairs / ops.maximum(total, 1.0)
    # A by-chance distance of 0 means that all photos are of one grade, and predicted as it.
    return 1.0 - ops.sum(grades[2]) / ops.where(by_chance > 0, by_chance, 1.0)


def mean(total: Any, ops: Any, k: int) -> Any:
    """Returns the mean of a tally of a sum and a count."""
    return total[0] / ops.maximum(total[1], 1.0)


def within_first(ranks: Any, ops: Any, k: int) -> Any:
    """Returns the fraction of photos whose label is among the k likeliest classes."""
    return ops.sum(ranks[:k]) / ops.maximum(ops.sum(ranks), 1.0)


def mean_average_precision(ranks: Any, ops: Any, k: int) -> Any:
    """Returns MAP@k where a photo has one right label: the mean of 1 / its place, 0 beyond the k likeliest classes."""
    places = np.arange(1, ranks.shape[0] + 1, dtype=np.float32)
    return ops.sum(ranks[:k] / places[:k]) / ops.maximum(ops.sum(ranks), 1.0)


def binned_auc(scores: Any, ops: Any, k: int) -> Any:
    """Returns the mean over the classes of the area under the ROC curve, one against the rest, from binned scores.

    Classes without a photo, or with all photos, do not count. Scores in one bin count as equal.
    """
    others, own = scores[0], scores[1]
    below = ops.cumsum(others, axis=1) - others / 2.0
    pairs = ops.sum(others, axis=1) * ops.sum(own, axis=1)
    return _mean_where(ops.sum(own * below, axis=1) / ops.maximum(pairs, 1.0), pairs > 0, ops)


def exact_auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Returns what `binned_auc` does, from the exact scores; 0.5 if no class counts.

    Args:
      probabilities: float [N, K].
      labels: int [N].

    Source: Hand and Till, "A simple generalisation of the area under the ROC curve", Machine Learning 45 (2001),
    section 2: the area is the Mann-Whitney statistic.
    """
    photos, classes = probabilities.shape
    own = np.bincount(labels, minlength=classes)
    areas = []
    for label in np.flatnonzero((own > 0) & (own < photos)):
        ranks = mean_ranks(probabilities[:, label])[labels == label]
        areas.append((ranks.sum() - own[label] * (own[label] + 1) / 2) / (own[label] * (photos - own[label])))
    return float(np.mean(areas)) if areas else 0.5


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Returns the rank of each value, counted from 1, float64 [N]; equal values share the mean of their ranks.

    As `scipy.stats.rankdata`, whose import takes half a second.
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def _mean_where(values: Any, counts: Any, ops: Any) -> Any:
    return ops.sum(ops.where(counts, values, 0.0)) / ops.maximum(ops.sum(ops.where(counts, 1.0, 0.0)), 1.0)
