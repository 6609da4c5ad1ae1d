"""Runs commands, and watches the memory of their processes."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from carclf.errors import UserError

POLL_SECONDS = 0.1
ROOT = Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Measured:
    """How a command ran.

    Attributes:
      seconds: from its start to its end.
      process_mb: the most private memory that any one of its processes held, MB.
      total_mb: the most private memory that all of them held at one moment, MB.
      output: what it printed.
    """

    seconds: float
    process_mb: float
    total_mb: float
    output: str


def in_tree(tree: Path) -> dict[str, Any]:
    """Arguments of `subprocess.run` with which Python imports the carclf of this checkout."""
    return {"cwd": tree, "env": os.environ | {"PYTHONPATH": str(tree)}}


def busy_of_children() -> float:
    """Processor seconds of all processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for what a benchmark writes, gone at its end: in bench/, which git ignores, on the current disk."""
    Path("bench").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="bench") as folder:
        yield Path(folder)


def run_python(*arguments: str) -> None:
    """Runs Python with these arguments, without what it prints.

    Raises:
      UserError: it failed.
    """
    answer = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if answer.returncode:
        raise UserError(f"{' '.join(arguments)} failed: {answer.stderr.strip()[-2000:]}")


def run_measured(command: Sequence[str]) -> Measured:
    """Runs a command to its end.

    Raises:
      UserError: it ended with another exit code than 0.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks = {"process": 0.0, "total": 0.0}
    watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
    watcher.start()
    output, errors = process.communicate()
    watcher.join()
    seconds = time.perf_counter() - started
    if process.returncode:
        raise UserError(f"{' '.join(command)} ended with exit code {process.returncode}: {errors.strip()[-2000:]}")
    return Measured(seconds, peaks["process"], peaks["total"], output)


def _watch(process: "subprocess.Popen[str]", peaks: dict[str, float]) -> None:
    while process.poll() is None:
        held = [_private_mb(one) for one in [process.pid, *_descendants(process.pid)]]
        peaks["process"] = max(peaks["process"], *held)
        peaks["total"] = max(peaks["total"], sum(held))
        time.sleep(POLL_SECONDS)


def _descendants(process: int) -> list[int]:
    try:
        tasks = os.listdir(f"/proc/{process}/task")
        children = [int(n) for task in tasks for n in Path(f"/proc/{process}/task/{task}/children").read_text().split()]
    except OSError:  # it has just ended
        return []
    return children + [one for child in children for one in _descendants(child)]


def _private_mb(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
