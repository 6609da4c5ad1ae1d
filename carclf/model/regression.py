"""Multinomial logistic regression on a frozen backbone's features, by L-BFGS.

Memory beyond the features grows by a label and a weight per photo: a block of photos at a time has probabilities.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

BLOCK_ROWS = 8192  # of features in memory at a time
GATHERED_BYTES = 1 << 30  # of features that are held in memory instead, for speed
C_VALUES = (0.001, 0.01, 0.1, 1.0)  # that `choose_c` tries
DEFAULT_C = 0.01  # where there is nothing to choose by: best or near it on studio photos and on adverts of cars
# Tighter ones change no accuracy that was measured, and take twice the time.
STOPPING = {"maxiter": 200, "gtol": 1e-3, "ftol": 1e-7}
LEAST_STDDEV = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Regression:
    """A linear classifier of features, for features as they are: their standardisation is folded in.

    Attributes:
      kernel: float64 [D, K].
      bias: float64 [K].
      c: inverse of the regularization strength that it was fitted with, as in scikit-learn.
    """

    kernel: np.ndarray
    bias: np.ndarray
    c: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Returns the logits float64 [N, K] of features float [N, D]."""
        return np.asarray(features, np.float64) @ self.kernel + self.bias


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of N photos with their labels.

    Attributes:
      views: float32 [N, D] for each view of the photos; a file that is mapped into memory will do.
      labels: int [N], in 0..K−1.
      class_count: K.
      weight: float32 [N], how much each photo counts.
    """

    views: Sequence[np.ndarray]
    labels: np.ndarray
    class_count: int
    weight: np.ndarray

    @property
    def width(self) -> int:
        """D."""
        return int(self.views[0].shape[1])

    def rows(self, chosen: np.ndarray) -> "FeatureSet":
        """Returns the photos with True in bool [N]: copied if they are few, otherwise the others count 0."""
        if sum(view.nbytes for view in self.views) <= GATHERED_BYTES:
            views = [np.asarray(view)[chosen] for view in self.views]
            return FeatureSet(views, self.labels[chosen], self.class_count, self.weight[chosen])
        return dataclasses.replace(self, weight=np.where(chosen, self.weight, 0).astype(np.float32))

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields (features float32 [n, D], labels int [n], weight float32 [n]), view by view."""
        for start in range(0, len(self.weight), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            for view in self.views:
                yield np.asarray(view[rows]), self.labels[rows], self.weight[rows]


def fit_regression(features: FeatureSet, *, c: float = DEFAULT_C, start: Regression | None = None) -> Regression:
    """Returns the regression with the least loss: mean cross-entropy over photos and views, and a penalty.

    Features are standardised for the fit. The penalty is ½ |kernel|² / (c · N).

    Args:
      features: of the training photos.
      c: inverse of the regularization strength, as in scikit-learn; a smaller one keeps the kernel smaller.
      start: a regression on the same features from which to begin.

    Raises:
      ValueError: no photo counts.
    """
    mean, stddev = _standardisation(features)
    shape = features.width + 1, features.class_count
    first = np.zeros(shape)
    if start is not None:
        first[:-1], first[-1] = start.kernel * stddev[:, None], start.bias + mean @ start.kernel
    found = minimize(
        _loss_and_gradient,
        first.ravel(),
        args=(features, mean, stddev, c),
        jac=True,
        method="L-BFGS-B",
        options=STOPPING,
    )
    scaled = found.x.reshape(shape)
    kernel = scaled[:-1] / stddev[:, None]
    return Regression(kernel, scaled[-1] - mean @ kernel, c)


def choose_c(features: FeatureSet, *, held_out: np.ndarray, c_values: Sequence[float] = C_VALUES) -> float:
    """Returns the c with the least cross-entropy on photos that the fit has not seen.

    Args:
      features: of the training photos.
      held_out: bool [N], the photos that choose c; near-duplicates should be on one side.
      c_values: to choose from; each fit begins where the one before ended.
    """
    validation, fitted = features.rows(held_out), features.rows(~held_out)
    if not (validation.weight.any() and fitted.weight.any()):
        return DEFAULT_C
    found: Regression | None = None
    losses = {}
    for c in c_values:
        found = fit_regression(fitted, c=c, start=found)
        losses[c] = _mean_cross_entropy(found, validation)
    return min(losses, key=lambda c: losses[c])


def _standardisation(features: FeatureSet) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weighted mean and standard deviation of each feature, float64 [D]."""
    total, sums = 0.0, np.zeros((2, features.width))
    for block, _, weight in features.blocks():
        total += float(weight.sum())
        sums += np.stack([weight @ block, weight @ block.astype(np.float64) ** 2])
    if not total:
        raise ValueError("A regression needs at least one photo that counts.")
    mean, square = sums / total
    return mean, np.maximum(np.sqrt(np.maximum(square - mean**2, 0.0)), LEAST_STDDEV)


def _loss_and_gradient(
    flat: np.ndarray, features: FeatureSet, mean: np.ndarray, stddev: np.ndarray, c: float
) -> tuple[float, np.ndarray]:
    """Returns the loss and its gradient by the kernel of standardised features and the bias, float64 [(D + 1)·K]."""
    scaled = flat.reshape(features.width + 1, -1)
    kernel = scaled[:-1] / stddev[:, None]
    bias = scaled[-1] - mean @ kernel
    loss, total, gradient = 0.0, 0.0, np.zeros_like(scaled)
    for block, labels, weight in features.blocks():
        log_probabilities = log_softmax(block @ kernel.astype(np.float32) + bias.astype(np.float32), axis=1)
        of_label = np.arange(len(labels)), labels
        loss -= float(weight @ log_probabilities[of_label])
        error = np.exp(log_probabilities)
        error[of_label] -= 1
        error *= weight[:, None]
        gradient[:-1] += (error.T @ block).T
        gradient[-1] += error.sum(axis=0)
        total += float(weight.sum())
    gradient[:-1] = (gradient[:-1] - np.outer(mean, gradient[-1])) / stddev[:, None]
    penalty = len(features.views) / (c * total)
    gradient /= total
    gradient[:-1] += penalty * scaled[:-1]
    return loss / total + 0.5 * penalty * float((scaled[:-1] ** 2).sum()), gradient.ravel()


def _mean_cross_entropy(found: Regression, features: FeatureSet) -> float:
    loss = total = 0.0
    for block, labels, weight in features.blocks():
        log_probabilities = log_softmax(found.logits(block), axis=1)
        loss -= float(weight @ log_probabilities[np.arange(len(labels)), labels])
        total += float(weight.sum())
    return loss / total
