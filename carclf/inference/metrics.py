"""The evaluation of probabilities against labels: NumPy and SciPy only, so that any tool can use it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from carclf.errors import UserError
from carclf.forms.probabilities import SUM_TOLERANCE
from carclf.inference.audit import Audit
from carclf.inference.calibration import Calibration, calibrate
from carclf.inference.confusion import Confusion, count_confusion
from carclf.metrics import Metric, find_metric
from carclf.metrics.tallies import class_counts
from carclf.wording import counted

# Shown beside the accuracy: by its key in metrics.json.
FIGURES: dict[str, Metric] = {
    "top3_accuracy": find_metric("top-3"),
    "macro_f1": find_metric("macro_f1"),
    "log_loss": find_metric("log_loss"),
}
ACCURACY = find_metric("accuracy")
MISTAKES = 50
CONFUSED_PAIRS = 10
MATRIX_CLASSES = 200  # with more, nobody reads a matrix: pictures and pages have the most confused pairs instead
MANY_CONFUSED_PAIRS = 30  # of that many classes
Z_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


class ClassScore(NamedTuple):
    """The scores of one class: precision, recall and f1 in 0..1, 0 if undefined (as in scikit-learn)."""

    name: str
    photos: int
    precision: float
    recall: float
    f1: float


class ConfusedPair(NamedTuple):
    """The number of `photos` of class `true` that were predicted as class `predicted`."""

    true: str
    predicted: str
    photos: int


class Mistake(NamedTuple):
    """A wrongly predicted photo.

    Attributes:
      id: of the photo.
      true: the class of its label.
      predicted: the likeliest class.
      probability: of `predicted`, 0..1.
      likely_mislabel: whether the label is likely wrong (`carclf.inference.label_noise`).
    """

    id: str
    true: str
    predicted: str
    probability: float
    likely_mislabel: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """The figures of one set of predictions.

    Attributes:
      photos: number of photos.
      accuracy: fraction of photos with the label as likeliest class, 0..1.
      accuracy_low: lower end of its 95 % Wilson interval.
      accuracy_high: upper end.
      metrics: the value of each row of `FIGURES`, by its key.
      per_class: the scores of each class, in the order of the labels.
      confusion: the photos by true class and predicted class.
      most_confused: the largest off-diagonal counts, largest first.
      mistakes: all likely mislabels, then the other mistakes up to `MISTAKES`; the most confident first in each.
      calibration: the calibration of the probabilities.
      audit: the effect of the views and their mean against the clean view; None without views to audit.
      metric: the name of the metric that counts.
      score: its value.
    """

    photos: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    metrics: Mapping[str, float]
    per_class: tuple[ClassScore, ...]
    confusion: Confusion
    most_confused: tuple[ConfusedPair, ...]
    mistakes: tuple[Mistake, ...]
    calibration: Calibration
    audit: Audit | None = None
    metric: str = "accuracy"
    score: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as JSON-ready types, every field and every metric under its own name.

        With more than `MATRIX_CLASSES` classes `confusion` is None, and `confusion_cells` has [true, predicted, photos]
        for each cell with photos.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= values.pop("metrics")
        if self.confusion.class_count > MATRIX_CLASSES:
            values |= {"confusion": None, "confusion_cells": self.confusion.cells}
        else:
            values["confusion"] = self.confusion.matrix()
        return {name: _json_ready(value) for name, value in values.items()}

    def summary(self) -> str:
        """Returns accuracy, interval and photo count, such as '0.912 (95 % interval 0.88–0.94) on 400 photos'."""
        interval = f"{self.accuracy_low:.2f}–{self.accuracy_high:.2f}"
        return f"{self.accuracy:.3f} (95 % interval {interval}) on {counted(self.photos, 'photo')}"

    def headline(self) -> str:
        """Returns the metric that counts, such as 'Log loss 0.2510'; empty if that is the accuracy."""
        if self.metric == ACCURACY.name:
            return ""
        metric = find_metric(self.metric)
        return f"{metric.title} {metric.show(self.score)}"

    def details(self) -> str:
        """Returns further figures in a few lines."""
        pairs = [f"{pair.true} predicted as {pair.predicted} ({pair.photos})" for pair in self.most_confused[:3]]
        least = min((score for score in self.per_class if score.photos), key=lambda score: score.f1)
        calibration = self.calibration
        return "\n".join(
            [
                ", ".join(f"{FIGURES[name].title} {value:.3f}" for name, value in self.metrics.items()) + ".",
                f"Hardest class: {least.name} (precision {least.precision:.2f}, recall {least.recall:.2f} on "
                f"{least.photos} photos). Most confused: {', '.join(pairs) or 'none'}.",
                f"Calibration error {calibration.expected_error:.3f}; temperature {calibration.temperature:.2f} would "
                f"make it {calibration.expected_error_after:.3f}.",
            ]
        )


def _json_ready(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _json_ready(entry) for name, entry in value._asdict().items()}
    return [_json_ready(entry) for entry in value] if isinstance(value, tuple) else value


def evaluate(
    *,
    probabilities: np.ndarray,
    labels: np.ndarray,
    ids: Sequence[str],
    class_names: Sequence[str],
    metric: Metric = ACCURACY,
    audit: Audit | None = None,
    mislabelled: np.ndarray | None = None,
) -> Evaluation:
    """Returns the evaluation of predictions. Among equally likely classes the first counts as predicted.

    Args:
      probabilities: float [N, K], each row in 0..1 and summing to 1.
      labels: int [N], in 0..K-1.
      ids: N photo ids.
      class_names: K names.
      metric: the one that counts.
      audit: of the views in the predictions' mean.
      mislabelled: bool [N], true if the label is likely wrong (`carclf.inference.label_noise`); None means no label.

    Raises:
      UserError: there is no photo, or a probability is not finite.
      ValueError: the shapes disagree, a label is out of range, or a row is not a distribution.
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    _check(probabilities, labels, ids, class_names)
    photos = len(probabilities)
    labels = labels.astype(np.int64)
    predicted = probabilities.argmax(axis=1)
    confusion = count_confusion(predicted, labels, class_count=len(class_names))
    correct = int((predicted == labels).sum())
    low, high = wilson_interval(correct, photos)
    return Evaluation(
        photos=photos,
        accuracy=correct / photos,
        accuracy_low=low,
        accuracy_high=high,
        metrics={name: figure.compute(probabilities, labels) for name, figure in FIGURES.items()},
        per_class=_class_scores(predicted, labels, class_names),
        confusion=confusion,
        most_confused=_most_confused(confusion, class_names),
        mistakes=_mistakes(
            probabilities,
            labels,
            predicted,
            ids=ids,
            class_names=class_names,
            mislabelled=np.zeros(photos, bool) if mislabelled is None else mislabelled,
        ),
        calibration=calibrate(probabilities, labels),
        audit=audit,
        metric=metric.name,
        score=correct / photos if metric is ACCURACY else metric.compute(probabilities, labels),
    )


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Returns the 95 % interval (low, high) of the fraction `correct` / `total`; it always lies within 0..1.

    Raises:
      ValueError: `total` is below 1, or `correct` is not in 0..total.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).
    """
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"Must be 0 <= correct <= total and total >= 1. Received: {correct} of {total}")
    fraction, weight = correct / total, Z_95**2 / total
    centre = (fraction + weight / 2) / (1 + weight)
    reach = math.sqrt(fraction * (1 - fraction) * weight + weight**2 / 4) / (1 + weight)
    # The extreme ends are exact; rounding could leave them 1e-17 on the wrong side.
    return (0.0 if correct == 0 else centre - reach), (1.0 if correct == total else centre + reach)


def _check(probabilities: np.ndarray, labels: np.ndarray, ids: Sequence[str], class_names: Sequence[str]) -> None:
    photos, classes = len(ids), len(class_names)
    if probabilities.shape != (photos, classes) or labels.shape != (photos,):
        raise ValueError(
            f"{photos} ids and {classes} classes need probabilities [{photos}, {classes}] and labels [{photos}]. "
            f"Received: probabilities {list(probabilities.shape)}, labels {list(labels.shape)}."
        )
    if not photos:
        raise ValueError("There must be a photo to evaluate. Received: none.")
    broken = ~np.isfinite(probabilities).all(axis=1)
    if broken.any():
        first = ids[int(np.argmax(broken))]
        raise UserError(
            f"{int(broken.sum())} of {photos} photos have probabilities that are not finite, {first} first: train "
            "the run again with --overwrite and a lower --learning_rate, --clip_norm=1 or --precision=float32."
        )
    uneven = (probabilities < 0).any(axis=1) | (abs(probabilities.sum(axis=1) - 1) > SUM_TOLERANCE)
    if uneven.any():
        row = int(np.argmax(uneven))
        raise ValueError(
            f"Each row must be probabilities that sum to 1. Received: {probabilities[row]} for {ids[row]}."
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"Labels must be integers in 0..{classes - 1}. Received: {np.unique(labels)}.")


def _class_scores(predicted: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> tuple[ClassScore, ...]:
    photos, answers, hits = class_counts(predicted, labels, len(class_names))
    precision = hits / np.maximum(answers, 1)
    recall = hits / np.maximum(photos, 1)
    f1 = 2 * hits / np.maximum(photos + answers, 1)
    return tuple(
        ClassScore(name, int(photos[k]), float(precision[k]), float(recall[k]), float(f1[k]))
        for k, name in enumerate(class_names)
    )


def _most_confused(confusion: Confusion, class_names: Sequence[str]) -> tuple[ConfusedPair, ...]:
    shown = CONFUSED_PAIRS if len(class_names) <= MATRIX_CLASSES else MANY_CONFUSED_PAIRS
    cells = confusion.mistaken(shown).tolist()
    return tuple(ConfusedPair(class_names[true], class_names[other], photos) for true, other, photos in cells)


def _mistakes(
    probabilities: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    *,
    ids: Sequence[str],
    class_names: Sequence[str],
    mislabelled: np.ndarray,
) -> tuple[Mistake, ...]:
    wrong = np.flatnonzero(predicted != labels)
    confidence, likely = probabilities[wrong, predicted[wrong]], mislabelled[wrong]
    order = np.lexsort((-confidence, ~likely))[: max(MISTAKES, int(likely.sum()))]
    return tuple(
        Mistake(ids[row], class_names[labels[row]], class_names[predicted[row]], float(probability), bool(is_likely))
        for row, probability, is_likely in zip(wrong[order], confidence[order], likely[order], strict=True)
    )
