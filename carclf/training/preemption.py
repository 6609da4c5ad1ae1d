"""SIGTERM, the notice that a machine is about to vanish: saved where there is something to save, then exit code 75."""

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from carclf.errors import Preempted


class Preemption:
    """Whether SIGTERM has come, and whether the process may end at once or must save first.

    Attributes:
      requested: SIGTERM has come.
      unsaved: the process holds training steps that no checkpoint has. While it does, a signal is only noted, and
        whoever saves calls `stop` at the next batch's end; otherwise the signal ends the process where it stands:
        while importing, compiling, validating or reporting.
    """

    def __init__(self) -> None:
        self.requested = False
        self.unsaved = False

    def stop(self) -> None:
        """Ends the training when SIGTERM has come.

        Raises:
          Preempted: it has.
        """
        if self.requested:
            raise Preempted

    @contextlib.contextmanager
    def watching(self) -> Iterator["Preemption"]:
        """Itself, with SIGTERM handled inside the context; signals reach the main thread alone."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = signal.signal(signal.SIGTERM, self._note)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:  # a second signal must not interrupt the way out of the first
            return
        self.requested = True
        if not self.unsaved:
            raise Preempted


@contextlib.contextmanager
def passing_on_sigterm() -> Iterator[Callable[[Sequence[str]], int]]:
    """A function that runs a command and returns its exit code; SIGTERM is the command's to obey.

    Raises:
      Preempted: SIGTERM came while no command was running, or before one could obey; the function raises it.
    """
    running: list[subprocess.Popen[bytes]] = []
    came = []

    def pass_on(number: int, frame: object) -> None:
        came.append(number)
        for process in running:
            process.send_signal(signal.SIGTERM)

    def run_process(command: Sequence[str]) -> int:
        if came:
            raise Preempted("Stopped by SIGTERM between two stages: the same command starts the next.")
        running[:] = [process := subprocess.Popen(command)]
        try:
            if came:  # before there was anybody to pass it on to
                process.send_signal(signal.SIGTERM)
            code = process.wait()
            if code == -signal.SIGTERM:
                raise Preempted("Stopped by SIGTERM before the stage had started: the same command starts it.")
            return code
        except KeyboardInterrupt:
            process.wait()  # the terminal has sent it the same signal
            raise
        finally:
            running.clear()

    previous = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield run_process
    finally:
        signal.signal(signal.SIGTERM, previous)
