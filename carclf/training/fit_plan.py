"""What a fit is given, in a few values, and what it returns."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf

from carclf.data.input_clock import InputClock
from carclf.model.schedules import Schedule
from carclf.training.checkpointing import HandOver
from carclf.training.estimate import StageEstimate
from carclf.training.phases import Phase
from carclf.training.preemption import Preemption


@dataclasses.dataclass(frozen=True)
class FitResult:
    """How the fit of a phase ended.

    Attributes:
      history: one row per epoch of the stage so far (`carclf.training.callbacks.HISTORY_COLUMNS`).
      best_epoch: counted from 1; None where an average of epochs is kept instead.
      best_accuracy: val_accuracy of what is kept, 0..1.
      train_seconds: of all epochs, validation included, and of what was computed for them before.
      handed_over: what the next phase starts from; None after the last.
    """

    history: pd.DataFrame
    best_epoch: int | None
    best_accuracy: float
    train_seconds: float
    handed_over: HandOver | None = None

    def metrics(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        return {
            "best_epoch": self.best_epoch,
            "epochs": len(self.history),
            "train_seconds": round(self.train_seconds, 3),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class FitData:
    """What a phase learns from and is validated on.

    Attributes:
      training_from: batches (inputs, target, weight) from a step on, to the last epoch or without end.
      validation: the whole validation fold.
      input_clock: watches the data sets of `training_from`.
      rows_of_step: the rows of the photos in a step's batch, for an error text.
    """

    training_from: Callable[[int], tf.data.Dataset]
    validation: tf.data.Dataset
    input_clock: InputClock
    rows_of_step: Callable[[int], Sequence[int]]


@dataclasses.dataclass(frozen=True)
class FitPlan:
    """How long a phase is trained, how fast, and which weights are kept.

    Attributes:
      phase: its epochs, their batches and how steps are counted.
      epochs: of all phases, at the most.
      schedule: the learning rate by step.
      patience: epochs of the last phase without a better val_accuracy before stopping; 0 never stops.
      averaged: whether the optimizer averages the weights: then it is the averages that are validated and kept.
      kept_epochs: of how many of the last epochs the weights are kept, for their average.
    """

    phase: Phase
    epochs: int
    schedule: Schedule
    patience: int = 0
    averaged: bool = False
    kept_epochs: int = 0

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
      every_steps: steps between two checkpoints; 0 is at the end of each epoch only.
      resume: whether to resume from the folder's newest valid checkpoint.
      preemption: whether SIGTERM has come.
      setting: what, besides a checkpoint, decides each bit of the result.
      hosts: machines that train together.
    """

    directory: Path
    identity: Mapping[str, str]
    every_steps: int
    resume: bool
    preemption: Preemption
    setting: Mapping[str, Any]
    hosts: int = 1


@dataclasses.dataclass(frozen=True)
class Watching:
    """What people see of the training; nothing of it changes a result.

    Attributes:
      verbose: 1 draws a progress bar, 2 prints a line per epoch, 0 is silent.
      tensorboard: whether each epoch's figures go to tensorboard/ in the run's folder.
      estimate: of the time that the stage takes from this phase on; None estimates nothing.
      profile_steps: the first and the last step, counted from 1 at the start, whose profile goes there, too.
    """

    verbose: int
    estimate: StageEstimate | None = None
    tensorboard: bool = False
    profile_steps: tuple[int, int] | None = None
