"""Holds back what TensorFlow and its parts write to standard error whenever they start."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import IO

# Printed at every start on every machine, regardless of TF_CPP_MIN_LOG_LEVEL; none is about the user's data or device.
START_MESSAGES = re.compile(
    rb"log messages before absl::InitializeLog|oneDNN custom operations are on|cpu_feature_guard"
    rb"|To enable the following instructions|Created TensorFlow Lite XNNPACK delegate|Compiled cluster using XLA!"
    rb"|failed call to cuInit: .*\(303\)"  # there is no NVIDIA driver
)


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
    with _held() as held:
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if not START_MESSAGES.search(line):
                    os.write(2, line)


def _held() -> IO[bytes]:
    """Returns a file in memory, where the system has such files: a start must not need room on a disk."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("held"), "w+b")
    return tempfile.TemporaryFile()
