"""Fast training of a head: the frozen backbone runs once for each photo and draw, and its features are kept."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from carclf.data.cache import DecodedCache
from carclf.data.manifest import Manifest, Shard
from carclf.data.pipeline import ordered_batches
from carclf.engines.choice import Engines
from carclf.framing import Framing, Rendering
from carclf.model.photo_classifier import build_photo_classifier
from carclf.model.pooling import AttentionPooling
from carclf.progress import Progress
from carclf.recipe import Recipe, parse_recipe
from carclf.runs.weights_files import is_intact
from carclf.training.engine_model import EngineModel
from carclf.training.feature_files import Append, append_all, check_room, writing_features

PART_BYTES = 1 << 28  # of features in memory at a time


def build_head_model(classifier: keras.Model) -> keras.Model:
    """Returns the classifier's layers after what is kept, float32 [B, …] → logits [B, K]; they share its variables."""
    kept = _kept(classifier)
    features = keras.Input(kept.shape[1:], dtype="float32", name="features")
    x = features
    names = [layer.name for layer in classifier.layers]
    for layer in classifier.layers[names.index("head_pool") + (len(kept.shape) == 2) :]:
        x = layer(x)
    return keras.Model(features, x, name="head")


def _kept(classifier: keras.Model) -> keras.KerasTensor:
    """Returns what is kept of the backbone's output: its mean [B, D], or if the pooling learns, all of it."""
    pool = classifier.get_layer("head_pool")
    return pool.input if isinstance(pool, AttentionPooling) else pool.output


def check_room_of_head(classifier: keras.Model, *, photos: Mapping[str, int], directory: Path) -> None:
    """Checks that the disk has room for the features that are still missing.

    Args:
      classifier: its backbone is frozen.
      photos: the number of photos of each file, by its name without suffix.
      directory: folder of the files.

    Raises:
      UserError: it has not.
    """
    missing = sum(count for name, count in photos.items() if not (directory / f"{name}.npy").is_file())
    check_room(
        directory,
        photos=missing,
        photo_bytes=_photo_bytes(_kept(classifier)),
        way_out="train on photos with --nokeep_features --feature_views=0",
    )


def _photo_bytes(kept: keras.KerasTensor) -> int:
    """Returns the bytes of a photo's features."""
    return math.prod(kept.shape[1:]) * _dtype_of(kept).itemsize


def _dtype_of(kept: keras.KerasTensor) -> np.dtype:
    """Returns the type in which features are kept; a feature map has many times the numbers of its mean."""
    return np.dtype(np.float32 if len(kept.shape) == 2 else np.float16)


def compute_features(
    classifier: keras.Model,
    *,
    manifest: Manifest,
    train_shards: Sequence[Shard],
    val_shards: Sequence[Shard],
    framing: Framing,
    rendering: Rendering,
    recipe: Recipe,
    views: Mapping[str, int | None],
    seed: int,
    batch_size: int,
    jit: bool,
    directory: Path,
    cache: DecodedCache | None = None,
    engines: Engines | None = None,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns (training, validation): [N, …] of the training photos for each view, and [M, …], undrawn.

    They are the pooled features, float32 [N, D], or if the head's pooling learns, the feature maps, float16
    [N, h, w, D].

    Each is a file in `directory`, which gets its final name only when it is complete; existing files are reused.

    Args:
      classifier: its backbone is frozen.
      manifest: the data set.
      train_shards: shards that the head will be trained on.
      val_shards: shards that it will be validated on.
      framing: image size and fit.
      rendering: how the images are computed.
      recipe: the augmentation; it must not mix.
      views: the views of each training photo by name, with the epoch whose draws each has; None for undrawn photos.
      seed: seed of the draws.
      batch_size: photos per step.
      jit: whether XLA compiles the step.
      directory: folder of the files; belongs to one run.
      cache: decoded photos.
      engines: the engine that computes them in Keras's place, if one was asked for.

    Raises:
      UserError: feature maps hold values that are too large to keep.
    """
    kept = _kept(classifier)
    extractor = build_photo_classifier(keras.Model(classifier.input, kept), framing=framing, rendering=rendering)
    extractor.compile(jit_compile=jit)
    engines = engines or Engines()
    directory.mkdir(parents=True, exist_ok=True)
    wanted = [(name, train_shards, epoch) for name, epoch in views.items()] + [("validation", val_shards, None)]
    counts = {name: sum(shard.count for shard in shards) for name, shards, _ in wanted}

    def features(name: str, shards: Sequence[Shard], epoch: int | None, *, progress: Progress) -> np.ndarray:
        path, photos = directory / f"{name}.npy", counts[name]
        if is_intact(path):
            progress.add(photos)
            return np.load(path, mmap_mode="r")
        print(f"Features: the backbone looks at {photos:,} {name} photos.", flush=True)
        batches = functools.partial(
            ordered_batches,
            manifest=manifest,
            shards=shards,
            framing=framing,
            batch_size=batch_size,
            recipe=parse_recipe("") if epoch is None else recipe,
            seed=seed,
            epoch=epoch or 0,
            cache=cache,
        )
        with writing_features(path, shape=(photos, *kept.shape[1:]), dtype=_dtype_of(kept)) as append:
            if engines.candidates:  # from the first batch on: the same in a run that is resumed
                network = EngineModel(extractor, engines=engines, images=photos, jit=jit)
                append_all(batches(), network, append, progress=progress)
            else:
                _predict(extractor, batches, append, photos=photos, photo_bytes=_photo_bytes(kept),
                         batch_size=batch_size, progress=progress)  # fmt: skip
        return np.load(path, mmap_mode="r")

    with Progress("Computing features", total=sum(counts.values())) as progress:
        *training, validation = (features(*one, progress=progress) for one in wanted)
    return training, validation


def _predict(
    extractor: keras.Model,
    batches: Callable[..., tf.data.Dataset],
    append: Append,
    *,
    photos: int,
    photo_bytes: int,
    batch_size: int,
    progress: Progress,
) -> None:
    """Computes the features in parts, since `predict` holds the whole of its result in memory, and appends them."""
    part = max(1, PART_BYTES // (photo_bytes * batch_size))
    for first in range(0, -(-photos // batch_size), part):
        start = first * batch_size
        counting = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, logs=None, start=start: progress.add(
                min(batch_size, photos - start - batch * batch_size)
            )
        )
        data = batches(first=first, count=part).map(lambda inputs, *_: inputs)
        found = extractor.predict(data, verbose=0, callbacks=[counting])
        for begin in range(0, len(found), batch_size):
            append(found[begin : begin + batch_size])
