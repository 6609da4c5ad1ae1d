"""One trial: the trainer in a process of its own, watched through its history.csv, and only its figures kept."""

import csv
import dataclasses
import json
import multiprocessing
import os
import runpy
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from carclf import runs
from carclf.errors import UserError
from carclf.flags import changed_options
from carclf.train_options import TrainOptions
from carclf.workers import end_with_parent

LOG_FILE = "log.txt"
KEPT_FILES = (runs.STAGE_FILE, runs.HISTORY_FILE, runs.METRICS_FILE, LOG_FILE)
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_SAVE = 30.0  # that a pruned trainer has to end by itself

Report = Callable[[int, float], bool]
"""Takes an epoch, counted from 1, and its val_accuracy; says whether to stop: the trial is worth no more."""


class TrialFailedError(Exception):
    """A trial came to nothing; the message is the reason. The search continues."""


class TrialPrunedError(Exception):
    """A trial was ended because others do better."""


@dataclasses.dataclass(frozen=True)
class TrainTrial:
    """Trains with the options of one trial.

    Attributes:
      base: the options that are not searched.
      folder: in which every trial has its run, trial-00000 and so on.
    """

    base: TrainOptions
    folder: Path

    def __call__(self, number: int, values: Mapping[str, Any], report: Report) -> float:
        """The val_accuracy of the weights that the training keeps, 0..1.

        Args:
          number: of the trial.
          values: of the searched options.
          report: is called after each epoch.

        Raises:
          TrialFailedError: the trainer ended without a result: refused options, memory, a crash.
          TrialPrunedError: `report` asked for it.
        """
        directory = self.folder / f"trial-{number:05d}"
        shutil.rmtree(directory, ignore_errors=True)  # of a study of this name that is gone
        directory.mkdir(parents=True)
        process = multiprocessing.get_context("spawn").Process(
            target=_train, args=(self._arguments(directory, values), directory / LOG_FILE), daemon=True
        )
        process.start()
        try:
            _watch(process, directory / runs.HISTORY_FILE, report)
        finally:
            _end(process)
            _drop_weights(directory)
        if process.exitcode:
            raise TrialFailedError(_reason(process.exitcode, directory / LOG_FILE))
        return float(json.loads((directory / runs.METRICS_FILE).read_text(encoding="utf-8"))["val_accuracy"])

    def _arguments(self, directory: Path, values: Mapping[str, Any]) -> list[str]:
        try:
            options = dataclasses.replace(
                self.base, **values, run=str(directory.resolve()), save_every=0, tensorboard=False
            )
        except UserError as error:  # two values that exclude each other
            raise TrialFailedError(str(error)) from None
        return [f"--{name}={value}" for name, value in changed_options(options).items()]


def _train(arguments: list[str], log: Path) -> None:
    """What the process of a trial does: the trainer's own door, its output in a file; it ends when the search does."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["carclf.train", *arguments]
    runpy.run_module("carclf.train", run_name="__main__")


def _watch(process: multiprocessing.process.BaseProcess, history: Path, report: Report) -> None:
    """Reports each epoch once, until the process has ended.

    Raises:
      TrialPrunedError: `report` asked for it while there was something left to save.
    """
    reported = 0
    while True:
        alive = process.is_alive()  # before the look, which is then complete once it has ended
        for epoch, accuracy in _epochs(history)[reported:]:
            reported = epoch
            if report(epoch, accuracy) and alive:
                raise TrialPrunedError
        if not alive:
            return
        process.join(SECONDS_BETWEEN_LOOKS)


def _epochs(history: Path) -> list[tuple[int, float]]:
    try:
        text = history.read_text(encoding="utf-8")  # replaced as a whole after each epoch
    except FileNotFoundError:
        return []
    return [(int(row["epoch"]), float(row["val_accuracy"])) for row in csv.DictReader(text.splitlines())]


def _end(process: multiprocessing.process.BaseProcess) -> None:
    if process.is_alive():
        process.terminate()
        process.join(SECONDS_TO_SAVE)
    if process.is_alive():
        process.kill()
        process.join()


def _drop_weights(directory: Path) -> None:
    """Leaves the figures and the log: the best trial is trained again from its flag file, the others never."""
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in KEPT_FILES:
            path.unlink(missing_ok=True)


def _reason(code: int, log: Path) -> str:
    """Why a trainer ended with this exit code: a signal, its own sentence, or the last line of a traceback."""
    if code < 0:
        return f"the trainer was killed by signal {-code}, most likely because memory ran out (see {log})"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    sentence = next((line for line in reversed(lines) if line.startswith("Error: ")), lines[-1] if lines else "")
    return f"{sentence.removeprefix('Error: ').rstrip('.')} (exit code {code}, see {log})"
