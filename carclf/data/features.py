"""Batches of stored features: a frozen backbone's output for every photo, in each of a few draws."""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from carclf.data.batches import label_targets, numbered_batches
from carclf.data.index import read_index, select
from carclf.data.manifest import Manifest, Shard
from carclf.data.order import epoch_order


def feature_batches(
    features: Sequence[np.ndarray],
    *,
    manifest: Manifest,
    shards: Sequence[Shard],
    batch_size: int,
    epochs: int,
    seed: int,
    start_step: int = 0,
    steps_per_epoch: int | None = None,
    label_smoothing: float = 0.0,
    class_weights: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Returns full, shuffled batches: (features float32 [B, D], target float32 [B, K], weight float32 [B]).

    Order, targets and weights equal those of `training_batches`; epoch e uses the draws `e % len(features)`.

    Args:
      features: float32 [N, D] per draw, of every photo of `shards` in their order.
      manifest: the data set.
      shards: the training shards.
      batch_size: photos per batch.
      epochs: the epoch to stop before, counted from 0.
      seed: of the order.
      start_step: the first step, counted from the start of epoch 0.
      steps_per_epoch: batches per epoch; None means all full batches.
      label_smoothing: as in `training_batches`.
      class_weights: as in `training_batches`.
    """
    index = read_index(manifest)
    entries = index[select(manifest, index, shards)]
    per_epoch = steps_per_epoch or len(entries) // batch_size
    weights = np.ones(manifest.class_count, np.float32) if class_weights is None else class_weights

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return epoch_order(entries["shard"], seed=seed, epoch=epoch)

    def batch(step: int) -> tuple[np.ndarray, ...]:
        epoch, number = divmod(step, per_epoch)
        indices = order(epoch)[number * batch_size : (number + 1) * batch_size]
        target = label_targets(
            entries["label"][indices], class_count=manifest.class_count, label_smoothing=label_smoothing
        )
        weight = (target @ weights).astype(np.float32)
        return np.asarray(features[epoch % len(features)][indices], np.float32), target, weight

    shapes = {
        "features": (tf.float32, (batch_size, features[0].shape[1])),
        "target": (tf.float32, (batch_size, manifest.class_count)),
        "weight": (tf.float32, (batch_size,)),
    }
    steps = tf.data.Dataset.range(start_step, max(epochs * per_epoch, start_step))
    return numbered_batches(steps, batch, shapes).map(lambda made: (made["features"], made["target"], made["weight"]))


def ordered_feature_batches(
    features: np.ndarray, *, manifest: Manifest, shards: Sequence[Shard], batch_size: int
) -> tf.data.Dataset:
    """Returns every photo once in the order of the shards, the last batch padded with zeros of weight 0."""
    index = read_index(manifest)
    labels = index[select(manifest, index, shards)]["label"]
    missing = -len(labels) % batch_size
    target = label_targets(np.pad(labels, (0, missing)), class_count=manifest.class_count)
    weight = np.pad(np.ones(len(labels), np.float32), (0, missing))
    padded = np.pad(features, ((0, missing), (0, 0)))
    return tf.data.Dataset.from_tensor_slices((padded, target, weight)).batch(batch_size, drop_remainder=True)
