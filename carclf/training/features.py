"""Fast training of a head: the frozen backbone runs once for each photo and draw, and its features are kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from carclf.data.cache import DecodedCache
from carclf.data.manifest import Manifest, Shard
from carclf.data.pipeline import ordered_batches
from carclf.files import replacing
from carclf.framing import Framing, Rendering
from carclf.model.photo_classifier import build_photo_classifier
from carclf.progress import Progress
from carclf.recipe import Recipe, parse_recipe


def build_head_model(classifier: keras.Model) -> keras.Model:
    """Returns the classifier's layers after the pooling, float32 [B, D] → logits [B, K]; they share its variables."""
    features = keras.Input((classifier.get_layer("head_pool").output.shape[-1],), name="features")
    x = features
    names = [layer.name for layer in classifier.layers]
    for layer in classifier.layers[names.index("head_pool") + 1 :]:
        x = layer(x)
    return keras.Model(features, x, name="head")


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
) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns (training, validation): float32 [N, D] of the training photos for each view, and float32 [M, D], undrawn.

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
    """
    pooled = keras.Model(classifier.input, classifier.get_layer("head_pool").output)
    extractor = build_photo_classifier(pooled, framing=framing, rendering=rendering)
    extractor.compile(jit_compile=jit)
    directory.mkdir(parents=True, exist_ok=True)

    counts = [sum(shard.count for shard in shards) for shards in [train_shards] * len(views) + [val_shards]]

    def features(name: str, shards: Sequence[Shard], epoch: int | None, *, progress: Progress) -> np.ndarray:
        path = directory / f"{name}.npy"
        photos = sum(shard.count for shard in shards)
        if path.is_file():
            progress.add(photos)
        else:
            print(f"Features: the backbone looks at {photos:,} {name} photos.", flush=True)
            counting = keras.callbacks.LambdaCallback(
                on_predict_batch_end=lambda batch, logs=None: progress.add(min(batch_size, photos - batch * batch_size))
            )
            data = ordered_batches(
                manifest=manifest,
                shards=shards,
                framing=framing,
                batch_size=batch_size,
                recipe=parse_recipe("") if epoch is None else recipe,
                seed=seed,
                epoch=epoch or 0,
                cache=cache,
            )
            inputs = data.map(lambda inputs, *_: inputs)
            _write(path, extractor.predict(inputs, verbose=0, callbacks=[counting])[:photos])
        return np.load(path, mmap_mode="r")

    with Progress("Computing features", total=sum(counts)) as progress:
        training = [features(name, train_shards, epoch, progress=progress) for name, epoch in views.items()]
        return training, features("validation", val_shards, None, progress=progress)


def _write(path: Path, features: np.ndarray) -> None:
    with replacing(path) as temporary:
        np.save(temporary, np.asarray(features, np.float32), allow_pickle=False)
