"""How far it is: a bar on a terminal, a plain line every few seconds elsewhere; always on stderr."""

import sys
import time
from types import TracebackType
from typing import Self

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts photos of one pass."""

    def __init__(self, what: str, *, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._start = self._last = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=what, unit=" photos", file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._total:
            self._print()

    def add(self, photos: int) -> None:
        """Counts `photos` more."""
        self._done += photos
        if self._bar is not None:
            self._bar.update(photos)
        elif time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._print()

    def _print(self) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = self._done / seconds
        left = f", {(self._total - self._done) / rate:.0f} s left" if 0 < self._done < self._total else ""
        line = f"{self._what} {self._done:,} of {self._total:,} photos, {rate:,.0f} a second{left}"
        print(line, file=sys.stderr, flush=True)
