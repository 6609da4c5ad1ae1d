"""Callbacks that act between epochs: timing, history, best weights, and a stop at the first non-finite loss."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from carclf.data.input_clock import InputClock
from carclf.errors import UserError
from carclf.files import write_atomically
from carclf.metrics import Metric, find_metric
from carclf.model.optimizers import set_learning_rate_scale
from carclf.model.schedules import Schedule, plateau_scale
from carclf.model.weights import weights_in_memory
from carclf.runs.opening import AFRESH
from carclf.runs.weights_files import write_weights
from carclf.training.checkpointing import Position
from carclf.training.ema import EmaWeights

HISTORY_COLUMNS = (
    "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second",
    "waiting_fraction",
)  # fmt: skip

SCORE_COLUMNS = ("score", "val_score")  # of a metric other than the accuracy
ACCURACY = find_metric("accuracy")
PHOTOS = {"train": "training", "test": "test"}  # list of Ids → the photos in it
NO_SCORE = (-math.inf, -math.inf)
WORST = -sys.float_info.max  # so that an epoch whose figures are not finite is better than none


class TimingCallback(keras.callbacks.Callback):
    """Adds seconds, images_per_second, waiting_fraction and learning_rate to each epoch's logs; keeps the total.

    Put it early: later callbacks see what it adds. Source: the notebook's callback of the same name.

    Attributes:
      seconds: duration of each finished epoch, validation included; for an interrupted epoch, the sum of its parts.
    """

    def __init__(
        self, *, images_per_epoch: int, learning_rate_at: Callable[[int], float], input_clock: InputClock | None = None
    ) -> None:
        super().__init__()
        self._clock = input_clock
        self.seconds: list[float] = []
        self._images_per_epoch = images_per_epoch
        self._learning_rate_at = learning_rate_at
        self._started = self._trained = 0.0
        self._unwaited = 0.0  # reading of the input clock before the current epoch waited
        self._before = self._waited_before = 0.0  # seconds of the current epoch before it was interrupted

    def state(self) -> dict[str, Any]:
        """Returns the seconds of every finished epoch, and how long the current one has run and waited."""
        return {
            "seconds": self.seconds,
            "running": time.perf_counter() - self._started,
            "waited": self._input_seconds - self._unwaited,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned; checkpoints of older versions hold no wait."""
        self.seconds, self._before = list(state["seconds"]), state["running"]
        self._waited_before = state.get("waited", 0.0)

    @property
    def _input_seconds(self) -> float:
        return self._clock.seconds if self._clock else 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the epoch's clock."""
        self._trained = time.perf_counter()
        self._unwaited, self._waited_before = self._input_seconds - self._waited_before, 0.0
        self._started, self._before = self._trained - self._before, 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Records when the last training step ended, before any validation."""
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch's figures into `logs`."""
        now = time.perf_counter()
        self.seconds.append(now - self._started)
        if logs is not None:
            logs["seconds"] = round(self.seconds[-1], 3)
            logs["images_per_second"] = round(self._images_per_epoch / max(self._trained - self._started, 1e-9), 1)
            logs["learning_rate"] = self._learning_rate_at(epoch)
            if self._clock:
                waited = self._input_seconds - self._unwaited
                logs["waiting_fraction"] = round(waited / max(self._trained - self._started, 1e-9), 4)
        self._started, self._unwaited = now, self._input_seconds  # no time counts for two epochs

    @property
    def total_seconds(self) -> float:
        """Total seconds of all finished epochs."""
        return sum(self.seconds)


class HistoryFile(keras.callbacks.Callback):
    """Rewrites history.csv after each epoch, so that an interrupted run keeps its figures.

    Its `loss` and `val_loss` are the photos' mean cross-entropy, without weight penalties. With a metric other than
    the accuracy it has `score` and `val_score`, too.
    """

    def __init__(self, path: Path, *, metric: Metric = ACCURACY) -> None:
        super().__init__()
        self._path, self._log = path, metric.log
        self.columns = HISTORY_COLUMNS + (SCORE_COLUMNS if metric.column == "val_score" else ())
        self.rows: list[dict[str, Any]] = []

    def state(self) -> dict[str, Any]:
        """Returns every row."""
        return {"rows": self.rows}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned, and rewrites the file, which may hold epochs that will be repeated."""
        self.rows = [dict(row) for row in state["rows"]]
        self._write()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Appends the epoch, counted from 1."""
        logs = logs or {}
        row = logs | {
            "epoch": epoch + 1,
            "loss": logs["cross_entropy"],
            "val_loss": logs["val_cross_entropy"],
            "score": logs.get(self._log),
            "val_score": logs.get(f"val_{self._log}"),
        }
        self.rows.append({name: row.get(name) for name in self.columns})
        self._write()

    def frame(self) -> pd.DataFrame:
        """Returns one row per epoch with the columns `HISTORY_COLUMNS`, and perhaps `SCORE_COLUMNS`."""
        return pd.DataFrame(self.rows, columns=list(self.columns))

    def _write(self) -> None:
        write_atomically(self._path, self.frame().to_csv(index=False, lineterminator="\n").encode())


class FollowPlateau(keras.callbacks.Callback):
    """Sets the optimizer's learning_rate_scale after each epoch, from the metric of all epochs so far.

    Put it after the history. The scale is one of the optimizer's variables, which a checkpoint holds.
    """

    def __init__(self, schedule: Schedule, history: HistoryFile, *, metric: Metric = ACCURACY) -> None:
        super().__init__()
        self._schedule, self._history, self._metric = schedule, history, metric

    def scale(self, *, before: int) -> float:
        """Returns the scale in epoch `before`, counted from 0."""
        values = [float(row[self._metric.column]) for row in self._history.rows[:before]]
        schedule = self._schedule
        return plateau_scale(
            values,
            factor=schedule.decay,
            patience=schedule.period_epochs,
            min_scale=schedule.lowest_fraction,
            larger_is_better=self._metric.higher,
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the scale for the next epoch."""
        set_learning_rate_scale(self.model.optimizer, self.scale(before=epoch + 1))


class BestWeights(keras.callbacks.Callback):
    """Saves the classifier whenever the metric improves, or equals the best with a lower cross-entropy.

    With `average` it saves the averaged weights, because those were validated. With progressive resizing, epochs
    before `first_epoch` were validated on smaller images: the first epoch at this size replaces them, whatever they
    reached.

    Attributes:
      best_epoch: counted from 1; 0 before the first epoch has ended, and if no epoch is better than the start.
      best_score: the metric on the validation photos at that epoch.
    """

    def __init__(
        self,
        classifier: keras.Model,
        path: Path,
        *,
        average: EmaWeights | None = None,
        first_epoch: int = 0,
        metric: Metric = ACCURACY,
    ) -> None:
        super().__init__()
        self._classifier, self._path, self._average = classifier, path, average
        self._first_epoch, self._metric = first_epoch, metric
        self._best = NO_SCORE
        self.best_epoch = 0

    def state(self) -> dict[str, Any]:
        """Returns the best epoch and its score."""
        return {"epoch": self.best_epoch, "score": list(self._best) if self._best > NO_SCORE else None}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned; the checkpoint restores the file."""
        self.best_epoch = state["epoch"]
        if state["score"] is not None and (self.best_epoch > self._first_epoch or not self._first_epoch):
            rank, negative_entropy = state["score"]
            self._best = rank, negative_entropy

    @property
    def best_score(self) -> float:
        """The metric of the best epoch."""
        return self._metric.rank(self._best[0])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the weights if the epoch is the best so far."""
        score = self._score(logs or {})
        if score > self._best:
            self._best, self.best_epoch = score, epoch + 1
            with self._average.in_model() if self._average else contextlib.nullcontext():
                save_weights(self._classifier, self._path)

    def begin(self, logs: Mapping[str, Any]) -> None:
        """Saves the weights before the first epoch, whose validation gave `logs`; no average of them exists yet."""
        self._best = self._score(logs)
        save_weights(self._classifier, self._path)

    def _score(self, logs: Mapping[str, Any]) -> tuple[float, float]:
        ranks = self._metric.rank(float(logs[f"val_{self._metric.log}"])), -float(logs["val_cross_entropy"])
        return _finite(ranks[0]), _finite(ranks[1])


def _finite(rank: float) -> float:
    return rank if math.isfinite(rank) else WORST


class StopWithoutProgress(keras.callbacks.Callback):
    """Stops after `patience` epochs without a better metric.

    Keras's EarlyStopping forgets what it has seen whenever a `fit` begins.
    """

    def __init__(self, *, patience: int, metric: Metric = ACCURACY) -> None:
        super().__init__()
        self._patience, self._metric = patience, metric
        self._best, self._waited = WORST, 0

    def state(self) -> dict[str, Any]:
        """Returns the best metric, higher for better, and the number of epochs since."""
        return {"best": self._best, "waited": self._waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned."""
        self._best, self._waited = _finite(state["best"]), state["waited"]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops the training if `patience` epochs have passed without a better one."""
        rank = self._rank(logs or {})
        if rank > self._best:
            self._best, self._waited = rank, 0
            return
        self._waited += 1
        if self._waited >= self._patience:
            self.model.stop_training = True

    def begin(self, logs: Mapping[str, Any]) -> None:
        """Counts the weights before the first epoch, whose validation gave `logs`, as the best so far."""
        self._best = self._rank(logs)

    def _rank(self, logs: Mapping[str, Any]) -> float:
        return _finite(self._metric.rank(float(logs[f"val_{self._metric.log}"])))


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends the run at the first step whose loss is NaN or infinite; everything saved before stays as it is.

    Args:
      position: counts the run's steps.
      rows_of_step: returns the rows of the photos in the batch of a step, in the lists of Ids 'train' and 'test'; steps
        are counted from 0.
    """

    def __init__(self, *, position: Position, rows_of_step: Callable[[int], Mapping[str, Sequence[int]]]) -> None:
        super().__init__()
        self._position, self._rows_of_step = position, rows_of_step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks that the loss is finite.

        Raises:
          UserError: it is not finite.
        """
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            position = self._position
            found = self._rows_of_step(position.step - 1)
            photos = " and ".join(
                f"the {PHOTOS[split]} photos in rows {', '.join(map(str, rows))}"
                for split, rows in found.items()
                if rows
            )
            raise UserError(
                f"The loss became {loss} at epoch {position.epoch + 1}, step {position.step_in_epoch} "
                f"(step {position.step} of the run), on a batch of {photos}: lower "
                f"--learning_rate, set --clip_norm=1, or use --precision=float32, {AFRESH}; the last checkpoint and "
                "the best weights of earlier epochs are kept."
            )


def timing_table(history: pd.DataFrame) -> str:
    """Returns a table of seconds, images per second and input wait, for each epoch and in total."""
    lines = [f"{'epoch':>7}{'seconds':>10}{'images/s':>10}{'input wait':>12}"]
    for row in history.to_dict("records"):
        input_wait = row["waiting_fraction"]
        shown = "" if input_wait is None or input_wait != input_wait else f"{input_wait:.1%}"
        lines.append(f"{row['epoch']:>7}{row['seconds']:>10.1f}{row['images_per_second']:>10.1f}{shown:>12}")
    lines.append(f"{'in all':>7}{history['seconds'].sum():>10.1f}")
    return "\n".join(lines)


def save_weights(model: keras.Model, path: Path) -> None:
    """Writes the weights and their hash so that the file is either the old or the new one, whatever happens."""
    write_weights(path, weights_in_memory(model).getbuffer())
