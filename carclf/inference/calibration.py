"""Calibration of probabilities, and the temperature that improves it: NumPy and SciPy only."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from carclf.metrics.tallies import MIN_PROBABILITY, cross_entropy

BINS = 15  # Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4
TEMPERATURES = (0.05, 20.0)  # range of the search


class ReliabilityBin(NamedTuple):
    """Photos with a top probability in (low, high]; accuracy and mean confidence in 0..1, 0 if there are no photos."""

    low: float
    high: float
    photos: int
    confidence: float
    accuracy: float


class Calibration(NamedTuple):
    """How far the top probability is from the accuracy.

    Attributes:
      expected_error: the expected calibration error (ECE), 0..1, over `bins`.
      temperature: T for which probabilities ∝ p^(1/T) have the smallest log loss; above 1 means overconfident. Fitted
        on the photos that it is reported for.
      expected_error_after: the ECE with that temperature.
      log_loss_after: mean cross-entropy in nats with that temperature.
      bins: 15 of equal width.
    """

    expected_error: float
    temperature: float
    expected_error_after: float
    log_loss_after: float
    bins: tuple[ReliabilityBin, ...]


def calibrate(probabilities: np.ndarray, labels: np.ndarray) -> Calibration:
    """Returns the calibration of predictions.

    Args:
      probabilities: float [N, K], N at least 1, each row summing to 1.
      labels: int [N].

    Source: Guo et al. (2017): ECE of equation 3, temperature scaling of section 4.2.
    """
    temperature = fit_temperature(probabilities, labels)
    after = tempered(probabilities, temperature)
    bins = reliability(probabilities, labels)
    return Calibration(
        expected_error=expected_error(bins),
        temperature=temperature,
        expected_error_after=expected_error(reliability(after, labels)),
        log_loss_after=_log_loss(after, labels),
        bins=bins,
    )


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature with the smallest log loss of probabilities float [N, K] for labels int [N]."""

    def loss(log_temperature: float) -> float:
        return _log_loss(tempered(probabilities, float(np.exp(log_temperature))), labels)

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def _log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    total, photos = cross_entropy(probabilities, labels)
    return float(total / photos)


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Returns probabilities float [N, K], of the same dtype, with each row ∝ p^(1/temperature) and summing to 1."""
    logarithms = np.log(np.maximum(probabilities, MIN_PROBABILITY))
    powers = np.exp((logarithms - logarithms.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """Returns the photos in BINS bins of equal width, by their top probability.

    Args:
      probabilities: float [N, K], each row summing to 1.
      labels: int [N].
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    which = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    photos = np.bincount(which, minlength=BINS)
    mean_confidence = np.bincount(which, confidence, minlength=BINS) / np.maximum(photos, 1)
    accuracy = np.bincount(which, right, minlength=BINS) / np.maximum(photos, 1)
    return tuple(
        ReliabilityBin(k / BINS, (k + 1) / BINS, int(photos[k]), float(mean_confidence[k]), float(accuracy[k]))
        for k in range(BINS)
    )


def expected_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Returns the mean distance between accuracy and confidence, each bin weighted by its photos."""
    total = sum(each.photos for each in bins)
    return sum(each.photos * abs(each.accuracy - each.confidence) for each in bins) / total
