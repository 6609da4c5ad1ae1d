"""Starts the head of a stage from a logistic regression on the features that the stage keeps."""

import keras
import numpy as np

from carclf.data.index import photo_weights, read_index, select
from carclf.model.head_start import start_head
from carclf.model.regression import FeatureSet, choose_c, fit_regression
from carclf.progress import Progress
from carclf.training.stage import Stage
from carclf.training.stage_data import StageFeatures


def start_from_regression(stage: Stage, classifier: keras.Model, features: StageFeatures) -> None:
    """Sets the classifier's head to a regression on the kept training features, and prints its C.

    C is chosen on one of the training folds, so that near-duplicates stay on one side.
    """
    photos, folds = _labelled(stage, features)
    with Progress("Fitting the regression that the head starts from"):
        c = choose_c(photos, held_out=folds == min(stage.train_folds, default=-1))
        regression = fit_regression(photos, c=c)
        with stage.device.scope():
            start_head(classifier, regression, photos)
    print(
        f"Head: starts from a regression on {photos.width} features of {len(photos.weight):,} photos, C = {c:g}.",
        flush=True,
    )


def _labelled(stage: Stage, features: StageFeatures) -> tuple[FeatureSet, np.ndarray]:
    """Returns the training photos with their labels and class weights, and the fold of each; -1 for those of none."""
    manifest, index = stage.manifest, read_index(stage.manifest)
    entries = index[select(manifest, index, features.train_shards)]
    labels, confidences = entries["label"], photo_weights(manifest, entries)
    folds = np.concatenate(
        [np.full(shard.count, -1 if shard.fold is None else shard.fold) for shard in features.train_shards]
    )
    views = [_pooled(view) for view in features.training]
    weight = (stage.class_weights[labels] * confidences).astype(np.float32)
    return FeatureSet(views, labels, manifest.class_count, weight), folds


def _pooled(features: np.ndarray) -> np.ndarray:
    """Returns [N, D]: what is kept, or the means of the feature maps [N, h, w, D] that are kept."""
    if features.ndim == 2:
        return features
    return np.stack([one.mean(axis=(0, 1), dtype=np.float32) for one in features])
