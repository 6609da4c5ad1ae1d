"""From shards to batches of canvases and small arrays for Render: the host only decodes JPEGs and draws numbers."""

import functools
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from carclf.data.batches import ONE_HOST, HostSlice, augmented_shapes, label_targets
from carclf.data.cache import DecodedCache
from carclf.data.index import list_row, photo_weights, read_index, select
from carclf.data.loaded_batches import batch_numbers, entries_at, loaded_batches, open_loader, padded_indices
from carclf.data.manifest import PSEUDO, Manifest, Shard
from carclf.data.order import epoch_order
from carclf.framing import Framing
from carclf.recipe import Recipe, mix_targets

DRAWN_BATCHES = 32
DRAWN_TARGETS = 1 << 22  # numbers in the targets of batches that are drawn at once, unless a single batch has more


def training_batches(
    *,
    manifest: Manifest,
    folds: Iterable[int],
    framing: Framing,
    recipe: Recipe,
    batch_size: int,
    epochs: int | None,
    seed: int,
    start_step: int = 0,
    steps_per_epoch: int | None = None,
    label_smoothing: float = 0.0,
    class_weights: np.ndarray | None = None,
    strength: float = 1.0,
    cache: DecodedCache | None = None,
    host_slice: HostSlice = ONE_HOST,
) -> tf.data.Dataset:
    """Returns full, shuffled, augmented batches of `epochs` epochs, the same on any machine: (inputs, target, weight).

    inputs: canvas uint8 [B, Y, X, 3]; extent float32 [B, 2] pixels; geometry float32 [B, 3, 3]; colour float32
    [B, 3, 4]; mix float32 [B, 5]; erase float32 [B, 7]. target float32 [B, K] sums to 1; weight float32 [B].
    Order and draws depend only on (seed, epoch) and the shards. External photos (split 'extra') and test photos with
    pseudo-labels are always included.

    Args:
      manifest: the data set.
      folds: the training folds to read.
      framing: image size and fit.
      recipe: the augmentation.
      batch_size: photos per batch, on all replicas together.
      epochs: the epoch to stop before, counted from 0. None never stops: each iteration from the beginning gives the
        batches of the next epoch.
      seed: of order and draws.
      start_step: the first step, counted from the start of epoch 0; earlier photos are neither read nor decoded. If
        epochs never stop, it is the first step of an epoch.
      steps_per_epoch: batches per epoch; None means all full batches.
      label_smoothing: fraction of the target spread evenly over the classes, in [0, 1).
      class_weights: float [K]; a photo's weight is Σ target·class_weight, times its confidence if it has a
        pseudo-label. None means 1 for every class.
      strength: of the augmentation, 0..1; 0 is none.
      cache: of decoded photos; None decodes again every epoch.
      host_slice: the slice of each batch to read; B is then smaller by the number of hosts.
    """
    shards = training_shards(manifest, folds)
    loader, entries = open_loader(manifest, shards, framing=framing, cache=cache, hosts=host_slice.hosts)
    confidences = photo_weights(manifest, entries)
    per_epoch = steps_per_epoch or len(entries) // batch_size
    weights = np.ones(manifest.class_count, np.float32) if class_weights is None else class_weights
    slice_size = batch_size // host_slice.hosts
    block_steps = _block_steps(slice_size, manifest.class_count)

    @functools.lru_cache(maxsize=2)  # batches of two epochs may be in progress together
    def order(epoch: int) -> np.ndarray:
        indices = epoch_order(entries["shard"], seed=seed, epoch=epoch)
        return host_slice.of(indices[: per_epoch * batch_size].reshape(per_epoch, batch_size))

    @functools.lru_cache(maxsize=4)
    def drawn(epoch: int, block: int) -> tuple[np.ndarray, ...]:
        indices = order(epoch)[block * block_steps : (block + 1) * block_steps].ravel()
        return _drawn(
            entries[indices],
            extent=loader.extents[indices],
            recipe=recipe,
            framing=framing,
            seed=seed,
            epoch=epoch,
            label_smoothing=label_smoothing,
            class_weights=weights,
            confidences=confidences[indices],
            strength=strength,
        )

    def indices_of(step: int) -> np.ndarray:
        epoch, number = divmod(step, per_epoch)
        return order(epoch)[number]

    def draws_of(step: int, indices: np.ndarray, extent: np.ndarray) -> Iterable[np.ndarray]:
        epoch, number = divmod(step, per_epoch)
        block, offset = divmod(number, block_steps)
        mine = slice(offset * slice_size, (offset + 1) * slice_size)
        return (array[mine] for array in drawn(epoch, block))

    shapes = augmented_shapes(slice_size, loader.canvas_size, manifest.class_count)
    if epochs is None:
        steps = _steps_by_turns(per_epoch, first_epoch=start_step // per_epoch)
    else:
        steps = tf.data.Dataset.range(start_step, max(epochs * per_epoch, start_step))
    batches = loaded_batches(steps, loader, indices_of, draws_of, shapes, batch_size=slice_size)
    return batches.map(_inputs_target_weight)


def _block_steps(batch_size: int, class_count: int) -> int:
    """Returns how many batches are drawn at once: many, because NumPy's calls cost more than their arithmetic."""
    if batch_size % 2:  # several would split pairs
        return 1
    return min(DRAWN_BATCHES, max(1, DRAWN_TARGETS // (batch_size * class_count)))


def _steps_by_turns(per_epoch: int, *, first_epoch: int) -> tf.data.Dataset:
    """Returns the steps of one epoch, int64 []: the first iteration gives `first_epoch`, each later one the next."""
    epochs = itertools.count(first_epoch)

    def steps(_: tf.Tensor) -> tf.data.Dataset:
        epoch = tf.ensure_shape(tf.numpy_function(lambda: np.int64(next(epochs)), [], tf.int64), ())
        return tf.data.Dataset.range(epoch * per_epoch, (epoch + 1) * per_epoch)

    return tf.data.Dataset.range(1).flat_map(steps).apply(tf.data.experimental.assert_cardinality(per_epoch))


def training_shards(manifest: Manifest, folds: Iterable[int]) -> list[Shard]:
    """Returns the shards to train on: those of the folds, then the external ones, then those with pseudo-labels."""
    return [*manifest.shards_of("train", folds=folds), *manifest.shards_of("extra"), *manifest.shards_of(PSEUDO)]


def photos_per_class(manifest: Manifest, folds: Iterable[int]) -> np.ndarray:
    """Returns the number of photos of each class to train on, int64 [K]."""
    index = read_index(manifest)
    labels = index[select(manifest, index, training_shards(manifest, folds))]["label"]
    return np.bincount(labels, minlength=manifest.class_count)


def training_rows(
    *, manifest: Manifest, folds: Iterable[int], batch_size: int, seed: int, step: int, steps_per_epoch: int
) -> dict[str, list[int]]:
    """Returns the rows of the photos in the batch of one step, in the lists of Ids 'train' and 'test'.

    Only photos with pseudo-labels are in 'test'. The arguments are those of `training_batches`.
    """
    index = read_index(manifest)
    entries = index[select(manifest, index, training_shards(manifest, folds))]
    epoch, number = divmod(step, steps_per_epoch)
    indices = epoch_order(entries["shard"], seed=seed, epoch=epoch)[number * batch_size : (number + 1) * batch_size]
    found: dict[str, list[int]] = {"train": [], "test": []}
    for entry in entries[indices]:
        split, row = list_row(manifest, entry)
        found[split].append(row)
    return found


def validation_batches(
    *,
    manifest: Manifest,
    folds: Iterable[int],
    framing: Framing,
    batch_size: int,
    recipe: Recipe,
    cache: DecodedCache | None = None,
    host_slice: HostSlice = ONE_HOST,
) -> tf.data.Dataset:
    """Returns every photo of `folds` once, in shard order: (inputs, target, weight) as in `training_batches`.

    Nothing is shuffled. The last batch is padded with empty photos of weight 0, so no photo is lost and no shape
    changes. `recipe` is the identity (`parse_recipe("")`), except to validate with augmentation.
    """
    shards = manifest.shards_of("train", folds=folds)
    return ordered_batches(
        manifest=manifest,
        shards=shards,
        framing=framing,
        batch_size=batch_size,
        recipe=recipe,
        cache=cache,
        host_slice=host_slice,
    )


def ordered_batches(
    *,
    manifest: Manifest,
    shards: Sequence[Shard],
    framing: Framing,
    batch_size: int,
    recipe: Recipe,
    seed: int = 0,
    epoch: int = 0,
    cache: DecodedCache | None = None,
    host_slice: HostSlice = ONE_HOST,
    first: int = 0,
    count: int = -1,
) -> tf.data.Dataset:
    """Returns every photo of `shards` once, in their order, drawn as in `epoch`; see `validation_batches`.

    With `first` and `count` it returns that many of these batches from that number on; −1 is all of the rest.
    """
    loader, entries = open_loader(manifest, shards, framing=framing, cache=cache, hosts=host_slice.hosts)

    def indices_of(number: int) -> np.ndarray:
        return host_slice.of(padded_indices(number, batch_size=batch_size, photos=len(entries)))

    def draws_of(number: int, indices: np.ndarray, extent: np.ndarray) -> Iterable[np.ndarray]:
        return _drawn(
            entries_at(entries, indices),
            extent=extent,
            recipe=recipe,
            framing=framing,
            seed=seed,
            epoch=epoch,
            label_smoothing=0.0,
            class_weights=np.ones(manifest.class_count, np.float32),
        )

    slice_size = batch_size // host_slice.hosts
    shapes = augmented_shapes(slice_size, loader.canvas_size, manifest.class_count)
    numbers = batch_numbers(entries, batch_size).skip(first).take(count)
    batches = loaded_batches(numbers, loader, indices_of, draws_of, shapes, batch_size=slice_size)
    return batches.map(_inputs_target_weight)


def _drawn(
    entries: np.ndarray,
    *,
    extent: np.ndarray,
    recipe: Recipe,
    framing: Framing,
    seed: int,
    epoch: int,
    label_smoothing: float,
    class_weights: np.ndarray,
    confidences: np.ndarray | None = None,
    strength: float = 1.0,
) -> tuple[np.ndarray, ...]:
    """Returns the arrays of `augmented_shapes` from geometry on; if the recipe mixes, photos must come in pairs."""
    row = entries["row"]
    draws = recipe.draw(
        seed=seed,
        epoch=epoch,
        row=row,
        extent=extent,
        image_size=framing.image_size,
        fit=framing.fit,
        strength=strength,
    )
    target = label_targets(entries["label"], class_count=len(class_weights), label_smoothing=label_smoothing)
    counted = target if confidences is None else target * confidences[:, None]
    if recipe.mixes:
        target, counted = mix_targets(target, draws.mix), mix_targets(counted, draws.mix)
    weight = np.where(row >= 0, counted @ class_weights, 0).astype(np.float32)
    return draws.geometry, draws.colour, draws.mix, draws.erase, target, weight


def _inputs_target_weight(batch: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    target, weight = batch.pop("target"), batch.pop("weight")
    return batch, target, weight
