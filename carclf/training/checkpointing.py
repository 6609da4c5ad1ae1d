"""Exact resuming: what a checkpoint saves of a training in progress, and how that is restored."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Protocol

import keras
import numpy as np

from carclf import preemption
from carclf.errors import UserError
from carclf.runs.checkpoint import ArraySpec, Checkpoint, CheckpointFolder, NonFiniteStateError
from carclf.runs.opening import AFRESH


class Resumable(Protocol):
    """A callback whose state belongs in a checkpoint."""

    def state(self) -> dict[str, Any]:
        """Returns its state, ready for JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned."""


class Position(keras.callbacks.Callback):
    """Counts the steps of the whole run, and ends an epoch that was resumed in the middle. Put it first.

    Keras cannot begin an epoch at a given step. The data stream starts there instead, and `fit` would read on into
    the next epoch's data. So this callback stops the short epoch at its last batch, and undoes the stop in
    `on_epoch_end`, before later callbacks may set one of their own.

    Attributes:
      step: steps since the stage began.
      epoch: the current epoch, counted from 0.
      steps_per_epoch: steps in a whole epoch.
    """

    def __init__(self, *, steps_per_epoch: int) -> None:
        super().__init__()
        self.step = self.epoch = 0
        self.steps_per_epoch = steps_per_epoch
        self._short = False

    def move(self, step: int) -> None:
        """Sets the step; call it before anything runs."""
        self.step = step
        self._short = not self.epoch_is_over

    @property
    def epoch_is_over(self) -> bool:
        """Whether the last step ended an epoch."""
        return self.step % self.steps_per_epoch == 0

    @property
    def step_in_epoch(self) -> int:
        """Number of the last step in its epoch, counted from 1."""
        return (self.step - 1) % self.steps_per_epoch + 1

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Records the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the step, and stops a short epoch at its last batch."""
        self.step += 1
        if self._short and self.epoch_is_over:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Undoes the stop of a short epoch."""
        if self._short:
            self._short = self.model.stop_training = False


class ModelState:
    """Every variable that a train step reads or writes: model (seed generators too), optimizer and metrics.

    Create it after the optimizer and the metrics are built, when all variables exist.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        variables = {"model": model.variables, "optimizer": model.optimizer.variables}
        variables["metric"] = [variable for metric in model.metrics for variable in metric.variables]
        self._variables = {
            f"{group} {index}: {_stable_path(variable)}": variable
            for group, members in variables.items()
            for index, variable in enumerate(members)
        }

    def specs(self) -> list[ArraySpec]:
        """Returns name, shape and dtype of every variable."""
        return [
            (name, tuple(variable.shape), keras.backend.standardize_dtype(variable.dtype))
            for name, variable in self._variables.items()
        ]

    def read(self) -> dict[str, np.ndarray]:
        """Returns a copy of every variable by name, with the dtypes and shapes of `specs`."""
        if hasattr(self._model, "jax_state_sync"):
            self._model.jax_state_sync()  # inside `fit` Keras on JAX holds the newest values elsewhere
        return {name: np.array(keras.ops.convert_to_numpy(variable)) for name, variable in self._variables.items()}

    def assign(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets variables by name to arrays with the dtypes and shapes of `specs`."""
        for name, array in arrays.items():
            self._variables[name].assign(array)


def _stable_path(variable: Any) -> str:
    """Returns the variable's path without the numbers that Keras appends to repeated layer names in a process."""
    return "/".join(re.sub(r"_\d+$", "", part) for part in variable.path.split("/"))


@dataclasses.dataclass(frozen=True)
class HandOver:
    """What the next model of a run starts from: the complete state after an epoch's end, and the checkpoints so far."""

    state: Checkpoint
    folder: CheckpointFolder


class CheckpointSaver(keras.callbacks.Callback):
    """Saves every `save_every` steps, at each epoch's last step, and after SIGTERM. Put it last.

    The checkpoint of an epoch's last step precedes the validation, which a resumed run repeats. The state that the
    next model starts from, at the end of `hand_over_epoch`, follows the validation and stays in memory.

    Args:
      folder: the checkpoints of the run.
      model_state: state of the model that is trained.
      position: first in the list of callbacks.
      parts: the callbacks with a state, by its name in the checkpoint.
      save_every: steps; 0 saves at each epoch's last step only.
      setting: what determines the exact result besides the checkpoint: threads, device and so on.
      hand_over_epoch: the epoch, counted from 0, whose end is kept in `handed_over`; None keeps none.

    Attributes:
      handed_over: the complete state after `hand_over_epoch`, once that has ended.
      saved_step: step of the newest checkpoint.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        *,
        model_state: ModelState,
        position: Position,
        parts: Mapping[str, Resumable],
        save_every: int,
        setting: Mapping[str, Any],
        hand_over_epoch: int | None = None,
    ) -> None:
        super().__init__()
        self._folder, self._model_state, self._position, self._parts = folder, model_state, position, dict(parts)
        self._save_every, self._setting = save_every, dict(setting)
        self._running_metrics: dict[str, np.ndarray] = {}
        self._hand_over_epoch = hand_over_epoch
        self.handed_over: HandOver | None = None
        self.saved_step = 0

    def resume(self, *, step: int = 0, after: int = 0) -> int:
        """Restores the newest valid checkpoint and returns its step; 0 if there is none.

        Args:
          step: of the newest checkpoint whose files are whole, for which the model was made; 0 if there is none.
          after: the last step of the phases before the model's.

        Raises:
          UserError: no checkpoint fits the model, although there is a whole one.
        """
        checkpoint = self._folder.newest()
        if step and (checkpoint is None or checkpoint.step <= after):
            self._refuse(has_older=checkpoint is not None)
        if checkpoint is None:
            print(f"No valid checkpoint in {self._folder.directory}: starting at step 0.", flush=True)
            return 0
        self._restore(checkpoint)
        self._running_metrics = {name: array for name, array in checkpoint.arrays.items() if _is_metric(name)}
        self._position.move(checkpoint.step)
        self.saved_step = checkpoint.step
        epoch = max(checkpoint.step - 1, 0) // self._position.steps_per_epoch + 1
        print(f"Resuming from step {checkpoint.step} (epoch {epoch}) of {self._folder.directory}.", flush=True)
        self._compare_setting(checkpoint.state["setting"])
        return checkpoint.step

    def _refuse(self, *, has_older: bool) -> NoReturn:
        """Refuses a whole checkpoint that was skipped, since those of a run from step 0 would replace it."""
        path, reason = next(iter(self._folder.skipped.items()))
        if has_older:
            raise UserError(
                f"The checkpoint {path} cannot be loaded ({reason}), and the one before it has another image size: "
                f"remove {path.name}, and the same command resumes from that one."
            )
        raise UserError(
            f"The checkpoint {path} does not fit this model ({reason}): resume with the versions of carclf and Keras "
            "that the run's stage.json names, or start again with --overwrite and without --resume_from."
        )

    def take_over(self, handed_over: HandOver, *, step: int) -> int:
        """Restores the state that another model has handed over, and returns `step`, the first step of an epoch."""
        self._folder = handed_over.folder
        self._restore(handed_over.state)
        self._position.move(step)
        self.saved_step = handed_over.state.step
        return step

    def _restore(self, checkpoint: Checkpoint) -> None:
        self._model_state.assign({name: a for name, a in checkpoint.arrays.items() if not _is_metric(name)})
        for name, part in self._parts.items():
            if name in checkpoint.state:  # patience has no state before the last size
                part.restore(checkpoint.state[name])

    def _compare_setting(self, saved: Mapping[str, Any]) -> None:
        changed = [(name, saved.get(name), now) for name, now in self._setting.items() if saved.get(name) != now]
        if changed:
            said = ", ".join(f"{name} {then} → {now}" for name, then, now in changed)
            draws = "backend" in {name for name, _, _ in changed}
            differ = "dropout draws other numbers" if draws else "results may differ in their last bits"
            print(f"The machine is not the same ({said}): {differ}.", flush=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Restores the running means of the interrupted epoch, which `fit` has just reset."""
        self._model_state.assign(self._running_metrics)
        self._running_metrics = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves a checkpoint if one is due.

        Raises:
          UserError: the weights are not finite, or the checkpoint cannot be written.
          Preempted: SIGTERM has arrived, and this step is saved.
        """
        position = self._position
        periodic = self._save_every and position.step % self._save_every == 0
        if periodic or position.epoch_is_over or preemption.noted():
            self.save()
        preemption.check()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps what is handed over: at the end of `fit`, averages may replace the weights."""
        if epoch == self._hand_over_epoch:
            self.handed_over = HandOver(self._checkpoint(), self._folder)

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends the validation if SIGTERM has arrived; the step before it is saved.

        Raises:
          Preempted: SIGTERM has arrived.
        """
        preemption.check()

    def save(self) -> None:
        """Writes a checkpoint of the current step.

        Raises:
          UserError: the weights are not finite, or the checkpoint cannot be written.
        """
        step = self._position.step
        try:
            self._folder.write(self._checkpoint())
        except NonFiniteStateError as error:
            raise UserError(
                f"The weights became NaN or infinite by step {step} ({error}): lower --learning_rate, set "
                f"--clip_norm=1, or use --precision=float32, {AFRESH}; the checkpoint of step {self.saved_step} is "
                "kept."
            ) from None
        except OSError as error:
            raise UserError(
                f"The checkpoint of step {step} could not be written to {self._folder.directory} "
                f"({os.strerror(error.errno) if error.errno else error}): make room there, and the same command "
                f"resumes from step {self.saved_step}."
            ) from None
        self.saved_step = step

    def _checkpoint(self) -> Checkpoint:
        state = {name: part.state() for name, part in self._parts.items()}
        return Checkpoint(
            step=self._position.step,
            arrays=self._model_state.read(),
            state=state | {"setting": self._setting},
            best_epoch=_best_epoch(state["best"]),
        )


def _best_epoch(best: Mapping[str, Any]) -> int | None:
    """Returns the epoch of the best weights' file, 0 for those before the first epoch; None if there is no file yet."""
    return best["epoch"] if best["epoch"] or best["score"] else None


def _is_metric(name: str) -> bool:
    return name.startswith("metric ")


def run_epoch_end(
    model: keras.Model, *, callbacks: Sequence[keras.callbacks.Callback], val_data: Any, epoch: int
) -> bool:
    """Validates, runs the callbacks for the end of `epoch`, and returns whether training continues.

    `fit` does the same after an epoch's last step; this is for a run that was interrupted there.
    """
    listed = keras.callbacks.CallbackList(list(callbacks), model=model)
    model.stop_training = False
    listed.on_epoch_begin(epoch)
    logs = dict(model.get_metrics_result())
    validated = model.evaluate(val_data, callbacks=listed, return_dict=True, verbose=0)
    listed.on_epoch_end(epoch, logs | {f"val_{name}": value for name, value in validated.items()})
    print(f"Epoch {epoch + 1}: validated again, val_accuracy {validated['accuracy']:.4f}.", flush=True)
    return not model.stop_training
