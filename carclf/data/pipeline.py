"""Shards to batches of canvases and the small arrays Render needs: the host only decodes JPEG and draws numbers."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from carclf.data import records, storage
from carclf.data.manifest import Manifest, Shard
from carclf.recipe import Recipe, View, mix_targets

DCT_RATIOS = (1, 2, 4, 8)  # libjpeg decodes at 1/ratio of the size for less work
CANVAS_MARGIN = 1.25  # decoded pixels per output pixel at the least, so that zooming and rotating lose no detail
SHUFFLE_RECORDS = 2048  # undecoded records held for shuffling, about 160 MB at the competition's 80 kB
PARALLEL_CALLS = 4  # measured best for decoding on 2 cores; more than the cores keeps them busy while one waits
INTERLEAVED_SHARDS = 8
PREFETCH_BATCHES = 2

DRAW_SHAPES = {"geometry": (3, 3), "colour": (3, 4), "mix": (5,), "erase": (7,)}  # of one photo, all float32

Inputs = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Framing:
    """How photos become network input: what training, validation, prediction and export must share.

    Attributes:
      image_size: (height, width) of the rendered image in pixels.
      canvas_size: side C of the square canvas in pixels.
      fit: 'squash', 'crop' or 'pad' (`carclf.recipe`).
    """

    image_size: tuple[int, int]
    canvas_size: int
    fit: str = "squash"


def canvas_side(*, image_size: tuple[int, int], max_side: int) -> int:
    """The side of the canvas in pixels: the smallest of max_side/{8, 4, 2, 1} that is ≥ 1.25 · max(image_size).

    Where even max_side is smaller than that, max_side: photos hold no more detail.
    """
    wanted = CANVAS_MARGIN * max(image_size)
    sides = [-(-max_side // ratio) for ratio in reversed(DCT_RATIOS)]
    return next((side for side in sides if side >= wanted), max_side)


def steps_per_epoch(*, photos: int, batch_size: int) -> int:
    """Full batches in one epoch; the remainder, another one each epoch, is dropped (padding would enter BatchNorm)."""
    return photos // batch_size


def training_batches(
    *,
    manifest: Manifest,
    folds: Iterable[int],
    framing: Framing,
    recipe: Recipe,
    batch_size: int,
    epochs: int,
    seed: int,
    start_step: int = 0,
    steps_per_epoch: int | None = None,
    label_smoothing: float = 0.0,
    class_weights: np.ndarray | None = None,
    shuffle_records: int = SHUFFLE_RECORDS,
) -> tf.data.Dataset:
    """Full, shuffled, augmented batches for `epochs` epochs, the same for any machine: (inputs, target, weight).

    inputs: canvas uint8 [B, C, C, 3]; extent float32 [B, 2] pixels; geometry float32 [B, 3, 3]; colour float32
    [B, 3, 4]; mix float32 [B, 5]; erase float32 [B, 7]. target float32 [B, K] sums to 1; weight float32 [B].
    Order and draws depend on (seed, epoch) and the shards alone. External photos (split 'extra') are always included.

    Args:
      manifest: the data set.
      folds: the training folds to read.
      framing: image size, canvas and fit.
      recipe: the augmentation.
      batch_size: photos a batch, over all replicas.
      epochs: the epoch to stop before, counted from 0.
      seed: of order and draws.
      start_step: the step to begin at, counted from the start of epoch 0; what is skipped is never decoded.
      steps_per_epoch: batches an epoch; None is all full batches.
      label_smoothing: share of the target spread evenly over the classes, in [0, 1).
      class_weights: float [K]; a photo's weight is Σ target·class_weight. None is 1 for every class.
      shuffle_records: size of the shuffle buffer in records.
    """
    shards = [*manifest.shards_of("train", folds=folds), *manifest.shards_of("extra")]
    files = [storage.join(manifest.directory, shard.file) for shard in shards]
    per_epoch = steps_per_epoch or sum(shard.count for shard in shards) // batch_size
    first_epoch, first_step = divmod(start_step, per_epoch)

    def epoch_records(epoch: tf.Tensor, order: tf.Tensor, skip: tf.Tensor) -> tf.data.Dataset:
        dataset = tf.data.Dataset.from_tensor_slices(order).interleave(
            tf.data.TFRecordDataset, cycle_length=min(len(files), INTERLEAVED_SHARDS), block_length=1
        )
        dataset = dataset.shuffle(shuffle_records, seed=_shuffle_seed(seed, epoch), reshuffle_each_iteration=False)
        dataset = dataset.take(per_epoch * batch_size).skip(skip)
        return tf.data.Dataset.zip(dataset, tf.data.Dataset.from_tensors(epoch).repeat())

    numbers = np.arange(first_epoch, max(epochs, first_epoch), dtype=np.int64)
    orders = np.array([_shard_order(seed, int(epoch), files) for epoch in numbers]).reshape(len(numbers), len(files))
    skips = np.where(numbers == first_epoch, first_step * batch_size, 0).astype(np.int64)
    dataset = tf.data.Dataset.from_tensor_slices((numbers, orders, skips)).flat_map(epoch_records)
    dataset = _canvas_batches(dataset, canvas_size=framing.canvas_size, batch_size=batch_size, drop_remainder=True)
    dataset = _with_draws(
        dataset,
        recipe=recipe,
        framing=framing,
        seed=seed,
        class_count=manifest.class_count,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
    )
    return dataset.prefetch(PREFETCH_BATCHES).with_options(_options())


def validation_batches(
    *, manifest: Manifest, folds: Iterable[int], framing: Framing, batch_size: int, recipe: Recipe
) -> tf.data.Dataset:
    """Every photo of `folds` once, in shard order: (inputs, target, weight) as `training_batches` gives them.

    Nothing is shuffled. The last batch is filled with empty photos of weight 0, so no photo is lost and no shape
    changes. `recipe` is the identity (`parse_recipe("")`), unless a validation as augmented as the training is wanted.
    """
    dataset = complete_batches(manifest=manifest, split="train", folds=folds, framing=framing, batch_size=batch_size)
    dataset = _with_draws(dataset, recipe=recipe, framing=framing, seed=0, class_count=manifest.class_count)
    return dataset.prefetch(PREFETCH_BATCHES).with_options(_options())


def complete_batches(
    *, manifest: Manifest, split: str, folds: Iterable[int] | None = None, framing: Framing, batch_size: int
) -> tf.data.Dataset:
    """Every photo of a split once, in shard order, as a mapping, the last batch padded with row −1.

    canvas uint8 [B, C, C, 3]; extent float32 [B, 2] pixels; label int32 [B] (−1 where unknown); row int32 [B];
    epoch int64 [B] (0).
    """
    shards = manifest.shards_of(split, folds=folds)
    files = [storage.join(manifest.directory, shard.file) for shard in shards]
    dataset = tf.data.TFRecordDataset(files).map(lambda record: (record, tf.constant(0, tf.int64)))
    dataset = _canvas_batches(dataset, canvas_size=framing.canvas_size, batch_size=batch_size, drop_remainder=False)
    dataset = dataset.map(lambda batch: _pad_batch(batch, batch_size=batch_size, canvas_size=framing.canvas_size))
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(_batch_count(shards, batch_size=batch_size)))
    return dataset.prefetch(PREFETCH_BATCHES).with_options(_options())


def view_batches(
    *,
    manifest: Manifest,
    split: str,
    folds: Iterable[int] | None = None,
    framing: Framing,
    batch_size: int,
    views: Sequence[View],
    seed: int,
) -> tf.data.Dataset:
    """Every photo of a split, decoded once, in each view: for each batch of photos, one mapping a view.

    canvas, extent, geometry, colour, mix and erase as in `training_batches`; row int32 [B], −1 on padding.

    Args:
      manifest: the data set.
      split: 'train' or 'test'.
      folds: the folds of the training split to read; None is all.
      framing: image size, canvas and fit.
      batch_size: photos a batch, over all replicas.
      views: what to average over (`carclf.recipe.parse_views`).
      seed: of views that draw.
    """
    photos = complete_batches(manifest=manifest, split=split, folds=folds, framing=framing, batch_size=batch_size)
    shapes = {name: [len(views), batch_size, *shape] for name, shape in DRAW_SHAPES.items()}

    def draw(row: np.ndarray, extent: np.ndarray) -> tuple[np.ndarray, ...]:
        drawn = [
            view.draw(seed=seed, row=row, extent=extent, image_size=framing.image_size, fit=framing.fit)
            for view in views
        ]
        return tuple(np.stack([getattr(draws, name) for draws in drawn]) for name in DRAW_SHAPES)

    def with_views(batch: Inputs) -> tf.data.Dataset:
        drawn = tf.numpy_function(
            draw, [batch["row"], batch["extent"]], [tf.float32] * len(DRAW_SHAPES), stateful=False
        )
        arrays = {name: tf.ensure_shape(t, shapes[name]) for name, t in zip(DRAW_SHAPES, drawn, strict=True)}
        photo = {name: batch[name] for name in ("canvas", "extent", "row")}
        return tf.data.Dataset.from_tensor_slices(arrays).map(lambda view: view | photo)

    batches = photos.flat_map(with_views)
    batches = batches.apply(tf.data.experimental.assert_cardinality(int(photos.cardinality()) * len(views)))
    return batches.prefetch(PREFETCH_BATCHES).with_options(_options())


def _batch_count(shards: Sequence[Shard], *, batch_size: int) -> int:
    return -(-sum(shard.count for shard in shards) // batch_size)


def _shard_order(seed: int, epoch: int, files: list[str]) -> list[str]:
    generator = np.random.Generator(np.random.Philox(key=[seed % 2**64, epoch]))
    return [files[i] for i in generator.permutation(len(files))]


def _shuffle_seed(seed: int, epoch: tf.Tensor) -> tf.Tensor:
    # tf.data mixes this with the global seed, which is unset in a graph without tf.random.set_seed: 0 is reserved.
    return tf.constant(seed % 2**31 * 65_537 + 1, tf.int64) + epoch


def _canvas_batches(
    dataset: tf.data.Dataset, *, canvas_size: int, batch_size: int, drop_remainder: bool
) -> tf.data.Dataset:
    """Batches of decoded photos from a data set of (record, epoch)."""

    def decode(record: tf.Tensor, epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        photo = tf.io.parse_single_example(record, records.features())
        size = tf.stack([photo["image/height"], photo["image/width"]])
        canvas = decode_for_canvas(photo["image/encoded"], size=size, canvas_size=canvas_size)
        return {
            "canvas": canvas,
            "extent": tf.cast(tf.shape(canvas)[:2], tf.float32),
            "label": tf.cast(photo["image/class/label"], tf.int32),
            "row": tf.cast(photo["image/row"], tf.int32),
            "epoch": epoch,
        }

    dataset = dataset.map(decode, num_parallel_calls=PARALLEL_CALLS, deterministic=True)
    return dataset.padded_batch(batch_size, padded_shapes=_photo_shapes(canvas_size), drop_remainder=drop_remainder)


def _photo_shapes(canvas_size: int) -> dict[str, list[int]]:
    return {"canvas": [canvas_size, canvas_size, 3], "extent": [2], "label": [], "row": [], "epoch": []}


def decode_for_canvas(encoded: tf.Tensor, *, size: tf.Tensor, canvas_size: int) -> tf.Tensor:
    """The photo as uint8 [h, w, 3] with max(h, w) ≤ canvas_size, reduced as little as the DCT ratios allow.

    Args:
      encoded: scalar string, a JPEG whose long side is at most 8 · canvas_size.
      size: int [2], (height, width) of the full photo in pixels.
      canvas_size: side of the canvas in pixels.
    """
    long_side = tf.cast(tf.reduce_max(size), tf.int32)
    fits = [-(-long_side // ratio) <= canvas_size for ratio in DCT_RATIOS]
    branch = tf.reduce_sum([tf.cast(tf.logical_not(fit), tf.int32) for fit in fits])

    def decode(ratio: int) -> tf.Tensor:
        # INTEGER_FAST with fancy upscaling is both the fastest in TensorFlow and the better picture (measured).
        return tf.io.decode_jpeg(encoded, channels=3, ratio=ratio, fancy_upscaling=True, dct_method="INTEGER_FAST")

    return tf.switch_case(branch, [lambda ratio=ratio: decode(ratio) for ratio in DCT_RATIOS])


def _pad_batch(batch: Inputs, *, batch_size: int, canvas_size: int) -> dict[str, tf.Tensor]:
    missing = batch_size - tf.shape(batch["row"])[0]
    # An extent of one pixel keeps the geometry of an empty photo finite.
    fill = {"canvas": 0, "extent": 1, "label": -1, "row": -1, "epoch": 0}
    padded = {}
    for name, shape in _photo_shapes(canvas_size).items():
        tensor = batch[name]
        paddings = [[0, missing], *[[0, 0]] * len(shape)]
        padded[name] = tf.ensure_shape(
            tf.pad(tensor, paddings, constant_values=tf.cast(fill[name], tensor.dtype)), [batch_size, *shape]
        )
    return padded


def _with_draws(
    dataset: tf.data.Dataset,
    *,
    recipe: Recipe,
    framing: Framing,
    seed: int,
    class_count: int,
    label_smoothing: float = 0.0,
    class_weights: np.ndarray | None = None,
) -> tf.data.Dataset:
    """(inputs, target, weight) from batches of canvases: the draws of each (seed, epoch, row), in NumPy."""
    weights = np.ones(class_count, np.float32) if class_weights is None else np.asarray(class_weights, np.float32)

    def draw(row: np.ndarray, label: np.ndarray, epoch: np.ndarray, extent: np.ndarray) -> tuple[np.ndarray, ...]:
        # Epochs are whole batches, so one number stands for all.
        draws = recipe.draw(
            seed=seed, epoch=int(epoch[0]), row=row, extent=extent, image_size=framing.image_size, fit=framing.fit
        )
        target = label_targets(label, class_count=class_count, label_smoothing=label_smoothing)
        target = mix_targets(target, draws.mix) if recipe.mixes else target
        weight = np.where(row >= 0, target @ weights, 0).astype(np.float32)
        return draws.geometry, draws.colour, draws.mix, draws.erase, target, weight

    def with_draws(batch: Inputs) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        size = batch["row"].shape[0]
        *drawn, target, weight = tf.numpy_function(
            draw, [batch["row"], batch["label"], batch["epoch"], batch["extent"]], [tf.float32] * 6, stateful=False
        )
        inputs = {"canvas": batch["canvas"], "extent": batch["extent"]}
        inputs |= {
            name: tf.ensure_shape(tensor, [size, *shape])
            for (name, shape), tensor in zip(DRAW_SHAPES.items(), drawn, strict=True)
        }
        return inputs, tf.ensure_shape(target, [size, class_count]), tf.ensure_shape(weight, [size])

    return dataset.map(with_draws, num_parallel_calls=2, deterministic=True)


def label_targets(label: np.ndarray, *, class_count: int, label_smoothing: float = 0.0) -> np.ndarray:
    """float32 [B, K]: one-hot, with `label_smoothing` spread evenly; an unknown label (−1) is the even distribution."""
    one_hot = np.eye(class_count, dtype=np.float32)[np.maximum(label, 0)]
    smoothing = np.where(label < 0, 1.0, label_smoothing)[:, None]
    return (one_hot * (1 - smoothing) + smoothing / class_count).astype(np.float32)


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = os.cpu_count() or 2
    # One process feeds all its replicas: they split each batch, not the files.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
