"""Handles SIGTERM, the notice that a machine is about to vanish: saves if there are unsaved steps, exits with 75."""

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from carclf.errors import Preempted


class Preemption:
    """Tells whether SIGTERM has arrived, and whether the process may end at once or must save first.

    Attributes:
      requested: whether SIGTERM has arrived.
      unsaved: whether the process holds training steps that are in no checkpoint. If so, a signal is only recorded,
        and the code that saves calls `stop` at the end of the next batch. Otherwise the signal ends the process at
        once: while importing, compiling, validating or reporting.
    """

    def __init__(self) -> None:
        self.requested = False
        self.unsaved = False

    def stop(self) -> None:
        """Ends the training if SIGTERM has arrived.

        Raises:
          Preempted: it has arrived.
        """
        if self.requested:
            raise Preempted

    @contextlib.contextmanager
    def watching(self) -> Iterator["Preemption"]:
        """Handles SIGTERM inside this context, which yields the object; only the main thread receives signals."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = signal.signal(signal.SIGTERM, self._note)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:  # a second signal must not interrupt the exit that the first one started
            return
        self.requested = True
        if not self.unsaved:
            raise Preempted


@contextlib.contextmanager
def passing_on_sigterm() -> Iterator[Callable[[Sequence[str]], int]]:
    """Yields a function that runs a command and returns its exit code; SIGTERM is passed on to the command.

    Raises:
      Preempted: SIGTERM arrived while no command was running, or before one could react; the function raises it.
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
            if came:  # SIGTERM arrived before there was a process to pass it on to
                process.send_signal(signal.SIGTERM)
            code = process.wait()
            if code == -signal.SIGTERM:
                raise Preempted("Stopped by SIGTERM before the stage had started: the same command starts it.")
            return code
        except KeyboardInterrupt:
            process.wait()  # the terminal has sent the process the same signal
            raise
        finally:
            running.clear()

    previous = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield run_process
    finally:
        signal.signal(signal.SIGTERM, previous)
