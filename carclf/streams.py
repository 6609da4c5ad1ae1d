"""Keeps a command at work when nobody reads what it prints: `| head`, a closed terminal, a full disk behind `>`."""

import contextlib
import io
import os
import sys
from typing import Any, TextIO, cast


def keep_writable() -> None:
    """Makes the standard streams of this process swallow what cannot be written; call it before anything is opened.

    A closed one is opened on the null device: otherwise the next file that the process opens would take its number, and
    receive what libraries print.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # child processes need it as much
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # and not a test's or a notebook's own
            stream = forgiving(number, like=stream)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def forgiving(number: int, *, like: TextIO | None, closes: bool = False) -> TextIO:
    """Returns a text stream on a file descriptor that swallows what cannot be written.

    Args:
      number: the descriptor.
      like: the stream whose encoding and buffering it has; None for UTF-8. Characters that the encoding lacks are
        written as \\xNN.
      closes: whether closing the stream closes the descriptor.
    """
    if like is not None:
        with contextlib.suppress(OSError):
            like.flush()
    unbuffered = isinstance(like, io.TextIOWrapper) and like.write_through  # PYTHONUNBUFFERED
    file = _ForgivingFile(number, "wb", closefd=closes)
    return io.TextIOWrapper(
        cast(Any, file if unbuffered else io.BufferedWriter(file)),
        encoding=like.encoding if like else "utf-8",
        errors="backslashreplace" if like is None or like.errors == "strict" else like.errors,
        line_buffering=bool(like and like.line_buffering),
        write_through=unbuffered,
    )


class _ForgivingFile(io.FileIO):
    """A file that is replaced by the null device at the first error, for libraries and child processes as well."""

    def write(self, content: object) -> int:
        """Writes bytes and returns their number."""
        try:
            return super().write(content)  # type: ignore[arg-type]
        except OSError:
            with contextlib.suppress(OSError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.fileno())
                os.close(null)
            return len(memoryview(content).cast("B"))  # type: ignore[arg-type]
