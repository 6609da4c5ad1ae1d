"""A run's predictions on its held-out fold, scored."""

from collections.abc import Sequence

import numpy as np

from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.inference.metrics import Evaluation, evaluate
from carclf.inference.predictor import Predictions
from carclf.runs import Run


def held_out_fold(loaded: Sequence[Run], manifest: Manifest) -> int:
    """The validation fold that all runs share.

    Raises:
      UserError: they do not share one, or were trained on another split than this data set's.
    """
    first = loaded[0]
    for run in loaded:
        if run.data_fingerprint != manifest.fingerprint:
            raise UserError(
                f"The run {run.directory} was trained on data {run.data_fingerprint[:12]} and {manifest.directory} is "
                f"{manifest.fingerprint[:12]}, whose folds may hold photos it has seen: evaluate on its own data set "
                f"({run.stage['data']['directory']})."
            )
        if run.options.val_fold != first.options.val_fold:
            raise UserError(
                f"The run {first.directory} held out fold {first.options.val_fold} and {run.directory} fold "
                f"{run.options.val_fold}: no photos are unseen by both, so evaluate them one by one."
            )
    return first.options.val_fold


def evaluate_predictions(predictions: Predictions, manifest: Manifest) -> Evaluation:
    """Scores predictions of training photos against the data set's labels."""
    photos = manifest.read_ids("train").iloc[predictions.rows]
    return evaluate(
        probabilities=predictions.probabilities,
        labels=photos["label"].to_numpy(np.int64),
        ids=photos["id"].tolist(),
        class_names=manifest.class_names,
    )
