"""Finds a learning rate: a few hundred steps at rates that rise from very small to far too large."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd

from carclf.progress import Progress

if TYPE_CHECKING:
    from carclf.training.stage import Stage

LOWEST, HIGHEST = 1e-7, 1.0
SMOOTHING = 0.95  # of the loss, with bias correction for the first steps
DIVERGED = 4.0  # times the lowest smoothed loss: every higher rate is worse. Source: fastai, LRFinder
STEPS = 200
LEAST_STEPS = 20
LEAST_FALL = 0.02  # as a share of the first loss: less is noise


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The measurements: learning_rate and loss (of one batch each), float64 [N], in the order of the steps."""

    learning_rate: np.ndarray
    loss: np.ndarray

    @property
    def smoothed(self) -> np.ndarray:
        """The loss as an exponential moving average, float64 [N]."""
        average, averages = 0.0, []
        for step, loss in enumerate(self.loss, start=1):
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            averages.append(average / (1 - SMOOTHING**step))
        return np.array(averages)

    def suggestion(self) -> float | None:
        """Returns the rate at which the smoothed loss falls most steeply over log(rate); None if it never falls.

        Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3, as in fastai.
        """
        if len(self.loss) < LEAST_STEPS:
            return None
        loss = self.smoothed
        end = int(np.argmin(loss)) + 1
        if end < LEAST_STEPS // 2 or loss[0] - loss.min() < LEAST_FALL * loss[0]:
            return None
        slopes = [self._slope(loss[:end], index) for index in range(end)]
        steepest = int(np.argmin(slopes))
        return float(self.learning_rate[steepest]) if slopes[steepest] < 0 else None

    def _slope(self, loss: np.ndarray, index: int) -> float:
        """Returns the slope of the loss over the decade around a rate: a steep fall over a few batches is noise."""
        decades = np.log10(self.learning_rate[: len(loss)])
        near = np.abs(decades - decades[index]) <= 0.5
        if decades[index] - 0.5 < decades[0] or near.sum() < 3:
            return 0.0
        return float(np.polyfit(decades[near], loss[near], 1)[0])

    def frame(self) -> pd.DataFrame:
        """Returns one row per step: learning_rate, loss, smoothed."""
        return pd.DataFrame({"learning_rate": self.learning_rate, "loss": self.loss, "smoothed": self.smoothed})


def sweep_stage(stage: "Stage", model: keras.Model) -> Sweep:
    """Sweeps the learning rate on the stage's own batches; the compiled model is unusable afterwards."""
    from carclf.training.stage_data import training_data  # only here: it needs TensorFlow

    return sweep_learning_rates(model, training_data(stage, cache=None).repeat(), steps=STEPS)


def sweep_learning_rates(model: keras.Model, batches: Any, *, steps: int) -> Sweep:
    """Trains `model` for at most `steps` steps at exponentially rising rates, until the loss diverges.

    The model is unusable afterwards.

    Args:
      model: compiled with an optimizer whose learning rate is a number, not a schedule.
      batches: (inputs, target, weight) for at least `steps` steps.
      steps: maximum number of steps.
    """
    watcher = _RisingRate(steps)
    with Progress("Trying learning rates", total=steps, unit="steps") as progress:
        counting = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: progress.add())
        callbacks = [watcher, counting]
        model.fit(batches, steps_per_epoch=steps, epochs=1, callbacks=callbacks, shuffle=False, verbose=0)
    return Sweep(np.array(watcher.rates), np.array(watcher.losses))


class _RisingRate(keras.callbacks.Callback):
    """Sets the rate before each step and records the loss of that step alone.

    On JAX `fit` reads again what is set here, because Keras's `Callback.model` brings the model up to date.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._steps = steps

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        share = batch / max(self._steps - 1, 1)
        self.model.optimizer.learning_rate = LOWEST * (HIGHEST / LOWEST) ** share
        self.model.reset_metrics()  # so that the loss at the end of the step is of this step alone

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            self.model.stop_training = True
            return
        self.rates.append(float(self.model.optimizer.learning_rate))
        self.losses.append(loss)
        smoothed = Sweep(np.array(self.rates), np.array(self.losses)).smoothed
        self.model.stop_training = len(smoothed) > LEAST_STEPS and smoothed[-1] > DIVERGED * smoothed.min()
