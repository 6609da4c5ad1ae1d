"""Keeps what TensorFlow says about itself while it starts out of the user's way."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Of every start, on every machine, whatever TF_CPP_MIN_LOG_LEVEL says; none is about the user's data or device.
START_MESSAGES = re.compile(
    rb"log messages before absl::InitializeLog|oneDNN custom operations are on|cpu_feature_guard"
    rb"|To enable the following instructions|Created TensorFlow Lite XNNPACK delegate"
)


@contextlib.contextmanager
def without_start_messages() -> Iterator[None]:
    """Holds back what the process writes to file descriptor 2, then passes on everything but START_MESSAGES.

    C++ writes there itself, so replacing `sys.stderr` would not do.
    """
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error to keep quiet
        yield
        return
    with tempfile.TemporaryFile() as held:
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
