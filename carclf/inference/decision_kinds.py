"""The decisions that can be fitted on held-out photos, a row each: NumPy and SciPy only."""

import dataclasses
from collections.abc import Callable

import numpy as np

from carclf.forms import Form, kind_of
from carclf.inference.calibration import fit_temperature, tempered
from carclf.metrics import Metric

CLIPS = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 2e-2, 5e-2, 1e-1)  # lowest probabilities to choose from
GRID = 64  # places tried for a threshold
MULTIPLES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5)  # of a class's rarity
OFFSETS = np.linspace(-1.0, 1.0, 21)  # tried on top of the offset of a class
OWN_OFFSETS = 30  # with more classes, their rarity alone decides: fitting each would take minutes, and fit noise
ROUNDS = 10  # over all thresholds or offsets, at most
GAIN = 1e-9  # smaller improvements are rounding


@dataclasses.dataclass(frozen=True)
class DecisionKind:
    """One row of `DECISIONS`.

    Attributes:
      summary: what it does, in a few words.
      metrics: the names of those that it improves.
      on_labels: whether it decides on the label; otherwise it changes the probabilities.
      automatic: whether it is fitted without being asked for.
      on_prior: whether it also decides where only the frequency of each class is known: thresholds then choose the
        grade nearest to the mean, which is the best single guess. Otherwise that is the most frequent class.
      fit: parameters float64 [P] from probabilities float64 [N, K], labels int64 [N] and the metric.
      apply: (probabilities float64 [N, K], labels int64 [N]) from probabilities float64 [N, K] and parameters.
      describe: the parameters in words.
    """

    summary: str
    metrics: frozenset[str]
    on_labels: bool
    automatic: bool
    on_prior: bool
    fit: Callable[[np.ndarray, np.ndarray, Metric], np.ndarray]
    apply: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    describe: Callable[[np.ndarray], str]

    def suits(self, metric: Metric, form: Form) -> bool:
        """Returns whether it improves that metric, on answers of that form."""
        says = kind_of(form).says
        written = says == {"label"} if self.on_labels else "probabilities" in says
        return metric.name in self.metrics and written


def _fit_temperature(probabilities: np.ndarray, labels: np.ndarray, metric: Metric) -> np.ndarray:
    """Returns (temperature, lowest probability) with the smallest log loss."""
    temperature = fit_temperature(probabilities, labels)
    losses = [metric.compute(_clipped(tempered(probabilities, temperature), clip), labels) for clip in CLIPS]
    return np.array([temperature, CLIPS[int(np.argmin(losses))]])


def _apply_temperature(probabilities: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    temperature, clip = parameters
    changed = _clipped(tempered(probabilities, float(temperature)), float(clip))
    return changed, probabilities.argmax(axis=1)


def _clipped(probabilities: np.ndarray, lowest: float) -> np.ndarray:
    """Returns float64 [N, K], each at least about `lowest`, each row summing to 1."""
    raised = np.maximum(probabilities, lowest)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def expected_grade(probabilities: np.ndarray) -> np.ndarray:
    """Returns float64 [N]: the mean label of each photo under its probabilities [N, K]."""
    return np.asarray(probabilities @ np.arange(probabilities.shape[1]))


def _fit_thresholds(probabilities: np.ndarray, labels: np.ndarray, metric: Metric) -> np.ndarray:
    """Returns float64 [K − 1], ascending: the thresholds on the expected grade with the best metric."""
    classes, grades = probabilities.shape[1], expected_grade(probabilities)
    places = np.unique(np.quantile(grades, np.linspace(0.0, 1.0, GRID)))
    places = np.unique(np.concatenate([(places[:-1] + places[1:]) / 2, np.arange(classes - 1) + 0.5]))

    def score(thresholds: np.ndarray) -> float:
        decided = np.searchsorted(thresholds, grades, side="right")
        return metric.rank(metric.of_labels(decided, labels, classes=classes))

    def allowed(thresholds: np.ndarray, place: int) -> np.ndarray:
        low = thresholds[place - 1] if place else -np.inf
        high = thresholds[place + 1] if place + 1 < len(thresholds) else np.inf
        return places[(places >= low) & (places <= high)]

    return _ascend(np.arange(classes - 1) + 0.5, score, allowed)


def _apply_thresholds(probabilities: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return probabilities, np.searchsorted(parameters, expected_grade(probabilities), side="right").astype(np.int64)


def _fit_offsets(probabilities: np.ndarray, labels: np.ndarray, metric: Metric) -> np.ndarray:
    """Returns float64 [K]: what to add to the log-probability of each class for the best metric.

    The start is a multiple of the negative log-frequency of the class. With few classes, each then has its own.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, section 4.1, for the start.
    """
    classes = probabilities.shape[1]
    rarity = -np.log(np.maximum(np.bincount(labels, minlength=classes), 1) / len(labels))

    def score(offsets: np.ndarray) -> float:
        decided = _apply_offsets(probabilities, offsets)[1]
        return metric.rank(metric.of_labels(decided, labels, classes=classes))

    start = max((multiple * (rarity - rarity.mean()) for multiple in MULTIPLES), key=score)
    return start if classes > OWN_OFFSETS else _ascend(start, score, lambda offsets, place: offsets[place] + OFFSETS)


def _apply_offsets(probabilities: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return probabilities, (probabilities * np.exp(parameters)).argmax(axis=1)


def _ascend(
    start: np.ndarray, score: Callable[[np.ndarray], float], allowed: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    """Returns the parameters that coordinate ascent reaches: one at a time, until a round improves nothing."""
    best, best_score = start.astype(np.float64), score(start)
    for _ in range(ROUNDS):
        before = best_score
        for place in range(len(best)):
            for value in allowed(best, place):
                tried = best.copy()
                tried[place] = value
                if (reached := score(tried)) > best_score + GAIN:
                    best, best_score = tried, reached
        if best_score <= before + GAIN:
            break
    return best


DECISIONS: dict[str, DecisionKind] = {
    "temperature": DecisionKind(
        summary="calibrated probabilities",
        metrics=frozenset({"log_loss"}),
        on_labels=False,
        automatic=True,
        on_prior=False,
        fit=_fit_temperature,
        apply=_apply_temperature,
        describe=lambda parameters: f"temperature {parameters[0]:.3f}, at least {parameters[1]:g}",
    ),
    "thresholds": DecisionKind(
        summary="thresholds on the expected grade",
        metrics=frozenset({"qwk"}),
        on_labels=True,
        automatic=True,
        on_prior=True,
        fit=_fit_thresholds,
        apply=_apply_thresholds,
        describe=lambda parameters: ", ".join(f"{value:.2f}" for value in parameters),
    ),
    "offsets": DecisionKind(
        summary="an offset for each class",
        metrics=frozenset({"macro_f1", "balanced_accuracy"}),
        on_labels=True,
        automatic=False,
        on_prior=False,
        fit=_fit_offsets,
        apply=_apply_offsets,
        describe=lambda parameters: f"{np.abs(parameters).max():.2f} at most",
    ),
}
