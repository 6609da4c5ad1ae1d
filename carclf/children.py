"""Runs commands as child processes that stop when this process is told to, and when it ends for any other reason."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from carclf import preemption
from carclf.errors import Preempted

POLL_SECONDS = 0.2
# Runs the module named first, and ends with its standard input: modules of other packages watch no lifeline.
FOLLOWING = """import os, runpy, sys, threading

def follow():
    while os.read(0, 1):
        pass
    os._exit(1)

threading.Thread(target=follow, daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)"""


def run_child(
    command: Sequence[str], *, what: str, output: Path | None = None, limit_seconds: float | None = None
) -> int:
    """Runs a command of carclf and returns its exit code; SIGTERM is passed on to it.

    Its standard input is a pipe from this process, and ends with it, even after SIGKILL. The command then stops as
    after SIGTERM (`carclf.preemption`).

    Args:
      command: program and arguments.
      what: 'stage', 'fold' or 'timing', for the message.
      output: file for what it prints; None prints it here.
      limit_seconds: when it is killed; None never kills it. Its exit code is then that of SIGKILL.

    Raises:
      Preempted: SIGTERM arrived before the command was started, or before it could react.
    """
    if preemption.noted():
        raise Preempted(f"Stopped by {preemption.cause()} between two {what}s: the same command starts the next.")
    with (
        preemption.waiting_for_child(),
        _printing_to(output) as stream,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            env=os.environ | {preemption.LIFELINE: "standard input"},
        ) as process,
    ):
        try:
            code = _wait(process, limit_seconds=limit_seconds)
        except KeyboardInterrupt:
            process.wait()  # the terminal has sent the process the same signal
            raise
    if -code in preemption.SIGNALS:
        name = signal.Signals(-code).name
        raise Preempted(f"Stopped by {name} before the {what} had started: the same command starts it.")
    return code


def run_module(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs a module of another package as `python -m` does; returns its exit code and all that it printed.

    It ends with this process, even after SIGKILL.

    Raises:
      Preempted: SIGTERM arrived, and the module was ended.
    """
    preemption.check()
    command = [sys.executable, "-c", FOLLOWING, module, *arguments]
    lifeline, ours = os.pipe()  # not one of Popen's, which `communicate` closes
    try:
        with subprocess.Popen(
            command, stdin=lifeline, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            os.close(lifeline)
            said, errors = _outputs(process)
            return subprocess.CompletedProcess(command, process.returncode, said, errors)
    finally:
        os.close(ours)


def _outputs(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Returns what a process printed to standard output and standard error, once it has ended.

    Raises:
      Preempted: SIGTERM arrived, and the process was ended.
    """
    while True:
        try:
            return process.communicate(timeout=POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if preemption.noted():
                process.kill()
                preemption.check()


@contextlib.contextmanager
def _printing_to(output: Path | None) -> Iterator[IO[bytes] | None]:
    with open(output, "wb") if output else contextlib.nullcontext() as stream:
        yield stream


def _wait(process: "subprocess.Popen[bytes]", *, limit_seconds: float | None) -> int:
    told, started = False, time.monotonic()
    while True:
        try:
            return process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if limit_seconds is not None and time.monotonic() - started > limit_seconds:
                process.kill()
            if preemption.noted() and not told:
                process.terminate()
                told = True
