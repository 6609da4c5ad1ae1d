"""Keeps two converters from writing one output: a lock in a folder, a lease in an object store."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from carclf import lease, lock, storage

DOING, OPTION = "converting to", "--output"


@contextlib.contextmanager
def holding_output(output: str) -> Iterator[None]:
    """Holds the output for this converter alone inside this context; a folder that cannot be written needs no lock.

    Raises:
      UserError: another converter holds it; the message names its process and host.
    """
    if storage.is_remote(output):
        with lease.holding(output, doing=DOING, option=OPTION):
            yield
    elif os.path.isdir(output) and not os.access(output, os.W_OK):
        yield
    else:
        with lock.holding(Path(output), doing=DOING, option=OPTION):
            yield
