"""Locks a run's folder, so that it belongs to one process at a time."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from carclf.errors import UserError


@contextlib.contextmanager
def holding(directory: Path) -> Iterator[None]:
    """Holds the run's folder for this process alone inside this context, and creates the folder if necessary.

    The folder itself is locked, and the system releases it however the process ends: there is no lock file that a
    kill could leave behind. The folder is removed at the end if nothing was written to it.

    Raises:
      UserError: another process holds the folder, or it cannot be created.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The run's folder {directory} cannot be made ({os.strerror(error.errno or 0)}): choose another --run."
        ) from None
    with _locked(directory):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it is not empty
                directory.rmdir()


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    if os.name != "posix":  # Windows cannot open a folder
        yield
        return
    import fcntl

    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(
            f"Another process is training in {directory}: wait for its end or stop it, or choose another --run."
        ) from None
    except OSError:  # a network file system without locks: no way to find out
        pass
    try:
        yield
    finally:
        os.close(handle)
