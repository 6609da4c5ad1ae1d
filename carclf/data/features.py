"""Batches of stored features: a frozen backbone's output for every photo, in each of a few draws."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from carclf.data.batches import label_targets, numbered_batches
from carclf.data.index import photo_weights, read_index, select
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
    """Returns full, shuffled batches: (features float32 [B, …], target float32 [B, K], weight float32 [B]).

    Order, targets and weights equal those of `training_batches`; epoch e uses the draws `e % len(features)`.

    Args:
      features: [N, …] per draw, of every photo of `shards` in their order.
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
    confidences = photo_weights(manifest, entries)
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
        weight = ((target * confidences[indices, None]) @ weights).astype(np.float32)
        return np.asarray(features[epoch % len(features)][indices], np.float32), target, weight

    steps = tf.data.Dataset.range(start_step, max(epochs * per_epoch, start_step))
    return _batches(steps, batch, shape=features[0].shape[1:], size=batch_size, class_count=manifest.class_count)


def ordered_feature_batches(
    features: np.ndarray, *, manifest: Manifest, shards: Sequence[Shard], batch_size: int
) -> tf.data.Dataset:
    """Returns every photo once in the order of the shards: (features float32 [B, …], target and weight as in training).

    The last batch is padded with zeros of weight 0.

    Args:
      features: float [N, …], of every photo of `shards` in their order.
      manifest: the data set.
      shards: of the validation photos.
      batch_size: photos per batch.
    """
    index = read_index(manifest)
    labels = index[select(manifest, index, shards)]["label"]

    def batch(number: int) -> tuple[np.ndarray, ...]:
        rows = slice(number * batch_size, (number + 1) * batch_size)
        own = labels[rows]
        missing = batch_size - len(own)
        target = label_targets(np.pad(own, (0, missing)), class_count=manifest.class_count)
        weight = np.pad(np.ones(len(own), np.float32), (0, missing))
        padded = np.zeros((batch_size, *features.shape[1:]), np.float32)
        padded[: len(own)] = features[rows]
        return padded, target, weight

    numbers = tf.data.Dataset.range(-(-len(labels) // batch_size))
    return _batches(numbers, batch, shape=features.shape[1:], size=batch_size, class_count=manifest.class_count)


def _batches(
    numbers: tf.data.Dataset,
    batch: Callable[[int], tuple[np.ndarray, ...]],
    *,
    shape: tuple[int, ...],
    size: int,
    class_count: int,
) -> tf.data.Dataset:
    shapes = {
        "features": (tf.float32, (size, *shape)),
        "target": (tf.float32, (size, class_count)),
        "weight": (tf.float32, (size,)),
    }
    return numbered_batches(numbers, batch, shapes).map(lambda made: (made["features"], made["target"], made["weight"]))
