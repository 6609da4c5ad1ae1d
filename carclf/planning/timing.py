"""Times candidates by the commands themselves: each trains for a few epochs in a process of its own."""

import csv
import dataclasses
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from carclf import preemption, runs
from carclf.children import run_child
from carclf.errors import UserError
from carclf.flags import options_of
from carclf.planning.candidates import STAGES, Candidate
from carclf.planning.costs import PredictionTiming, Timing, Timings, timing_of
from carclf.planning.sampling import TimingSample
from carclf.train_options import TrainOptions

EPOCHS = 3  # the first compiles
# Options that a sample cannot take, which lacks photos and classes, or so few epochs; an epoch takes as long without.
UNTIMED = ("label_patch", "pseudo_labels", "class_weights", "warmup_epochs", "swa_epochs", "profile_steps")
LEAST_LIMIT_SECONDS, LIMIT_SHARE = 120.0, 0.1  # of the budget: what one candidate, and all of them, may take


class TimingFailedError(Exception):
    """A candidate could not be timed; the message says why."""


@dataclasses.dataclass(frozen=True)
class Stopwatch:
    """Times the commands of a plan.

    Attributes:
      sample: what they train on.
      given: options of the command line by name, which every stage has; those of `UNTIMED` are not timed.
      folder: where runs and logs go.
      limit_seconds: how long a candidate after the first may take, and all together before no other is begun.
    """

    sample: TimingSample
    given: Mapping[str, str]
    folder: Path
    limit_seconds: float

    def times(self, candidates: Sequence[Candidate]) -> Timings:
        """Returns the timings of the candidates that are fast enough, and prints a line for each.

        Raises:
          UserError: the device is refused, or no candidate can be timed.
          Preempted: SIGTERM has arrived.
        """
        device, start_seconds = self._start()
        print(device, flush=True)
        began, timed, slow, reason = time.monotonic(), list[Timing](), dict[str, int](), ""
        prediction = PredictionTiming(start_seconds=start_seconds, run_seconds=0.0)
        for number, candidate in enumerate(candidates):
            name = f"Timing {number + 1} of {len(candidates)}: {candidate}"
            if timed and time.monotonic() - began > self.limit_seconds:
                print(f"{name} is left out: the timings have taken enough of the budget.", flush=True)
                continue
            if slow.get(_network(candidate), candidate.pixels) < candidate.pixels:
                print(f"{name} is left out: a smaller size was too slow or failed.", flush=True)
                continue
            try:
                # The first that can be timed may take what it takes: it says how small a budget can be.
                timing = self._time(candidate, str(number), limit_seconds=self.limit_seconds if timed else None)
            except TimingFailedError as error:
                slow.setdefault(_network(candidate), candidate.pixels)
                reason = str(error)
                print(f"{name}: {reason}.", flush=True)
                continue
            timed.append(timing)
            print(f"{name}: {describe(timing)}.", flush=True)
            if not prediction.run_seconds:
                prediction = self._time_prediction(timing, str(number), start_seconds)
        if not timed:
            raise UserError(f"Nothing can be planned: {reason}.")
        return Timings(device, tuple(timed), prediction)

    def _start(self) -> tuple[str, float]:
        """Returns the line about the device, and the seconds until TensorFlow and Keras have started."""
        log = self.folder / "start.txt"
        arguments = [self.given.get("device", "auto"), self.given.get("precision", "auto")]
        code, seconds = self._run("carclf.planning.starting", arguments, log, limit_seconds=None)
        line = _last_line(log)
        if code:
            if line.startswith("Error: "):
                raise UserError(line.removeprefix("Error: "))
            raise UserError(
                f"TensorFlow did not start (exit code {code}, {line!r}): see what python -c 'import tensorflow' says."
            )
        return line, seconds

    def _time(self, candidate: Candidate, name: str, *, limit_seconds: float | None) -> Timing:
        """Trains a candidate and returns its timing.

        Raises:
          TimingFailedError: it takes too long, or the command fails.
        """
        run, log = self.folder / name, self.folder / f"{name}.txt"
        options = {**candidate.options(), **self._timed(), "epochs": str(EPOCHS), "patience": "0", "run": str(run)}
        options |= {
            "save_every": "0",
            "data": self.sample.directory,
            "init_from": "",
            "val_fold": self.given.get("val_fold", "0"),
        }
        flags = [f"--stage={STAGES[candidate.part]}", *(f"--{key}={value}" for key, value in options.items())]
        code, seconds = self._run("carclf.train", flags, log, limit_seconds=limit_seconds)
        if code == -signal.SIGKILL and limit_seconds is not None and seconds >= limit_seconds:
            raise TimingFailedError(f"too slow for this budget, {seconds:.0f} s for {EPOCHS} short epochs")
        if code:
            raise TimingFailedError(_last_line(log).removeprefix("Error: ").rstrip(".") or f"exit code {code}")
        with open(run / runs.HISTORY_FILE, encoding="utf-8") as file:
            history = [
                {key: float(row[key]) for key in ("seconds", "images_per_second")} for row in csv.DictReader(file)
            ]
        return timing_of(
            candidate,
            history,
            wall_seconds=seconds,
            period_seconds=_period(run, steps=self.sample.train_photos // candidate.batch_size),
            train_photos=self.sample.train_photos,
            val_photos=self.sample.val_photos,
        )

    def _timed(self) -> dict[str, str]:
        """Returns the options of the command line that a timing has; decoded photos of the sample go with it."""
        timed = {name: value for name, value in self.given.items() if name not in UNTIMED}
        if timed.get("cache", "none") not in options_of(TrainOptions)["cache"].choices:
            timed["cache"] = str(self.folder / "cache")
        return timed

    def _time_prediction(self, timing: Timing, name: str, start_seconds: float) -> PredictionTiming:
        """Predicts the held-out photos with the run of a candidate and returns what a run costs."""
        log, output = self.folder / "predict.txt", self.folder / "val.csv"
        flags = [f"--run={self.folder / name}", f"--data={self.sample.directory}", "--split=val", "--tta=clean"]
        if "device" in self.given:
            flags.append(f"--device={self.given['device']}")
        code, seconds = self._run("carclf.predict", [*flags, f"--output={output}"], log, limit_seconds=None)
        if code:
            raise UserError(f"The prediction could not be timed: {_last_line(log).removeprefix('Error: ')}")
        run_seconds = seconds - start_seconds - timing.val_photos * timing.val_seconds
        return PredictionTiming(start_seconds=start_seconds, run_seconds=max(run_seconds, 0.1))

    def _run(
        self, module: str, arguments: Sequence[str], log: Path, *, limit_seconds: float | None
    ) -> tuple[int, float]:
        """Runs a command and returns its exit code and its seconds.

        Raises:
          Preempted: SIGTERM has arrived; how the command ended says nothing then.
        """
        preemption.check()
        started = time.monotonic()
        command = [sys.executable, "-m", module, *arguments]
        code = run_child(command, what="timing", output=log, limit_seconds=limit_seconds)
        seconds = time.monotonic() - started
        (preemption.check_soon if code == preemption.PREEMPTED else preemption.check)()
        return code, seconds


def limit_seconds(budget_seconds: float) -> float:
    """Returns how long the timings of a budget may take."""
    return max(LEAST_LIMIT_SECONDS, LIMIT_SHARE * budget_seconds)


def describe(timing: Timing) -> str:
    """Returns what a timing says, in a clause."""
    rate = 1 / max(timing.train_seconds, 1e-9)
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return (
        f"{shown} photos per second, {timing.once_seconds:.0f} s besides the epochs, "
        f"{timing.compile_seconds:.0f} s of them to compile"
    )


def _period(run: Path, *, steps: int) -> float:
    """Returns the seconds between the checkpoints of the last two epochs, each written after its last step."""
    files = (run / runs.CHECKPOINTS_FOLDER / f"step-{epoch * steps:08d}.json" for epoch in (EPOCHS - 1, EPOCHS))
    before, last = (file.stat().st_mtime for file in files)
    return last - before


def _network(candidate: Candidate) -> str:
    return f"{candidate.backbone} {candidate.part}"


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("Error: ")]
    return (said or lines or [""])[-1]
