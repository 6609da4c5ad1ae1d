"""Runs one trial: the trainer in its own process; follows its history.csv, and keeps only its figures."""

import csv
import dataclasses
import math
import multiprocessing
import os
import runpy
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from carclf import preemption, runs
from carclf.command import CHECKED
from carclf.errors import UserError, full_disk
from carclf.flags import changed_options
from carclf.runs.run_files import read_metrics
from carclf.train_options import TrainOptions
from carclf.workers import end_with_parent

LOG_FILE = "log.txt"
KEPT_FILES = (runs.STAGE_FILE, runs.HISTORY_FILE, runs.METRICS_FILE, LOG_FILE)
POLL_SECONDS = 0.5
SHUTDOWN_SECONDS = 30.0  # for a pruned trainer to end on its own

Report = Callable[[int, float], bool]
"""Takes an epoch, counted from 1, and its metric; returns whether to prune the trial."""


class TrialFailedError(Exception):
    """A trial ended without a result; the message says why. The search continues."""


class TrialPrunedError(Exception):
    """A trial was ended because others are better."""


@dataclasses.dataclass(frozen=True)
class TrainTrial:
    """Trains with the options of one trial.

    Attributes:
      base: the options that are not searched.
      folder: folder of the trials' runs, trial-00000 and so on.
      column: the column of history.csv, and the entry of metrics.json, with the metric.
    """

    base: TrainOptions
    folder: Path
    column: str = "val_accuracy"

    def __call__(self, number: int, values: Mapping[str, Any], report: Report) -> float:
        """Returns the metric of the weights that the training keeps, on the validation photos.

        Args:
          number: number of the trial.
          values: values of the searched options.
          report: called after each epoch.

        Raises:
          TrialFailedError: the trainer ended without a finite result: refused options, no memory, a crash.
          TrialPrunedError: `report` returned True.
          UserError: the disk is full.
          Preempted: SIGTERM has arrived; the trainer is gone, with what it had reached.
        """
        directory = self.folder / f"trial-{number:05d}"
        shutil.rmtree(directory, ignore_errors=True)  # left by a deleted study of the same name
        directory.mkdir(parents=True)
        process = multiprocessing.get_context("spawn").Process(
            target=_train, args=(self._arguments(directory, values), directory / LOG_FILE), daemon=True
        )
        process.start()
        try:
            _follow(process, directory / runs.HISTORY_FILE, report, column=self.column)
        finally:
            _end(process, at_once=preemption.noted())
            _drop_weights(directory)
        if process.exitcode in (preemption.PREEMPTED, *(-number for number in preemption.SIGNALS)):
            preemption.check_soon()  # the trainer may hear of it first
        if process.exitcode:
            raise _failure(process.exitcode, directory / LOG_FILE)
        return float(read_metrics(directory / runs.METRICS_FILE)[self.column])

    def _arguments(self, directory: Path, values: Mapping[str, Any]) -> list[str]:
        try:
            options = dataclasses.replace(
                self.base, **values, run=str(directory.resolve()), save_every=0, tensorboard=False
            )
        except UserError as error:  # two values that exclude each other
            raise TrialFailedError(str(error)) from None
        return [f"--{name}={value}" for name, value in changed_options(options).items()]


def _train(arguments: list[str], log: Path) -> None:
    """Runs the train command with its output in a file; the process ends when the search does."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ[CHECKED] = "by the search"  # its stage may set options that change nothing with some values
    sys.argv = ["carclf.train", *arguments]
    runpy.run_module("carclf.train", run_name="__main__")


def _follow(process: multiprocessing.process.BaseProcess, history: Path, report: Report, *, column: str) -> None:
    """Reports each epoch once, until the process has ended.

    Raises:
      TrialPrunedError: `report` returned True while the process was running.
      TrialFailedError: an epoch has no finite metric.
      Preempted: SIGTERM has arrived.
    """
    reported = 0
    while True:
        preemption.check()
        alive = process.is_alive()  # checked first: if it has ended, the history is complete
        for epoch, value in _epochs(history, column)[reported:]:
            reported = epoch
            if report(epoch, value) and alive:
                raise TrialPrunedError
        if not alive:
            return
        process.join(POLL_SECONDS)


def _epochs(history: Path, column: str) -> list[tuple[int, float]]:
    try:
        text = history.read_text(encoding="utf-8")  # replaced atomically after each epoch
    except FileNotFoundError:
        return []
    rows = list(csv.DictReader(text.splitlines()))
    if lost := next((row["epoch"] for row in rows if not row[column] or not math.isfinite(float(row[column]))), None):
        raise TrialFailedError(f"{column} is not finite after epoch {lost}")
    return [(int(row["epoch"]), float(row[column])) for row in rows]


def _end(process: multiprocessing.process.BaseProcess, *, at_once: bool) -> None:
    if process.is_alive() and not at_once:
        process.terminate()
        process.join(SHUTDOWN_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


def _drop_weights(directory: Path) -> None:
    """Keeps only figures and log: the best trial is trained again from its flag file, the others never."""
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in KEPT_FILES:
            path.unlink(missing_ok=True)


def _failure(code: int, log: Path) -> Exception:
    """Returns what a trainer that ended with this exit code means: a full disk is no fault of the trial's values."""
    failure = TrialFailedError(_reason(code, log))
    return UserError(f"The search stops: {failure}.") if full_disk(failure) else failure


def _reason(code: int, log: Path) -> str:
    """Returns why a trainer ended with this exit code: a signal, its error, or the last line of a traceback."""
    if code < 0:
        return f"the trainer was killed by signal {-code}, most likely because memory ran out (see {log})"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    sentence = next((line for line in reversed(lines) if line.startswith("Error: ")), lines[-1] if lines else "")
    return f"{sentence.removeprefix('Error: ').rstrip('.')} (exit code {code}, see {log})"
