"""Predictions of training photos, scored."""

import numpy as np

from carclf.data.manifest import Manifest
from carclf.inference.metrics import Evaluation, evaluate
from carclf.inference.predictor import Predictions


def evaluate_predictions(predictions: Predictions, manifest: Manifest) -> Evaluation:
    """Scores predictions of training photos against the data set's labels."""
    photos = manifest.read_ids("train").iloc[predictions.rows]
    return evaluate(
        probabilities=predictions.probabilities,
        labels=photos["label"].to_numpy(np.int64),
        ids=photos["id"].tolist(),
        class_names=manifest.class_names,
    )
