"""One stage of training: model, data and callbacks put together, and one `fit`."""

import dataclasses
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from carclf import __version__, runs
from carclf.config import Fill
from carclf.data.pipeline import Framing
from carclf.errors import DamagedShardError, UserError, sentence_in
from carclf.model.classifier import synchronize_batch_norm
from carclf.model.photo_classifier import build_photo_classifier
from carclf.model.schedules import Schedule
from carclf.training.callbacks import BestWeights, HistoryFile, StopOnNonFiniteLoss, TimingCallback, save_weights
from carclf.training.device import Device


@dataclasses.dataclass(frozen=True)
class StageResult:
    """How a stage's fit ended.

    Attributes:
      history: one row an epoch (`carclf.training.callbacks.HISTORY_COLUMNS`).
      best_epoch: counted from 1.
      train_seconds: of all epochs, validation included.
    """

    history: pd.DataFrame
    best_epoch: int
    train_seconds: float


def build_training_model(
    classifier: keras.Model,
    *,
    framing: Framing,
    fill: Fill,
    mixing: bool,
    erasing: bool,
    optimizer: keras.optimizers.Optimizer,
    device: Device,
) -> keras.Model:
    """The photo classifier, compiled for this device. Call it inside `device.scope()`.

    The loss is plain cross-entropy: smoothing and mixing are in the target, class weights in the sample weight.
    """
    if device.replicas > 1:
        synchronize_batch_norm(classifier)
    model = build_photo_classifier(
        classifier,
        image_size=framing.image_size,
        canvas_size=framing.canvas_size,
        fill=fill,
        mixing=mixing,
        erasing=erasing,
    )
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        # Weighted, so that the empty photos that fill the last validation batch do not count. Keras's own val_loss
        # counts them, and the weight penalty too: cross_entropy is what history and best weights go by.
        weighted_metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.CategoricalCrossentropy(from_logits=True, name="cross_entropy"),
        ],
        jit_compile=device.jit,
    )
    _create_variables(model)
    return model


def _create_variables(model: keras.Model) -> None:
    """Makes the variables of optimizer and metrics, which Keras leaves to the first train step.

    TensorFlow traces a step that makes variables twice: this spares a third of the time until the first step ends.
    """
    model.optimizer.build(model.trainable_variables)
    empty = keras.ops.zeros((1, model.output_shape[-1]))
    model.compute_metrics(x=None, y=empty, y_pred=empty, sample_weight=keras.ops.zeros((1,)))
    model.reset_metrics()


def fit_stage(
    model: keras.Model,
    *,
    classifier: keras.Model,
    directory: Path,
    train_data: tf.data.Dataset,
    val_data: tf.data.Dataset,
    epochs: int,
    steps_per_epoch: int,
    batch_size: int,
    patience: int,
    schedule: Schedule,
    verbose: int,
) -> StageResult:
    """Trains `model` and leaves best.weights.h5, last.weights.h5 and history.csv in `directory`.

    Args:
      model: compiled, from `build_training_model`.
      classifier: the part of it whose weights are saved.
      directory: the run's folder.
      train_data: (inputs, target, weight) without end, or for `epochs` epochs.
      val_data: the whole validation fold.
      epochs: at the most.
      steps_per_epoch: batches.
      batch_size: photos a batch, over all replicas.
      patience: epochs without a better val_accuracy before stopping; 0 never stops.
      schedule: the learning rate by step, for the history.
      verbose: 1 draws a progress bar, 2 prints a line an epoch, 0 is silent.

    Raises:
      UserError: the loss is not finite, or the device is out of memory.
      DamagedShardError: a photo cannot be read.
    """
    timing = TimingCallback(
        images_per_epoch=steps_per_epoch * batch_size,
        learning_rate_at=lambda epoch: schedule.at(epoch * steps_per_epoch),
    )
    history = HistoryFile(directory / runs.HISTORY_FILE)
    best = BestWeights(classifier, directory / runs.BEST_WEIGHTS)
    stopping = [keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=patience)] if patience else []
    guard = StopOnNonFiniteLoss(steps_per_epoch=steps_per_epoch)
    try:
        model.fit(
            train_data,
            validation_data=val_data,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            callbacks=[timing, guard, history, best, *stopping],
            shuffle=False,  # the data set already is
            verbose=verbose,
        )
    except tf.errors.ResourceExhaustedError:
        image_size = model.get_layer("render").image_size
        raise UserError(
            f"The device ran out of memory at batch {batch_size} and image size {image_size}: "
            "lower --batch_size or --image_size."
        ) from None
    except tf.errors.UnknownError as error:  # from the data set's own threads
        if (sentence := sentence_in(error)) is None:
            raise
        raise DamagedShardError(sentence) from None
    save_weights(classifier, directory / runs.LAST_WEIGHTS)
    return StageResult(history=history.frame(), best_epoch=best.best_epoch, train_seconds=timing.total_seconds)


def describe_stage(
    *, name: str, options: Mapping[str, Any], device: Device, data: Mapping[str, Any], parent: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What stage.json holds: everything that is needed to understand the run, or to do it again."""
    return {
        "format_version": runs.FORMAT_VERSION,
        "stage": name,
        "options": dict(options),
        "device": {
            "kind": device.kind,
            "backend": device.backend,
            "replicas": device.replicas,
            "precision": device.precision,
            "jit": device.jit,
        },
        "versions": _versions(),
        "git_commit": _git_commit(),
        "data": dict(data),
        "parent": None if parent is None else dict(parent),
    }


def _versions() -> dict[str, str]:
    packages = ("tensorflow", "tensorflow-cpu", "keras", "jax", "numpy", "pandas", "pillow")
    versions = {"carclf": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _git_commit() -> str | None:
    """The commit of the clone that runs, or None for an installed package."""
    clone = Path(__file__).resolve().parents[2]
    if not (clone / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(clone), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
