"""The data of a stage: batches of photos, or of the features that a frozen backbone computes from them."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from carclf import runs
from carclf.data.batches import HostSlice
from carclf.data.cache import DecodedCache, open_cache
from carclf.data.features import feature_batches, ordered_feature_batches
from carclf.data.index import read_index, select, sizes_for
from carclf.data.manifest import Shard
from carclf.data.pipeline import training_batches, training_shards, validation_batches
from carclf.engines.choice import Engines
from carclf.recipe import parse_recipe
from carclf.training.features import check_room_of_head, compute_features
from carclf.training.stage import Stage


def training_data(stage: Stage, *, cache: DecodedCache | None, start_step: int = 0) -> tf.data.Dataset:
    """Returns the training batches of the stage, starting at a step."""
    options = stage.options
    return training_batches(
        manifest=stage.manifest,
        folds=stage.train_folds,
        framing=stage.framing,
        recipe=stage.recipe,
        batch_size=stage.phase.batch_size,
        epochs=stage.phase.end_epoch,
        seed=options.seed,
        start_step=start_step,
        steps_per_epoch=stage.phase.steps_per_epoch,
        label_smoothing=options.label_smoothing,
        class_weights=stage.class_weights,
        strength=stage.phase.strength,
        cache=cache,
        host_slice=HostSlice(options.host, options.num_hosts),
    )


def validation_data(stage: Stage, *, cache: DecodedCache | None) -> tf.data.Dataset:
    """Returns the batches of the validation fold."""
    return validation_batches(
        manifest=stage.manifest,
        folds=[stage.options.val_fold],
        framing=stage.framing,
        recipe=stage.recipe if stage.options.augment_validation else parse_recipe(""),
        batch_size=stage.phase.batch_size,
        cache=cache,
        host_slice=HostSlice(stage.options.host, stage.options.num_hosts),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class StageFeatures:
    """The features of a frozen backbone that a stage keeps.

    Attributes:
      training: for each view those of the N training photos, mapped from files: float32 [N, D], or for a head whose
        pooling learns float16 [N, h, w, D] (`carclf.training.features.compute_features`).
      validation: those of the M undrawn validation photos, [M, …].
      train_shards: the shards of the training photos.
      val_shards: those of the validation photos.
    """

    training: Sequence[np.ndarray]
    validation: np.ndarray
    train_shards: Sequence[Shard]
    val_shards: Sequence[Shard]


def check_room_for_features(stage: Stage, classifier: keras.Model) -> None:
    """Checks that the disk has room for the features that the stage keeps.

    Raises:
      UserError: it has not.
    """
    if stage.features:
        photos = dict.fromkeys(stage.features.views, stage.train_photos) | {"validation": stage.val_photos}
        check_room_of_head(classifier, photos=photos, directory=stage.directory / runs.FEATURES_FOLDER)


def stage_features(
    stage: Stage, classifier: keras.Model, *, cache: DecodedCache | None, engines: Engines
) -> StageFeatures:
    """Returns the features that the stage keeps, and computes those that its folder does not hold."""
    options, manifest = stage.options, stage.manifest
    assert stage.features
    train_shards = training_shards(manifest, stage.train_folds)
    val_shards = manifest.shards_of("train", folds=[options.val_fold])
    with stage.device.scope():
        training, validation = compute_features(
            classifier,
            manifest=manifest,
            train_shards=train_shards,
            val_shards=val_shards,
            framing=stage.framing,
            rendering=stage.rendering,
            recipe=stage.recipe,
            views=stage.features.views,
            seed=options.seed,
            batch_size=options.batch_size,
            jit=stage.device.jit,
            directory=stage.directory / runs.FEATURES_FOLDER,
            cache=cache,
            engines=engines,
        )
    if engines.used:
        print(f"Engine: {engines.describe()}.", flush=True)
    return StageFeatures(training, validation, train_shards, val_shards)


def feature_data(stage: Stage, features: StageFeatures) -> tuple[Callable[..., tf.data.Dataset], tf.data.Dataset]:
    """Returns (function from a start step to training batches of features, validation batches of features)."""
    options, manifest = stage.options, stage.manifest
    train_data_from = functools.partial(
        feature_batches,
        features.training,
        manifest=manifest,
        shards=features.train_shards,
        batch_size=options.batch_size,
        epochs=options.epochs,
        seed=options.seed,
        steps_per_epoch=stage.phase.steps_per_epoch,
        label_smoothing=options.label_smoothing,
        class_weights=stage.class_weights,
    )
    val_data = ordered_feature_batches(
        features.validation, manifest=manifest, shards=features.val_shards, batch_size=options.batch_size
    )
    return train_data_from, val_data


def decoded_cache(stage: Stage) -> DecodedCache | None:
    """Returns the cache that `--cache` asks for, if there is room for the photos of training and validation."""
    if stage.options.cache == "none":
        return None
    manifest = stage.manifest
    return open_cache(
        stage.options.cache,
        manifest=manifest,
        wanted=select(manifest, read_index(manifest), training_shards(manifest, manifest.folds)),
        sizes=sizes_for(manifest, framing=stage.framing),
    )
