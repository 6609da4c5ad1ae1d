"""Evaluates predictions of training photos."""

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from carclf.data.manifest import Manifest
from carclf.files import write_atomically
from carclf.inference.audit import Audit, audit_views
from carclf.inference.dataset_predictions import Predictions
from carclf.inference.label_noise import likely_mislabels
from carclf.inference.metrics import ACCURACY, Evaluation, evaluate
from carclf.metrics import Metric
from carclf.recipe import View

LABEL_PATCH = "label_patch"  # .csv, or .new.csv, .new2.csv and so on where others may have been edited


def evaluate_predictions(
    predictions: Predictions, manifest: Manifest, *, metric: Metric = ACCURACY, audit: Audit | None = None
) -> Evaluation:
    """Returns the evaluation of predicted training photos against the data set's labels, by the metric that counts.

    If the predictions kept several views, the mistakes tell which labels are likely wrong.
    """
    photos = manifest.read_ids("train").iloc[predictions.rows]
    labels = photos["label"].to_numpy(np.int64)
    return evaluate(
        probabilities=predictions.probabilities,
        labels=labels,
        mislabelled=likely_mislabels(predictions.probabilities, labels, view_scores=predictions.view_logits),
        ids=photos["id"].tolist(),
        class_names=manifest.class_names,
        metric=metric,
        audit=audit,
    )


def audit_predictions(
    predictions: Sequence[Predictions],
    manifest: Manifest,
    *,
    views: Sequence[View],
    run_weights: np.ndarray,
    tta_mean: str,
) -> Audit:
    """Returns the audit of predicted training photos; the predictions must have kept their views."""
    kept = [predicted.view_logits for predicted in predictions if predicted.view_logits is not None]
    labels = labels_of(predictions[0], manifest)
    return audit_views(kept, labels, views=views, run_weights=run_weights, tta_mean=tta_mean)


def labels_of(predictions: Predictions, manifest: Manifest) -> np.ndarray:
    """Returns int64 [N], the labels of predicted training photos."""
    return manifest.read_ids("train")["label"].to_numpy(np.int64)[predictions.rows]


def write_label_patch(directory: Path, evaluation: Evaluation, manifest: Manifest) -> Path:
    """Writes a CSV of likely mislabels and the most confident other mistakes, in which users can correct `class`.

    Returns its path.

    Unedited, it changes nothing: `class` is the current label, with the predicted one in the next column. The labels
    that the data set's own patch corrects follow the mistakes, so that training with the file keeps them. A file that
    somebody may have edited is kept; then the new one has another name.
    """
    rows: list[tuple[str, str, str, float | None, str]] = [
        (mistake.id, mistake.true, mistake.predicted, mistake.probability, "yes" if mistake.likely_mislabel else "no")
        for mistake in evaluation.mistakes
    ]
    listed = {mistake.id for mistake in evaluation.mistakes}
    rows += [(name, label, "", None, "no") for name, label in corrections(manifest).items() if name not in listed]
    buffer = io.StringIO()
    pd.DataFrame(rows, columns=["id", "class", "predicted", "probability", "likely_mislabel"]).to_csv(
        buffer, index=False, lineterminator="\n", float_format="%.4f"
    )
    content = buffer.getvalue().encode("utf-8", errors="surrogateescape")
    path = next(path for path in _patches(directory) if not path.exists() or _holds(path, content))
    write_atomically(path, content)
    return path


def corrections(manifest: Manifest) -> dict[str, str]:
    """Returns Id → class of the photos whose labels the data set's patch corrects, in the order of the photos."""
    if manifest.label_patch is None:
        return {}
    photos = manifest.read_ids("train").iloc[sorted(manifest.label_patch.labels)]
    return dict(zip(photos["id"], photos["class_name"], strict=True))


def _patches(directory: Path) -> Iterator[Path]:
    yield directory / f"{LABEL_PATCH}.csv"
    for number in itertools.count(1):
        yield directory / f"{LABEL_PATCH}.new{number if number > 1 else ''}.csv"


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
