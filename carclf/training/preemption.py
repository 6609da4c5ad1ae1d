"""SIGTERM, the notice that a machine is about to vanish: saved where there is something to save, then exit code 75."""

import contextlib
import signal
import threading
from collections.abc import Iterator
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
        """Returns nothing unless SIGTERM has come.

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
