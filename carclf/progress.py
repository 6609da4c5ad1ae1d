"""The progress of a command: a bar on a terminal, an occasional plain line elsewhere; always on stderr."""

import os
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self, TextIO, cast

from carclf import preemption
from carclf.streams import forgiving

FIRST_SECONDS = 2.0  # shorter work is not worth a line
SECONDS_BETWEEN_LINES = (15.0, 60.0)  # first and maximum; doubles each time
SECONDS_BETWEEN_DRAWINGS = 0.5  # of the bar


class Progress:
    """Reports the work in the body of a `with`, and how much of it is done if that can be counted.

    A separate thread writes, so compiling, downloading and other blocking calls are reported, too. Such work
    also stops here, before, between and after its units, if the process has been told to (`carclf.preemption`).

    Args:
      what: the work, such as "Computing features".
      total: the number of `unit`; None if it is unknown.
      unit: unit of the count, in the plural.
    """

    def __init__(self, what: str, *, total: int | None = None, unit: str = "photos") -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = self._first = 0
        self._started = self._first_ended = time.monotonic()
        self._over = threading.Event()
        self._shown = False
        self._stream: TextIO | None = None
        self._copied = False
        self._bar: Any = None
        self._thread = threading.Thread(target=self._report_regularly, daemon=True)

    def __enter__(self) -> Self:
        preemption.check()
        self._started = self._first_ended = time.monotonic()
        self._stream = _own_stderr()
        self._copied = self._stream not in (sys.stderr, sys.__stderr__)
        if self._stream is None:
            return self
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._end(self._stream, error)
        if error is None:
            preemption.check()

    def _end(self, stream: TextIO, error: BaseException | None) -> None:
        self._over.set()
        self._thread.join()
        if self._bar is not None:
            self._bar.clear()
            self._bar.close()
        if self._shown and error is None:
            self._write(self.last_line())
        if self._copied:  # sys.stderr may be another stream by now
            stream.close()

    def add(self, count: int = 1) -> None:
        """Counts `count` more."""
        if not self._done:  # the first call may include compiling, so its time is not typical
            self._first, self._first_ended = count, time.monotonic()
        self._done += count
        preemption.check()

    def line(self) -> str:
        """Returns the line for work in progress if there is no terminal."""
        seconds = time.monotonic() - self._started
        if self._total is None:
            return f"{self._what} …" + (f" {describe_seconds(seconds)} so far" if self._shown else "")
        counted = f"{self._what}: {self._done:,} of {self._total:,} {self._unit}"
        if not self._done:
            return f"{counted}, {describe_seconds(seconds)} so far"
        rate = self._rate()
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        left = max(0, self._total - self._done) / rate
        return f"{counted}, {speed} per second" + (f", {describe_seconds(left)} left" if left else "")

    def last_line(self) -> str:
        """Returns the line for finished work, printed if a line was printed before."""
        counted = f" {self._done:,} {self._unit} in" if self._total is not None else ""
        return f"{self._what}:{counted} {describe_seconds(time.monotonic() - self._started)}"

    def _rate(self) -> float:
        now = time.monotonic()
        if self._done > self._first:
            return (self._done - self._first) / max(now - self._first_ended, 1e-9)
        return self._done / max(now - self._started, 1e-9)

    def _report_regularly(self) -> None:
        pause = FIRST_SECONDS
        between, most = SECONDS_BETWEEN_LINES
        while not self._over.wait(pause):
            if self._stream is not None and self._stream.isatty():
                self._draw(self._stream)
                pause = SECONDS_BETWEEN_DRAWINGS
            else:
                self._write(self.line())
                pause, between = between, min(2 * between, most)
            self._shown = True

    def _draw(self, stream: TextIO) -> None:
        if self._bar is None:
            from tqdm import tqdm

            counted: dict[str, Any] = {} if self._total is not None else {"bar_format": "{desc} … {elapsed}"}
            self._bar = tqdm(
                total=self._total, initial=self._done, desc=self._what, unit=f" {self._unit}", file=stream,
                dynamic_ncols=True, leave=False, **counted,
            )  # fmt: skip
            if self._total is None:
                self._bar.start_t -= FIRST_SECONDS
        self._bar.n = self._done
        self._bar.refresh()

    def _write(self, line: str) -> None:
        if self._stream is not None:
            print(line, file=self._stream, flush=True)


def describe_seconds(seconds: float) -> str:
    """Returns a duration to about two digits: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(5 * round(minutes / 5), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _own_stderr() -> TextIO | None:
    """Returns standard error under a new descriptor, which keeps working while descriptor 2 is redirected.

    A replacement of `sys.stderr`, as in a notebook, is returned as it is; None if there is no standard error.
    """
    real = sys.__stderr__
    if real is None or sys.stderr is not real:
        return cast(TextIO | None, sys.stderr)
    try:
        copy = os.dup(real.fileno())
    except OSError:
        return real
    return forgiving(copy, like=real, closes=True)
