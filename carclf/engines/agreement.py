"""Whether two engines agree on the same images."""

import numpy as np
from scipy.special import softmax

TOLERANCE = 1e-4  # of a probability, or of the largest feature


def probability_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference of any probability, given logits float [B, K]; NaN if one is NaN."""
    return float(np.abs(softmax(found, axis=-1) - softmax(expected, axis=-1)).max())


def feature_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference of features float [B, …], as a fraction of the largest one; NaN if one is NaN."""
    return float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), np.finfo(np.float32).tiny))
