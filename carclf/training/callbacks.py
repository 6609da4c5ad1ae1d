"""What happens between epochs: timing, history, best weights, and a stop at the first loss that is not a number."""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from carclf import runs
from carclf.errors import UserError

HISTORY_COLUMNS = (
    "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second"
)  # fmt: skip


class TimingCallback(keras.callbacks.Callback):
    """Adds seconds, images_per_second and learning_rate to the logs of each epoch, and keeps the total.

    Put it first: later callbacks see what it adds. Source: the notebook's callback of the same name.

    Attributes:
      seconds: of each finished epoch, validation included.
    """

    def __init__(self, *, images_per_epoch: int, learning_rate_at: Callable[[int], float]) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._images_per_epoch = images_per_epoch
        self._learning_rate_at = learning_rate_at
        self._started = self._trained = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the epoch's clock."""
        self._started = self._trained = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes when training, as opposed to validation, was last at work."""
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch's figures into `logs`."""
        self.seconds.append(time.perf_counter() - self._started)
        if logs is not None:
            logs["seconds"] = round(self.seconds[-1], 3)
            logs["images_per_second"] = round(self._images_per_epoch / max(self._trained - self._started, 1e-9), 1)
            logs["learning_rate"] = self._learning_rate_at(epoch)

    @property
    def total_seconds(self) -> float:
        """Seconds of all finished epochs."""
        return sum(self.seconds)


class HistoryFile(keras.callbacks.Callback):
    """Rewrites history.csv after each epoch, so that a run cut short keeps what it reached.

    `loss` and `val_loss` in it are the mean cross-entropy of the photos, without weight penalties.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.rows: list[dict[str, Any]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Appends the epoch, counted from 1."""
        logs = logs or {}
        row = logs | {
            "epoch": epoch + 1,
            "loss": logs["cross_entropy"],
            "val_loss": logs["val_cross_entropy"],
        }
        self.rows.append({name: row.get(name) for name in HISTORY_COLUMNS})
        runs.write_atomically(self._path, self.frame().to_csv(index=False, lineterminator="\n").encode())

    def frame(self) -> pd.DataFrame:
        """One row an epoch, the columns of `HISTORY_COLUMNS`."""
        return pd.DataFrame(self.rows, columns=list(HISTORY_COLUMNS))


class BestWeights(keras.callbacks.Callback):
    """Saves the classifier whenever val_accuracy rises, or equals the best with a lower cross-entropy.

    Attributes:
      best_epoch: counted from 1; 0 before the first epoch has ended.
      best_accuracy: its val_accuracy.
    """

    def __init__(self, classifier: keras.Model, path: Path) -> None:
        super().__init__()
        self._classifier, self._path = classifier, path
        self._best = (-math.inf, -math.inf)
        self.best_epoch = 0

    @property
    def best_accuracy(self) -> float:
        """Validation accuracy of the best epoch, in 0..1."""
        return self._best[0]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compares and saves."""
        logs = logs or {}
        score = (float(logs["val_accuracy"]), -float(logs["val_cross_entropy"]))
        if score > self._best:
            self._best, self.best_epoch = score, epoch + 1
            save_weights(self._classifier, self._path)


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends the run at the first step whose loss is NaN or infinite; weights saved before stay as they are."""

    def __init__(self, *, steps_per_epoch: int) -> None:
        super().__init__()
        self._steps_per_epoch = steps_per_epoch
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the loss.

        Raises:
          UserError: it is not finite.
        """
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise UserError(
                f"The loss became {loss} at epoch {self._epoch + 1}, step {batch + 1} "
                f"(step {self._epoch * self._steps_per_epoch + batch + 1} of the run): lower --learning_rate, set "
                "--clip_norm=1, or use --precision=float32; the best weights of earlier epochs are kept."
            )


def save_weights(model: keras.Model, path: Path) -> None:
    """Writes the weights so that the file is either the old or the new one, whatever happens."""
    temporary = path.with_name(f".{path.name.removesuffix('.weights.h5')}.{os.getpid()}.weights.h5")
    try:
        model.save_weights(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
