"""From shards to batches of canvases and small arrays for Render: the host only decodes JPEGs and draws numbers."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from carclf.data.batches import (
    DRAW_SHAPES,
    ONE_HOST,
    HostSlice,
    announced,
    augmented_shapes,
    canvas_shapes,
    label_targets,
    numbered_batches,
)
from carclf.data.cache import DecodedCache
from carclf.data.decoder import decode_sizes
from carclf.data.index import photo_sizes, photo_weights, read_index, select
from carclf.data.loader import PhotoLoader
from carclf.data.manifest import PSEUDO, Manifest, Shard
from carclf.data.order import epoch_order
from carclf.data.read_ahead import PHOTOS_AHEAD
from carclf.framing import Framing
from carclf.recipe import Recipe, View, mix_targets

DRAWN_BATCHES = 32


@dataclasses.dataclass(frozen=True)
class ViewSet:
    """Views of one size.

    Attributes:
      views: at least one.
      framing: of their photos.
      seed: of random views.
    """

    views: tuple[View, ...]
    framing: Framing
    seed: int

    def draw(self, *, row: np.ndarray, extent: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the draws of B photos in V views, float32 [B, V, …], by the names of `DRAW_SHAPES`.

        Args:
          row: int [B]; −1 is padding.
          extent: float32 [B, 2], (height, width) of the photos in pixels.
        """
        drawn = [
            view.draw(seed=self.seed, row=row, extent=extent, image_size=self.framing.image_size, fit=self.framing.fit)
            for view in self.views
        ]
        return {name: np.stack([getattr(draws, name) for draws in drawn], axis=1) for name in DRAW_SHAPES}


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
    loader, entries = _loader(manifest, shards, framing=framing, cache=cache)
    confidences = photo_weights(manifest, entries)
    per_epoch = steps_per_epoch or len(entries) // batch_size
    weights = np.ones(manifest.class_count, np.float32) if class_weights is None else class_weights
    # Draws many batches at once, because NumPy's calls cost more than their arithmetic; an odd batch would split pairs.
    slice_size = batch_size // host_slice.hosts
    block_steps = 1 if slice_size % 2 else DRAWN_BATCHES

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

    def batch(step: int) -> tuple[np.ndarray, ...]:
        epoch, number = divmod(step, per_epoch)
        block, offset = divmod(number, block_steps)
        mine = slice(offset * slice_size, (offset + 1) * slice_size)
        return *loader.load(indices_of(step)), *(array[mine] for array in drawn(epoch, block))

    shapes = augmented_shapes(slice_size, loader.canvas_size, manifest.class_count)
    if epochs is None:
        steps = _steps_by_turns(per_epoch, first_epoch=start_step // per_epoch)
    else:
        steps = tf.data.Dataset.range(start_step, max(epochs * per_epoch, start_step))
    steps = _read_ahead(steps, loader, indices_of, batch_size=slice_size)
    return numbered_batches(steps, batch, shapes).map(_inputs_target_weight)


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


def class_counts(manifest: Manifest, folds: Iterable[int]) -> np.ndarray:
    """Returns the number of photos of each class to train on, int64 [K]."""
    index = read_index(manifest)
    labels = index[select(manifest, index, training_shards(manifest, folds))]["label"]
    return np.bincount(labels, minlength=manifest.class_count)


def training_rows(
    *, manifest: Manifest, folds: Iterable[int], batch_size: int, seed: int, step: int, steps_per_epoch: int
) -> list[int]:
    """Returns the rows of the photos in the batch of one step, with the arguments of `training_batches`."""
    index = read_index(manifest)
    entries = index[select(manifest, index, training_shards(manifest, folds))]
    epoch, number = divmod(step, steps_per_epoch)
    indices = epoch_order(entries["shard"], seed=seed, epoch=epoch)[number * batch_size : (number + 1) * batch_size]
    return [int(row) for row in entries["row"][indices]]


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
    loader, entries = _loader(manifest, shards, framing=framing, cache=cache)

    def indices_of(number: int) -> np.ndarray:
        return host_slice.of(_padded(number, batch_size=batch_size, photos=len(entries)))

    def batch(number: int) -> tuple[np.ndarray, ...]:
        indices = indices_of(number)
        canvas, extent = loader.load(indices)
        drawn = _drawn(
            _entries(entries, indices),
            extent=extent,
            recipe=recipe,
            framing=framing,
            seed=seed,
            epoch=epoch,
            label_smoothing=0.0,
            class_weights=np.ones(manifest.class_count, np.float32),
        )
        return canvas, extent, *drawn

    shapes = augmented_shapes(batch_size // host_slice.hosts, loader.canvas_size, manifest.class_count)
    numbers = _numbers(entries, batch_size).skip(first).take(count)
    numbers = _read_ahead(numbers, loader, indices_of, batch_size=batch_size // host_slice.hosts)
    return numbered_batches(numbers, batch, shapes).map(_inputs_target_weight)


def view_batches(
    *,
    manifest: Manifest,
    split: str,
    folds: Iterable[int] | None = None,
    batch_size: int,
    view_sets: Sequence[ViewSet],
) -> tf.data.Dataset:
    """Returns every photo of a split once, in shard order, with the draws of all views; padding has row −1.

    canvas uint8 [B, Y, X, 3]; extent float32 [B, 2] pixels; row int32 [B]; draws, a tuple with a mapping per view set
    of V views: geometry [B, V, 3, 3], colour [B, V, 3, 4], mix [B, V, 5], erase [B, V, 7], all float32.

    Args:
      manifest: the data set.
      split: 'train' or 'test'.
      folds: the folds of the training split to read; None means all.
      batch_size: photos per batch, on all replicas together.
      view_sets: the views to draw for each photo; the photos are decoded for the first one's framing.
    """
    loader, entries = _loader(
        manifest, manifest.shards_of(split, folds=folds), framing=view_sets[0].framing, cache=None
    )

    def indices_of(number: int) -> np.ndarray:
        return _padded(number, batch_size=batch_size, photos=len(entries))

    def batch(number: int) -> tuple[np.ndarray, ...]:
        indices = indices_of(number)
        canvas, extent = loader.load(indices)
        row = _entries(entries, indices)["row"]
        drawn = [views.draw(row=row, extent=extent) for views in view_sets]
        return canvas, extent, row, *(draws[name] for draws in drawn for name in DRAW_SHAPES)

    shapes = canvas_shapes(batch_size, loader.canvas_size) | {"row": (tf.int32, (batch_size,))}
    for number, views in enumerate(view_sets):
        drawn = {name: (batch_size, len(views.views), *shape) for name, shape in DRAW_SHAPES.items()}
        shapes |= {f"{number} {name}": (tf.float32, shape) for name, shape in drawn.items()}

    def with_draws(arrays: dict[str, tf.Tensor]) -> dict[str, Any]:
        draws = [{name: arrays[f"{number} {name}"] for name in DRAW_SHAPES} for number in range(len(view_sets))]
        return {name: arrays[name] for name in ("canvas", "extent", "row")} | {"draws": tuple(draws)}

    numbers = _read_ahead(_numbers(entries, batch_size), loader, indices_of, batch_size=batch_size)
    return numbered_batches(numbers, batch, shapes).map(with_draws)


def prediction_batches(
    *,
    manifest: Manifest,
    split: str,
    folds: Iterable[int] | None = None,
    framing: Framing,
    batch_size: int,
    view: View,
    seed: int,
) -> tf.data.Dataset:
    """Returns every photo of a split once in one view, in the order of the rows: inputs as in `training_batches`.

    There is no padding: the last batch is smaller.

    Args:
      manifest: the data set.
      split: 'train' or 'test'.
      folds: the folds of the training split to read; None is all.
      framing: image size and fit.
      batch_size: photos per batch.
      view: of each photo.
      seed: of a view that draws.
    """
    shards = manifest.shards_of(split, folds=folds)
    loader, entries = _loader(manifest, shards, framing=framing, cache=None)
    order = np.argsort(entries["row"])

    def indices_of(number: int) -> np.ndarray:
        return order[number * batch_size : (number + 1) * batch_size]

    def batch(number: int) -> tuple[np.ndarray, ...]:
        indices = indices_of(number)
        canvas, extent = loader.load(indices)
        draws = view.draw(
            seed=seed, row=entries["row"][indices], extent=extent, image_size=framing.image_size, fit=framing.fit
        )
        return canvas, extent, draws.geometry, draws.colour, draws.mix, draws.erase

    shapes = canvas_shapes(None, loader.canvas_size)
    shapes |= {name: (tf.float32, (None, *shape)) for name, shape in DRAW_SHAPES.items()}
    numbers = _read_ahead(_numbers(entries, batch_size), loader, indices_of, batch_size=batch_size)
    return numbered_batches(numbers, batch, shapes)


def _loader(
    manifest: Manifest, shards: Sequence[Shard], *, framing: Framing, cache: DecodedCache | None
) -> tuple[PhotoLoader, np.ndarray]:
    """Returns a loader of the photos of `shards`, and their entries of the index."""
    index = read_index(manifest)
    numbers = select(manifest, index, shards)
    entries, sizes = index[numbers], decode_sizes(photo_sizes(index), framing=framing)
    return PhotoLoader(manifest, entries, numbers=numbers, sizes=sizes, cache=cache), entries


def _read_ahead(
    numbers: tf.data.Dataset, loader: PhotoLoader, indices_of: Callable[[int], np.ndarray], *, batch_size: int
) -> tf.data.Dataset:
    """Returns the numbers of batches, whose photos are read from an object store some batches ahead.

    Args:
      numbers: of the batches, int64 [].
      loader: of the photos.
      indices_of: returns the indices of a batch, as `PhotoLoader.load` takes them.
      batch_size: photos per batch.
    """
    if not loader.reads_ahead:
        return numbers
    return announced(
        numbers, lambda number: loader.announce(indices_of(number)), ahead=max(2, -(-PHOTOS_AHEAD // batch_size))
    )


def _numbers(entries: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Returns the numbers of the batches that hold all photos, int64 []."""
    return tf.data.Dataset.range(-(-len(entries) // batch_size))


def _padded(number: int, *, batch_size: int, photos: int) -> np.ndarray:
    """Returns int64 [B], the indices of batch `number` in order, −1 after the last photo."""
    indices = np.arange(number * batch_size, (number + 1) * batch_size)
    return np.where(indices < photos, indices, -1)


def _entries(entries: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Returns the entries at `indices`; padding has row and label −1."""
    found = np.zeros(len(indices), entries.dtype)
    found["row"] = found["label"] = -1
    found[indices >= 0] = entries[indices[indices >= 0]]
    return found


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
