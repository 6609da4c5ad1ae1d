"""The counts behind the metrics. Those of two sets of photos add up to those of both."""

import math
from collections.abc import Callable

import numpy as np

SCORE_BINS = 512  # of a class's scores, equal in log-odds: on 10,000 normal scores the AUC errs by less than 1e-5
LARGEST_LOG_ODDS = 16.0  # beyond, float32 cannot tell a probability from 1
MIN_PROBABILITY = float(np.finfo(np.float64).eps)  # Source: scikit-learn's log_loss clips at this value


def class_counts(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns int64 [3, K]: of each class the photos, those predicted as it, and those of it that were predicted right.

    A matrix of all pairs of classes would say more, but take gigabytes where the classes are many.

    Args:
      predicted: int [N].
      labels: int [N].
      classes: K.
    """
    hits = labels[predicted == labels]
    return np.stack([np.bincount(which, minlength=classes) for which in (labels, predicted, hits)])


def grades(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns float64 [3, K]: of each grade the photos, those predicted as it, and the sum of its squared mistakes.

    Args:
      predicted: int [N].
      labels: int [N].
      classes: K; the labels are the grades.
    """
    photos, answers = (np.bincount(which, minlength=classes) for which in (labels, predicted))
    return np.stack([photos, answers, np.bincount(labels, (predicted - labels) ** 2, minlength=classes)])


def label_ranks(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns int64 [K]: how many photos have 0, 1, 2 … classes before their label, likeliest first.

    Equally likely classes count in label order, as in argmax.

    Args:
      probabilities: float [N, K].
      labels: int [N].
    """
    of_label = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(probabilities.shape[1])[None] < labels[:, None]
    ranks = ((probabilities > of_label) | ((probabilities == of_label) & earlier)).sum(axis=1)
    return np.bincount(ranks, minlength=probabilities.shape[1])


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns float64 [2]: the sum of the photos' cross-entropies in nats, and the number of photos.

    A mistake with certainty must not make the sum infinite, so probabilities are clipped at `MIN_PROBABILITY`.

    Args:
      probabilities: float [N, K].
      labels: int [N].
    """
    of_label = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.array([-np.log(np.clip(of_label, MIN_PROBABILITY, 1.0)).sum(), len(labels)])


def scores(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns int64 [2, K, SCORE_BINS]: each class's probabilities by their log-odds, for other photos and for its own.

    Args:
      probabilities: float [N, K].
      labels: int [N].
    """
    classes = probabilities.shape[1]
    own = np.arange(classes)[None] == labels[:, None]
    flat = (own * classes + np.arange(classes)[None]) * SCORE_BINS + score_bins(probabilities)
    return np.bincount(flat.ravel(), minlength=2 * classes * SCORE_BINS).reshape(2, classes, SCORE_BINS)


def score_bins(probabilities: np.ndarray) -> np.ndarray:
    """Returns int64 of the same shape: the bin of each probability."""
    least = 1.0 / (1.0 + math.exp(LARGEST_LOG_ODDS))
    inside = np.clip(np.asarray(probabilities, np.float64), least, 1.0 - least)
    place = (np.log(inside / (1.0 - inside)) / LARGEST_LOG_ODDS + 1.0) / 2.0 * SCORE_BINS
    return np.clip(place.astype(np.int64), 0, SCORE_BINS - 1)


# What needs no more than one class for each photo: called with classes int [N], labels int [N] and K.
LABEL_TALLIES: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "class_counts": class_counts,
    "grades": grades,
}


def _of_likeliest(
    count: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Returns the tally of the likeliest classes, the first of equally likely ones."""
    return lambda probabilities, labels: count(probabilities.argmax(axis=1), labels, probabilities.shape[1])


# Called with probabilities float [N, K], each row summing to 1, and labels int [N].
TALLIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    **{name: _of_likeliest(count) for name, count in LABEL_TALLIES.items()},
    "label_ranks": label_ranks,
    "cross_entropy": cross_entropy,
    "scores": scores,
}
