"""Holds back what TensorFlow and its parts write to standard error whenever they start."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import IO

# Printed at every start on every machine, regardless of TF_CPP_MIN_LOG_LEVEL; none is about the user's data or device.
START_MESSAGES = re.compile(
    rb"log messages before absl::InitializeLog|oneDNN custom operations are on|cpu_feature_guard"
    rb"|To enable the following instructions|Created TensorFlow Lite XNNPACK delegate|Compiled cluster using XLA!"
    rb"|failed call to cuInit: .*\(303\)"  # there is no NVIDIA driver
)


_holding: list["_Held"] = []  # the innermost last


@contextlib.contextmanager
def without_start_messages() -> Iterator[None]:
    """Holds back what the process writes to file descriptor 2, then passes on everything except START_MESSAGES.

    C++ code writes there directly, so replacing `sys.stderr` would not be enough.
    """
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error to filter
        yield
        return
    with _file() as file:
        sys.stderr.flush()
        os.dup2(file.fileno(), 2)
        held = _Held(file.fileno(), kept)
        _holding.append(held)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            _holding.remove(held)
            held.pass_on()
            os.close(kept)


def write_last(text: str) -> None:
    """Writes a line to standard error, after all that is held back: for a process that ends without leaving a block."""
    holding = list(_holding)
    for held in reversed(holding):
        held.pass_on()
    os.write(holding[0].kept if holding else 2, f"{text}\n".encode())


class _Held:
    """What is held back.

    Attributes:
      file: descriptor of the file that has it.
      kept: descriptor of where it belongs.
    """

    def __init__(self, file: int, kept: int) -> None:
        self.file, self.kept = file, kept

    def pass_on(self) -> None:
        """Copies the lines that are no START_MESSAGES."""
        os.lseek(self.file, 0, os.SEEK_SET)
        content = os.read(self.file, os.fstat(self.file).st_size)
        for line in content.splitlines(keepends=True):
            if not START_MESSAGES.search(line):
                os.write(self.kept, line)


def _file() -> IO[bytes]:
    """Returns a file in memory, where the system has such files: a start must not need room on a disk."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("held"), "w+b")
    import tempfile

    return tempfile.TemporaryFile()
