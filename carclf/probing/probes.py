"""Logistic regressions on kept features: each photo is evaluated by one that has not seen its fold."""

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np

from carclf.inference.ensemble import softmax
from carclf.inference.ranking import RankedRow, ranked_row
from carclf.metrics import Metric
from carclf.model.regression import BLOCK_ROWS, FeatureSet, Regression, choose_c, fit_regression
from carclf.probing.extractors import Extractor
from carclf.probing.kept import KeptFeatures
from carclf.probing.photos import TrainingPhotos
from carclf.progress import Progress


@dataclasses.dataclass(frozen=True, eq=False)
class Probe:
    """An extractor with a regression for each fold.

    Attributes:
      extractor: the backbone.
      regressions: by fold, each fitted without it.
      probabilities: float32 [N, K], of each photo by the regression without its fold, mean over the views; NaN for
        external photos.
      undrawn: the same of the undrawn view alone.
      seconds: of features and regressions.
      images_per_second: of computing the features.
    """

    extractor: Extractor
    regressions: Mapping[int, Regression]
    probabilities: np.ndarray
    undrawn: np.ndarray
    seconds: float
    images_per_second: float


def fit_probe(extractor: Extractor, features: KeptFeatures, photos: TrainingPhotos) -> Probe:
    """Returns the probe of an extractor."""
    started = time.perf_counter()
    known = labelled(features, photos)
    folds = sorted(set(photos.folds[photos.evaluated].tolist()))
    probabilities, undrawn = (np.full((len(known.labels), known.class_count), np.nan, np.float32) for _ in range(2))
    regressions = {}
    with Progress(f"Regressions on {extractor.name}", total=len(folds), unit="folds") as progress:
        for fold in folds:
            regressions[fold] = _without(fold, known, photos)
            rows = np.flatnonzero(photos.folds == fold)
            for start in range(0, len(rows), BLOCK_ROWS):
                block = rows[start : start + BLOCK_ROWS]
                each = [softmax(regressions[fold].logits(view[block])) for view in features.views]
                probabilities[block], undrawn[block] = np.mean(each, axis=0), each[0]
            progress.add()
    return Probe(
        extractor=extractor,
        regressions=regressions,
        probabilities=probabilities,
        undrawn=undrawn,
        seconds=features.seconds + time.perf_counter() - started,
        images_per_second=features.images_per_second,
    )


def labelled(features: KeptFeatures, photos: TrainingPhotos) -> FeatureSet:
    """Returns the photos with their features and labels, each counting 1."""
    return FeatureSet(features.views, photos.labels, photos.class_count, np.ones(len(photos.labels), np.float32))


def _without(fold: int, known: FeatureSet, photos: TrainingPhotos) -> Regression:
    """Returns the regression fitted without a fold; its C is chosen on one of the other folds."""
    others = photos.folds != fold
    trained, their_folds = known.rows(others), photos.folds[others]
    if len(trained.weight) != len(their_folds):  # the features were not copied
        their_folds = np.where(others, photos.folds, -1)
    inner = min((other for other in set(their_folds.tolist()) if other >= 0), default=-1)
    return fit_regression(trained, c=choose_c(trained, held_out=their_folds == inner))


def score(probabilities: np.ndarray, photos: TrainingPhotos, metric: Metric) -> float:
    """Returns the metric of the evaluated photos, given probabilities float [N, K] of all photos."""
    return metric.compute(probabilities[photos.evaluated], photos.labels[photos.evaluated])


def row_of(probes: Sequence[Probe], photos: TrainingPhotos, metric: Metric) -> RankedRow:
    """Returns the figures of a probe, or of the mean of several."""
    return ranked_row(
        [probe.extractor.name for probe in probes],
        probabilities=mean_of(probes)[photos.evaluated],
        labels=photos.labels[photos.evaluated],
        metric=metric,
        seconds=sum(probe.seconds for probe in probes),
        images_per_second=1 / sum(1 / probe.images_per_second for probe in probes),
    )


def ranked(probes: Sequence[Probe], photos: TrainingPhotos, metric: Metric) -> list[Probe]:
    """Returns the probes, the best first."""
    return sorted(probes, key=lambda probe: metric.rank(score(probe.probabilities, photos, metric)), reverse=True)


def greedy_ensemble(probes: Sequence[Probe], photos: TrainingPhotos, metric: Metric) -> list[Probe]:
    """Returns the best probe, and those that each raise the metric of the mean most, until none raises it.

    It chooses by the photos that it is evaluated on, so its metric is somewhat too good.

    Source: Caruana et al. 2004, "Ensemble Selection from Libraries of Models", without repetition.
    """
    chosen: list[Probe] = []
    best = float("-inf")
    while left := [probe for probe in probes if probe not in chosen]:
        ranks = {
            number: metric.rank(score(mean_of([*chosen, probe]), photos, metric)) for number, probe in enumerate(left)
        }
        number = max(ranks, key=lambda number: ranks[number])
        if ranks[number] <= best:
            break
        chosen.append(left[number])
        best = ranks[number]
    return chosen


def mean_of(probes: Sequence[Probe]) -> np.ndarray:
    """Returns the mean of the probes' probabilities, float32 [N, K]."""
    total = probes[0].probabilities.copy()
    for probe in probes[1:]:
        total += probe.probabilities
    total /= len(probes)
    return total


def missed_by_all(probes: Sequence[Probe], photos: TrainingPhotos) -> np.ndarray:
    """Returns int64 [n]: rows of photos that no probe gets right, the most confident in the probes' mean first."""
    right = [probe.probabilities.argmax(axis=1) == photos.labels for probe in probes]
    rows = np.flatnonzero(photos.evaluated & ~np.any(right, axis=0))
    return rows[np.argsort(-mean_of(probes)[rows].max(axis=1), kind="stable")]
