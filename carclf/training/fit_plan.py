"""The inputs of a fit, grouped in a few classes, and its result."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf

from carclf.data.input_clock import InputClock
from carclf.metrics import Metric, find_metric
from carclf.model.schedules import Schedule
from carclf.training.checkpointing import HandOver
from carclf.training.estimate import StageEstimate
from carclf.training.phases import Phase


@dataclasses.dataclass(frozen=True)
class FitResult:
    """How the fit of a phase ended.

    Attributes:
      history: one row per epoch of the stage so far (`carclf.training.callbacks.HistoryFile`).
      best_epoch: counted from 1; 0 if no epoch was better than the start; None if an average of epochs is kept instead.
      best_score: the metric of the weights that are kept, on the validation photos.
      train_seconds: duration of all epochs, validation included, and of computing their features.
      handed_over: what the next phase starts from; None after the last.
    """

    history: pd.DataFrame
    best_epoch: int | None
    best_score: float
    train_seconds: float
    handed_over: HandOver | None = None

    def metrics(self) -> dict[str, Any]:
        """Returns the entries of metrics.json about the fit."""
        return {
            "best_epoch": self.best_epoch,
            "epochs": len(self.history),
            "train_seconds": round(self.train_seconds, 3),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class FitData:
    """The data of a phase: training and validation.

    Attributes:
      training_from: batches (inputs, target, weight) from a step to the end of the last epoch, or endless.
      validation: the whole validation fold.
      input_clock: measures the input wait of the data sets from `training_from`.
      rows_of_step: returns the rows of the photos in a step's batch, in the lists of Ids 'train' and 'test', for an
        error text.
    """

    training_from: Callable[[int], tf.data.Dataset]
    validation: tf.data.Dataset
    input_clock: InputClock
    rows_of_step: Callable[[int], Mapping[str, Sequence[int]]]


@dataclasses.dataclass(frozen=True)
class FitPlan:
    """How long a phase is trained, at which learning rates, and which weights are kept.

    Attributes:
      phase: its epochs, their batches and how steps are counted.
      epochs: maximum number, over all phases.
      schedule: the learning rate by step.
      metric: what weights, patience and plateau follow.
      patience: epochs of the last phase without a better metric before stopping; 0 never stops.
      uses_ema: whether the optimizer averages the weights (EMA); then the averages are validated and kept.
      starts_trained: whether the weights are validated before the first step, and kept if no epoch is better.
      head_temperature: what the logits are divided by before the first step, once the start is validated.
      kept_epochs: number of last epochs whose weights are kept, for their average (SWA).
    """

    phase: Phase
    epochs: int
    schedule: Schedule
    metric: Metric = dataclasses.field(default_factory=lambda: find_metric("accuracy"))
    patience: int = 0
    uses_ema: bool = False
    kept_epochs: int = 0
    starts_trained: bool = False
    head_temperature: float = 1.0

    @property
    def is_last(self) -> bool:
        """Whether no phase follows."""
        return self.phase.end_epoch == self.epochs


@dataclasses.dataclass(frozen=True)
class Saving:
    """How a run is saved and resumed.

    Attributes:
      directory: the run's folder.
      identity: what a checkpoint must share with this run (`carclf.runs.opening.identity_of`).
      every_steps: steps between two checkpoints; 0 saves at the end of each epoch only.
      resume: whether to resume from the folder's newest valid checkpoint.
      setting: what determines the exact result besides a checkpoint.
      hosts: machines that train together.
      step: of the newest whole checkpoint, for which the phase was chosen; 0 if there is none.
    """

    directory: Path
    identity: Mapping[str, str]
    every_steps: int
    resume: bool
    setting: Mapping[str, Any]
    hosts: int = 1
    step: int = 0


@dataclasses.dataclass(frozen=True)
class Display:
    """The output for people; it changes no result.

    Attributes:
      verbose: 1 draws a progress bar, 2 prints a line per epoch, 0 is silent.
      tensorboard: whether each epoch's figures go to tensorboard/ in the run's folder.
      estimate: estimates the time from this phase to the end of the stage; None for no estimate.
      profile_steps: first and last step to profile, counted from 1 at the start; the profile goes there, too.
    """

    verbose: int
    estimate: StageEstimate | None = None
    tensorboard: bool = False
    profile_steps: tuple[int, int] | None = None
