"""Fits one phase: puts model, data and callbacks together."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from carclf import runs
from carclf.device import Device
from carclf.model.head_start import divide_logits
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
from carclf.training.ema import EmaWeights
from carclf.training.failures import reporting_failures
from carclf.training.fit_plan import Display, FitData, FitPlan, FitResult, Saving
from carclf.training.hosts import check_same_step
from carclf.training.monitoring import ProfileSteps, ProgressBar, TensorBoardScalars
from carclf.training.phases import Phase
from carclf.training.stopping import StopWhenPreempted
from carclf.training.swa import SaveEpochWeights


@dataclasses.dataclass(frozen=True, eq=False)
class _Callbacks:
    """The callbacks of a fit; None stands for one that is not used.

    Attributes:
      position: counts the run's steps; called first, since the others read it.
      timing, guard, average, history, scalars, plateau, best, keeping, stopping: in the order of their calls.
      saver: called last, since it saves what the others have done.
      profile, progress: for people to look at.
    """

    position: Position
    timing: TimingCallback
    guard: StopOnNonFiniteLoss
    average: EmaWeights | None
    history: HistoryFile
    scalars: TensorBoardScalars | None
    plateau: FollowPlateau | None
    best: BestWeights
    keeping: SaveEpochWeights | None
    stopping: StopWithoutProgress | None
    saver: CheckpointSaver
    profile: ProfileSteps | None
    progress: ProgressBar

    def in_order(self) -> list[keras.callbacks.Callback]:
        """Returns the callbacks in use, in the order of the attributes."""
        found = (getattr(self, field.name) for field in dataclasses.fields(self))
        return [callback for callback in found if callback is not None]

    def of_epoch_end(self) -> list[keras.callbacks.Callback]:
        """Returns the callbacks for an epoch that is only validated again: all but profile and progress."""
        return [callback for callback in self.in_order() if callback not in (self.profile, self.progress)]


def fit_phase(
    model: keras.Model,
    *,
    classifier: keras.Model,
    data: FitData,
    plan: FitPlan,
    saving: Saving,
    display: Display,
    handed_over: HandOver | None = None,
) -> FitResult:
    """Trains `model` over a phase's epochs; the run's folder then has weights, history and checkpoints.

    Args:
      model: compiled, from `carclf.training.stage_models`.
      classifier: the part of it whose weights are saved.
      data: training and validation.
      plan: how long, at which learning rates, and which weights are kept.
      saving: how to save and to resume.
      display: what people see.
      handed_over: the state at the end of the previous phase; it takes precedence over any checkpoint.

    Raises:
      UserError: the loss is not finite, the device is out of memory, the disk is full, or a whole checkpoint does not
        fit the model.
      DamagedShardError: a photo cannot be read.
      Preempted: SIGTERM has arrived, and the last step is saved.
    """
    phase = plan.phase
    callbacks = _callbacks(model, classifier=classifier, data=data, plan=plan, saving=saving, display=display)
    before = phase.first_epoch * phase.steps_per_epoch  # as many steps as the phase counts before its own
    if handed_over:
        start_step = callbacks.saver.take_over(handed_over, step=before)
    else:
        start_step = callbacks.saver.resume(step=saving.step, after=before) if saving.resume else 0
    if saving.hosts > 1:
        check_same_step(start_step)
    with reporting_failures(phase), contextlib.closing(callbacks.progress):
        if not start_step:
            if plan.starts_trained:
                _validate_start(model, callbacks=callbacks, validation=data.validation)
            divide_logits(classifier, plan.head_temperature)
        _fit(
            model,
            data=data,
            phase=phase,
            callbacks=callbacks,
            start_step=start_step,
            is_validated=handed_over is not None,
            verbose=display.verbose,
        )
    save_weights(classifier, saving.directory / runs.LAST_WEIGHTS)
    return FitResult(
        history=callbacks.history.frame(),
        best_epoch=callbacks.best.best_epoch,
        best_score=callbacks.best.best_score,
        train_seconds=callbacks.timing.total_seconds,
        handed_over=callbacks.saver.handed_over,
    )


def _callbacks(
    model: keras.Model,
    *,
    classifier: keras.Model,
    data: FitData,
    plan: FitPlan,
    saving: Saving,
    display: Display,
) -> _Callbacks:
    phase, directory, schedule, metric = plan.phase, saving.directory, plan.schedule, plan.metric
    position = Position(steps_per_epoch=phase.steps_per_epoch)
    history = HistoryFile(directory / runs.HISTORY_FILE, metric=metric)
    plateau = FollowPlateau(schedule, history, metric=metric) if schedule.follows_metric else None

    def learning_rate_at(step: int) -> float:
        return schedule.at(step) * (plateau.scale(before=step // phase.steps_per_epoch) if plateau else 1.0)

    timing = TimingCallback(
        images_per_epoch=phase.steps_per_epoch * phase.batch_size,
        learning_rate_at=lambda epoch: learning_rate_at(epoch * phase.steps_per_epoch),
        input_clock=data.input_clock,
    )
    average = EmaWeights() if plan.uses_ema else None
    best = BestWeights(
        classifier, directory / runs.BEST_WEIGHTS, average=average, first_epoch=phase.first_epoch, metric=metric
    )
    stops = plan.patience and plan.is_last
    stopping = StopWithoutProgress(patience=plan.patience, metric=metric) if stops else None
    parts: dict[str, Resumable] = {"timing": timing, "history": history, "best": best}
    if stopping:
        parts["patience"] = stopping
    board, steps = directory / runs.TENSORBOARD_FOLDER, display.profile_steps
    progress = ProgressBar(
        position=position,
        batch_size=phase.batch_size,
        epochs=plan.epochs,
        learning_rate_at=learning_rate_at,
        estimate=display.estimate,
    )
    return _Callbacks(
        position=position,
        timing=timing,
        guard=StopOnNonFiniteLoss(position=position, rows_of_step=data.rows_of_step),
        average=average,
        history=history,
        scalars=TensorBoardScalars(board, newest_row=lambda: history.rows[-1]) if display.tensorboard else None,
        plateau=plateau,
        best=best,
        keeping=SaveEpochWeights(classifier, directory, first_epoch=plan.epochs - plan.kept_epochs)
        if plan.kept_epochs
        else None,
        stopping=stopping,
        saver=_saver(model, position=position, parts=parts, plan=plan, saving=saving),
        profile=ProfileSteps(board, first=steps[0], last=steps[1]) if steps else None,
        progress=progress,
    )


def _fit(
    model: keras.Model,
    *,
    data: FitData,
    phase: Phase,
    callbacks: _Callbacks,
    start_step: int,
    is_validated: bool,
    verbose: int,
) -> None:
    """Trains from `start_step` to the end, in one `fit`: a second one would average the weights a second time.

    If `start_step` is the end of an epoch, that epoch is validated first, unless it already was.
    """
    epoch, step_in_epoch = divmod(start_step, phase.steps_per_epoch)
    continues = True
    if start_step and not step_in_epoch and not is_validated:
        continues = run_epoch_end(model, callbacks=callbacks.of_epoch_end(), val_data=data.validation, epoch=epoch - 1)
    if not continues or epoch == phase.end_epoch:
        model.optimizer.finalize_variable_values(model.trainable_variables)  # as `fit` does at its end
        return
    model.fit(
        data.training_from(start_step),
        validation_data=data.validation,
        initial_epoch=epoch,
        epochs=phase.end_epoch,
        steps_per_epoch=phase.steps_per_epoch,
        callbacks=callbacks.in_order(),
        shuffle=False,  # the data set is already shuffled
        verbose=verbose,
    )


def _validate_start(model: keras.Model, *, callbacks: _Callbacks, validation: tf.data.Dataset) -> None:
    """Keeps the weights before the first step as the best so far, and prints how good they are."""
    validated = model.evaluate(validation, callbacks=[StopWhenPreempted()], return_dict=True, verbose=0)
    logs = {f"val_{name}": value for name, value in validated.items()}
    callbacks.best.begin(logs)
    if callbacks.stopping:
        callbacks.stopping.begin(logs)
    print(f"Before the first epoch: val_accuracy {validated['accuracy']:.4f}.", flush=True)


def _saver(
    model: keras.Model, *, position: Position, parts: Mapping[str, Resumable], plan: FitPlan, saving: Saving
) -> CheckpointSaver:
    model_state = ModelState(model)
    return CheckpointSaver(
        checkpoint_folder(saving.directory, identity=saving.identity, arrays=model_state.specs()),
        model_state=model_state,
        position=position,
        parts=parts,
        save_every=saving.every_steps,
        setting=saving.setting,
        hand_over_epoch=None if plan.is_last else plan.phase.end_epoch - 1,
    )


def setting_of(device: Device) -> dict[str, Any]:
    """Returns everything but a checkpoint that determines the exact result of the training."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # macOS lacks it
    threads = tf.config.threading.get_intra_op_parallelism_threads() or cores
    return {
        "device": f"{device.replicas} {device.kind}",
        "backend": device.backend,
        "threads": threads,
        "onednn": device.onednn or None,
        "op_determinism": os.environ.get("TF_DETERMINISTIC_OPS") in ("1", "true"),
    }
