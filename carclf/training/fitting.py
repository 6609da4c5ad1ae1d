"""The fit of one phase: model, data and callbacks put together."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from carclf import runs
from carclf.data.input_clock import InputClock
from carclf.device import Device
from carclf.model.schedules import Schedule
from carclf.runs.checkpoint import checkpoint_folder
from carclf.training.callbacks import (
    BestWeights,
    FollowPlateau,
    HistoryFile,
    StopOnNonFiniteLoss,
    StopWithoutProgress,
    TimingCallback,
    save_weights,
)
from carclf.training.checkpointing import CheckpointSaver, HandOver, ModelState, Position, Resumable, run_epoch_end
from carclf.training.ema import AverageWeights
from carclf.training.estimate import StageEstimate
from carclf.training.failures import telling_failures
from carclf.training.hosts import check_same_step
from carclf.training.phases import Phase
from carclf.training.preemption import Preemption
from carclf.training.progress import ProfileSteps, Progress, TensorBoardScalars
from carclf.training.swa import KeepEpochWeights


@dataclasses.dataclass(frozen=True)
class FitResult:
    """How the fit of a phase ended.

    Attributes:
      history: one row an epoch of the stage so far (`carclf.training.callbacks.HISTORY_COLUMNS`).
      best_epoch: counted from 1; None where an average of epochs is kept instead.
      best_accuracy: val_accuracy of what is kept, 0..1.
      train_seconds: of all epochs, validation included, and of what was computed for them before.
      handed_over: what the next phase goes on from; None after the last.
    """

    history: pd.DataFrame
    best_epoch: int | None
    best_accuracy: float
    train_seconds: float
    handed_over: HandOver | None = None


@dataclasses.dataclass(frozen=True)
class Saving:
    """How a stage is saved and gone on with.

    Attributes:
      identity: what a checkpoint must share with this run (`carclf.runs.opening.identity_of`).
      every_steps: steps between two checkpoints; 0 is at the end of each epoch only.
      resume: whether to go on from the folder's newest valid checkpoint.
      preemption: whether SIGTERM has come.
      setting: what, besides a checkpoint, decides each bit of the result.
      hosts: machines that train together.
    """

    identity: Mapping[str, str]
    every_steps: int
    resume: bool
    preemption: Preemption
    setting: Mapping[str, Any]
    hosts: int = 1


def fit_phase(
    model: keras.Model,
    *,
    classifier: keras.Model,
    directory: Path,
    train_data_from: Callable[[int], tf.data.Dataset],
    val_data: tf.data.Dataset,
    phase: Phase,
    epochs: int,
    patience: int,
    averaged: bool,
    kept_epochs: int,
    schedule: Schedule,
    input_clock: InputClock,
    rows_of_step: Callable[[int], Sequence[int]],
    saving: Saving,
    estimate: StageEstimate | None = None,
    handed_over: HandOver | None = None,
    tensorboard: bool = False,
    profile_steps: tuple[int, int] | None = None,
    verbose: int,
) -> FitResult:
    """Trains `model` over a phase's epochs; best and last weights, history and checkpoints are then in `directory`.

    Args:
      model: compiled, from `carclf.training.stage_models`.
      classifier: the part of it whose weights are saved.
      directory: the run's folder.
      train_data_from: (inputs, target, weight) from a step on, to the last epoch or without end.
      val_data: the whole validation fold.
      phase: its epochs, their batches and how steps are counted.
      epochs: of all phases, at the most.
      patience: epochs of the last phase without a better val_accuracy before stopping; 0 never stops.
      averaged: whether the optimizer averages the weights: then it is the averages that are validated and kept.
      kept_epochs: of how many of the last epochs the weights are kept, for their average.
      schedule: the learning rate by step.
      input_clock: watches `train_data_from`'s data sets.
      rows_of_step: the rows of the photos in a step's batch, for an error text.
      saving: how to save and to go on.
      estimate: of the time that the stage takes from this phase on; None tells none.
      handed_over: what the phase before ended with; it goes before any checkpoint.
      tensorboard: whether each epoch's figures go to tensorboard/ in `directory`.
      profile_steps: the first and the last step, counted from 1 at the start, whose profile goes there, too.
      verbose: 1 draws a progress bar, 2 prints a line an epoch, 0 is silent.

    Raises:
      UserError: the loss is not finite, the device is out of memory, or the disk is full.
      DamagedShardError: a photo cannot be read.
      Preempted: SIGTERM has come, and the last step is saved.
    """
    steps_per_epoch, last_phase = phase.steps_per_epoch, phase.end_epoch == epochs
    position = Position(steps_per_epoch=steps_per_epoch)
    history = HistoryFile(directory / runs.HISTORY_FILE)
    plateau = [FollowPlateau(schedule, history)] if schedule.follows_metric else []

    def learning_rate_at(step: int) -> float:
        return schedule.at(step) * (plateau[0].scale(before=step // steps_per_epoch) if plateau else 1.0)

    timing = TimingCallback(
        images_per_epoch=steps_per_epoch * phase.batch_size,
        learning_rate_at=lambda epoch: learning_rate_at(epoch * steps_per_epoch),
        input_clock=input_clock,
    )
    progress = Progress(
        position=position,
        batch_size=phase.batch_size,
        epochs=epochs,
        learning_rate_at=learning_rate_at,
        estimate=estimate,
    )
    board = directory / runs.TENSORBOARD_FOLDER
    scalars = [TensorBoardScalars(board, newest_row=lambda: history.rows[-1])] if tensorboard else []
    profile = [ProfileSteps(board, first=profile_steps[0], last=profile_steps[1])] if profile_steps else []
    average = [AverageWeights()] if averaged else []
    best = BestWeights(
        classifier,
        directory / runs.BEST_WEIGHTS,
        average=average[0] if averaged else None,
        first_epoch=phase.first_epoch,
    )
    stopping = [StopWithoutProgress(patience=patience)] if patience and last_phase else []
    keeping = [KeepEpochWeights(classifier, directory, first_epoch=epochs - kept_epochs)] if kept_epochs else []
    parts: dict[str, Resumable] = {"timing": timing, "history": history, "best": best}
    if stopping:
        parts["patience"] = stopping[0]
    saver = _saver(
        model,
        directory=directory,
        position=position,
        parts=parts,
        saving=saving,
        hand_over_epoch=None if last_phase else phase.end_epoch - 1,
    )
    guard = StopOnNonFiniteLoss(position=position, rows_of_step=rows_of_step)
    if handed_over:
        start_step = saver.take_over(handed_over, step=phase.first_epoch * steps_per_epoch)
    else:
        start_step = saver.resume() if saving.resume else 0
    if saving.hosts > 1:
        check_same_step(start_step)
    with telling_failures(phase), contextlib.closing(progress):
        _fit(
            model,
            callbacks=[
                *(position, timing, guard, *average, history, *scalars),
                *(*plateau, best, *keeping, *stopping, saver),
            ],
            watching=[*profile, progress],
            start_step=start_step,
            is_validated=handed_over is not None,
            train_data_from=train_data_from,
            val_data=val_data,
            epochs=phase.end_epoch,
            steps_per_epoch=steps_per_epoch,
            verbose=verbose,
        )
    save_weights(classifier, directory / runs.LAST_WEIGHTS)
    return FitResult(
        history=history.frame(),
        best_epoch=best.best_epoch,
        best_accuracy=best.best_accuracy,
        train_seconds=timing.total_seconds,
        handed_over=saver.handed_over,
    )


def _fit(
    model: keras.Model,
    *,
    callbacks: Sequence[keras.callbacks.Callback],
    watching: Sequence[keras.callbacks.Callback],
    start_step: int,
    is_validated: bool,
    train_data_from: Callable[[int], tf.data.Dataset],
    val_data: tf.data.Dataset,
    epochs: int,
    steps_per_epoch: int,
    verbose: int,
) -> None:
    """Trains from `start_step` to the end, in one `fit`: a second would average the weights a second time.

    Where it begins behind an epoch's last step, that epoch is validated first, unless it is already; `watching` are
    callbacks that this does not concern.
    """
    epoch, step_in_epoch = divmod(start_step, steps_per_epoch)
    goes_on = True
    if start_step and not step_in_epoch and not is_validated:
        goes_on = run_epoch_end(model, callbacks=callbacks, val_data=val_data, epoch=epoch - 1)
    if not goes_on or epoch == epochs:
        model.optimizer.finalize_variable_values(model.trainable_variables)  # as `fit` does at its end
        return
    model.fit(
        train_data_from(start_step),
        validation_data=val_data,
        initial_epoch=epoch,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        callbacks=[*callbacks, *watching],
        shuffle=False,  # the data set already is
        verbose=verbose,
    )


def _saver(
    model: keras.Model,
    *,
    directory: Path,
    position: Position,
    parts: Mapping[str, Resumable],
    saving: Saving,
    hand_over_epoch: int | None,
) -> CheckpointSaver:
    model_state = ModelState(model)
    folder = checkpoint_folder(directory, identity=saving.identity, arrays=model_state.specs())
    return CheckpointSaver(
        folder,
        model_state=model_state,
        position=position,
        parts=parts,
        save_every=saving.every_steps,
        preemption=saving.preemption,
        setting=saving.setting,
        hand_over_epoch=hand_over_epoch,
    )


def setting_of(device: Device) -> dict[str, Any]:
    """What decides, besides a checkpoint, each bit of what follows from it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # macOS has no such
    threads = tf.config.threading.get_intra_op_parallelism_threads() or cores
    return {
        "device": f"{device.replicas} {device.kind}",
        "backend": device.backend,
        "threads": threads,
        "op_determinism": os.environ.get("TF_DETERMINISTIC_OPS") in ("1", "true"),
    }
