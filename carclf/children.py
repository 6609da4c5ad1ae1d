"""Runs commands as child processes that stop when this process is told to, and when it ends for any other reason."""

import os
import signal
import subprocess
from collections.abc import Sequence

from carclf import preemption
from carclf.errors import Preempted

POLL_SECONDS = 0.2


def run_child(command: Sequence[str], *, what: str) -> int:
    """Runs a command of carclf and returns its exit code; SIGTERM is passed on to it.

    Its standard input is a pipe from this process, and ends with it, even after SIGKILL. The command then stops as
    after SIGTERM (`carclf.preemption`).

    Args:
      command: program and arguments.
      what: 'stage' or 'fold', for the message.

    Raises:
      Preempted: SIGTERM arrived before the command was started, or before it could react.
    """
    if preemption.noted():
        raise Preempted(f"Stopped by {preemption.cause()} between two {what}s: the same command starts the next.")
    with (
        preemption.waiting_for_child(),
        subprocess.Popen(
            command, stdin=subprocess.PIPE, env=os.environ | {preemption.LIFELINE: "standard input"}
        ) as process,
    ):
        try:
            code = _wait(process)
        except KeyboardInterrupt:
            process.wait()  # the terminal has sent the process the same signal
            raise
    if -code in preemption.SIGNALS:
        name = signal.Signals(-code).name
        raise Preempted(f"Stopped by {name} before the {what} had started: the same command starts it.")
    return code


def _wait(process: "subprocess.Popen[bytes]") -> int:
    told = False
    while True:
        try:
            return process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if preemption.noted() and not told:
                process.terminate()
                told = True
