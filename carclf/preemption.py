"""SIGTERM, the notice that a machine is about to vanish: its handler only notes it, and work stops where it can.

SIGHUP, that a terminal has gone, counts alike, except under `nohup`. A signal belongs to the process, and so does its
note. Whatever works for long calls `check` between two steps. A call that cannot be interrupted, such as a compilation,
is ended with its process before the grace period is over.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

from carclf.errors import Preempted
from carclf.files import wait_for_writers
from carclf.start_messages import write_last

PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: saved, so start the command again
GRACE_SECONDS = 25.0  # Kubernetes, SLURM and Google's spot machines kill 30 seconds after SIGTERM
GRACE_VARIABLE = "CARCLF_GRACE_SECONDS"  # of the environment, for those that kill sooner or later
CHILD_SECONDS = 3.0  # longer for a process whose child has the same grace period
WRITER_SECONDS = 1.0  # for a file that is being written
LIFELINE = "CARCLF_LIFELINE"  # of the environment: the standard input ends when the parent process does
OVER = b"\0"
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no second

_noted: list[str] = []  # what has told this process to stop, the first first
_places: list[Callable[[], str]] = []  # what each `watching` says at the end, the innermost last
_releases: list[Callable[[], None]] = []  # what `releasing` does at the end of the process
_children: list[object] = []
_watchdog: "_Watchdog | None" = None


def noted() -> bool:
    """Returns whether this process has been told to stop."""
    return bool(_noted)


def check() -> None:
    """Ends the work if this process has been told to stop; only in the main thread.

    Raises:
      Preempted: it has; the message says by what, and how to continue.
    """
    if _noted and threading.current_thread() is threading.main_thread():
        raise Preempted(sentence())


def check_soon(seconds: float = 1.0) -> None:
    """As `check`, but waits for the note: another process of the group has ended as if all had been told to stop.

    Raises:
      Preempted: this process has been told, too.
    """
    ends = time.monotonic() + seconds
    while not _noted and time.monotonic() < ends:
        time.sleep(0.01)
    check()


def sentence() -> str:
    """Returns what has stopped this process, and how to continue."""
    return f"Stopped by {cause()}: {_places[-1]() if _places else 'the same command starts again'}."


def cause() -> str:
    """Returns what has told this process to stop."""
    return _noted[0] if _noted else "SIGTERM"


@contextlib.contextmanager
def watching(place: Callable[[], str]) -> Iterator[None]:
    """Notes SIGTERM inside this context. In a thread other than the main one, which gets no signals, it does nothing.

    Args:
      place: returns how to continue, as the end of a sentence; the innermost context says it.
    """
    mine = begin()
    _places.append(place)
    try:
        yield
    finally:
        _places.pop()
        if mine:
            end()


@contextlib.contextmanager
def releasing(release: Callable[[], None]) -> Iterator[None]:
    """Calls `release`, such as of a lock, if the grace period ends the process inside this context."""
    _releases.append(release)
    try:
        yield
    finally:
        _releases.remove(release)


@contextlib.contextmanager
def waiting_for_child() -> Iterator[None]:
    """Lets this process outlast a child that was told to stop with it."""
    child = object()
    _children.append(child)
    try:
        yield
    finally:
        _children.remove(child)


def begin() -> bool:
    """Notes SIGTERM from now on, until `end`; returns whether it did not do so before."""
    global _watchdog
    if _watchdog is not None or threading.current_thread() is not threading.main_thread():
        return False
    _watchdog = _Watchdog()
    return True


def end() -> None:
    """Handles SIGTERM as before `begin`, if that was called, and forgets that it came."""
    global _watchdog
    if _watchdog is not None:
        _watchdog.close()
        _watchdog = None
        _noted.clear()


def grace_seconds() -> float:
    """Returns how long this process may continue after SIGTERM."""
    try:
        own = float(os.environ[GRACE_VARIABLE])
    except (KeyError, ValueError):
        own = GRACE_SECONDS
    return own + CHILD_SECONDS if _children else own


class _Watchdog:
    """Notes SIGTERM, and ends the process if it is still there when the grace period is nearly over."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self._theirs, self._over = theirs, threading.Event()
        # Python runs a handler between two steps of Python only, but writes to this socket at once, even during a call.
        self._wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._handlers = {
            number: signal.signal(number, lambda number, frame: _note(signal.Signals(number).name))
            for number in SIGNALS
            if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
        }
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        if os.environ.pop(LIFELINE, ""):
            threading.Thread(target=self._follow_parent, name="lifeline", daemon=True).start()

    def close(self) -> None:
        """Ends the thread, and handles the signal as before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._over.set()
        self._theirs.send(OVER)
        self._thread.join()
        self._ours.close()
        self._theirs.close()

    def _watch(self) -> None:
        while not self._over.is_set():
            (number,) = self._ours.recv(1)
            if number in self._handlers:
                _note(signal.Signals(number).name)
                if not self._over.wait(grace_seconds()):
                    _exit_now()

    def _follow_parent(self) -> None:
        """Tells this process to stop when its parent has ended for any reason, which closes the standard input."""
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        _note("the end of the process that started it")
        with contextlib.suppress(OSError):  # the watchdog is closed
            self._theirs.send(bytes([signal.SIGTERM]))


def _note(what: str) -> None:
    if not _noted:
        _noted.append(what)


def _exit_now() -> None:
    """Ends the process with the files on disk whole: each is written under another name and then renamed."""
    wait_for_writers(WRITER_SECONDS)
    said = threading.Thread(target=_say, daemon=True)  # the stuck call may hold the lock of a stream
    said.start()
    said.join(WRITER_SECONDS)
    for release in _releases:
        with contextlib.suppress(Exception):
            release()
    os._exit(PREEMPTED)


def _say() -> None:
    text = sentence()
    if sys.stdout is not None:
        sys.stdout.flush()
    write_last(text)
