"""What people see during training: a progress bar, TensorBoard, a profile. Nothing here changes a result."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from carclf import progress
from carclf.training.checkpointing import Position
from carclf.training.estimate import StageEstimate

SCALARS = {  # by TensorBoard's name of the curves, which is Keras's: tag → column of history.csv
    "train": {
        "epoch_loss": "loss",
        "epoch_accuracy": "accuracy",
        "epoch_score": "score",
        "epoch_learning_rate": "learning_rate",
        "images_per_second": "images_per_second",
        "waiting_fraction": "waiting_fraction",
    },
    "validation": {"epoch_loss": "val_loss", "epoch_accuracy": "val_accuracy", "epoch_score": "val_score"},
}
LEAST_LEFT = 5  # times `carclf.progress.FIRST_SECONDS`: shorter remaining times are not worth a line
SHOWN = {  # by the progress bar: name → key in the logs; `loss` excludes penalties, as in history.csv
    "loss": "cross_entropy",
    "accuracy": "accuracy",
    "val_loss": "val_cross_entropy",
    "val_accuracy": "val_accuracy",
    "val_score": "val_score",
    "lr": "learning_rate",
    "images/s": "images_per_second",
}


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras's progress bar, with images per second since the epoch's second step, the step's learning rate and an
    estimate of the minutes that the whole stage will still take.

    Without a terminal (`verbose=2`) it prints a plain line per epoch, and the estimate as a line on stderr. Either way
    it reports compiling and validation while they run. Close it after `fit`, however that ended.

    Args:
      position: counts the run's steps.
      batch_size: photos per step, over all devices.
      epochs: number in the whole stage; `fit` may know only some of them.
      learning_rate_at: returns the rate of a step of the run; steps are counted from 0.
      estimate: estimates the time of this phase and the later ones; None for no estimate.
    """

    def __init__(
        self,
        *,
        position: Position,
        batch_size: int,
        epochs: int,
        learning_rate_at: Callable[[int], float],
        estimate: StageEstimate | None = None,
    ) -> None:
        super().__init__()
        self._position, self._batch_size, self._all_epochs = position, batch_size, epochs
        self._learning_rate_at, self._estimate = learning_rate_at, estimate
        self._first_step_ended = 0.0
        self._work: progress.Progress | None = None

    def _begin(self, what: str) -> None:
        self.close()
        if self.verbose:
            self._work = progress.Progress(what).__enter__()

    def close(self) -> None:
        """Ends the report of the current work."""
        if self._work is not None:
            self._work.__exit__(*sys.exc_info())
            self._work = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Reports that the first step compiles."""
        super().on_train_begin(logs)
        self._begin("Compiling the training step")

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Reports that the epoch is being validated."""
        super().on_test_begin(logs)
        self._begin("Validating")

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Ends the report of the validation."""
        super().on_test_end(logs)
        self.close()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins a bar for the rest of the epoch, which a resumed run may begin in the middle."""
        self.epochs = self._all_epochs
        steps = self._position.steps_per_epoch
        self.target = steps - self._position.step % steps
        if self._estimate:
            self._estimate.epoch_began(time.perf_counter())
        super().on_epoch_begin(epoch, logs)
        if self.progbar is not None:  # older versions of Keras show the means of these over the steps
            self.progbar.stateful_metrics = {*SHOWN, "minutes left"}

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Advances the bar."""
        now = time.perf_counter()
        if not batch:
            self.close()
        if self._estimate:
            self._estimate.step_ended(now)
        if self.verbose != 1:
            self._report(now)
            return
        shown = _shown(logs) | {"lr": self._learning_rate_at(self._position.step - 1)}
        if batch:  # the first step compiles
            shown["images/s"] = batch * self._batch_size / (now - self._first_step_ended)
        else:
            self._first_step_ended = now
        if (left := self._seconds_left()) is not None:
            shown["minutes left"] = left / 60
        super().on_train_batch_end(batch, shown)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends the bar with the results of the validation."""
        now = time.perf_counter()
        if self._estimate:
            self._estimate.epoch_ended(now)
        super().on_epoch_end(epoch, _shown(logs))
        if self.verbose == 2:
            self._report(now, epoch_over=True)

    def _seconds_left(self) -> float | None:
        return self._estimate.seconds_left(self._position.step) if self._estimate else None

    def _report(self, now: float, *, epoch_over: bool = False) -> None:
        left = self._seconds_left()
        if not (self._estimate and self.verbose) or left is None or left < LEAST_LEFT * progress.FIRST_SECONDS:
            return
        if line := self._estimate.report(self._position.step, now, epoch_over=epoch_over):
            print(line, file=sys.stderr, flush=True)


def _shown(logs: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: logs[key] for name, key in SHOWN.items() if logs and key in logs}


class TensorBoardScalars(keras.callbacks.Callback):
    """Adds each epoch to the curves in a folder that TensorBoard reads. Put it after the history.

    It works without TensorBoard installed, unlike `keras.callbacks.TensorBoard`, and costs nothing per step.
    """

    def __init__(self, directory: Path, *, newest_row: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__()
        self._newest_row = newest_row
        self._writers = {name: tf.summary.create_file_writer(str(directory / name)) for name in SCALARS}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the newest row of the history, at its epoch, counted from 1."""
        row = self._newest_row()
        for name, writer in self._writers.items():
            with tf.device("CPU"), writer.as_default(step=epoch + 1):
                for tag, column in SCALARS[name].items():
                    if row.get(column) is not None:
                        _write_scalar(tag, row[column])
            writer.flush()


def _write_scalar(tag: str, value: float) -> None:
    """Writes what `tf.summary.scalar` would; that function needs TensorBoard, which may not be installed."""
    metadata = tf.compat.v1.SummaryMetadata(data_class="DATA_CLASS_SCALAR")
    metadata.plugin_data.plugin_name = "scalars"
    tf.summary.write(tag, tf.constant(value, tf.float32), metadata=metadata)


class ProfileSteps(keras.callbacks.Callback):
    """Profiles host and device during some steps, for TensorBoard's profile page.

    Args:
      directory: folder that TensorBoard reads.
      first: the first step recorded, counted from 1 at the beginning of this `fit`.
      last: the last one.
    """

    def __init__(self, directory: Path, *, first: int, last: int) -> None:
        super().__init__()
        self._directory, self._first, self._last = directory, first, last
        self._steps = 0
        self._running = False

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts recording."""
        self._steps += 1
        if self._steps == self._first:
            self._running = True
            if keras.backend.backend() == "jax":
                import jax

                jax.profiler.start_trace(str(self._directory))
            else:
                tf.profiler.experimental.start(str(self._directory))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops recording after the last step."""
        if self._steps == self._last:
            self._stop()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Stops recording if there were fewer steps."""
        self._stop()

    def _stop(self) -> None:
        if not self._running:
            return
        self._running = False
        if keras.backend.backend() == "jax":
            import jax

            jax.profiler.stop_trace()
        else:
            tf.profiler.experimental.stop()
        print(f"Profile of steps {self._first} to {min(self._steps, self._last)}: {self._directory}", flush=True)
