"""Keeps two converters from writing one output: a lock in a folder, a lease in an object store."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from carclf import lock, preemption
from carclf.data import storage
from carclf.errors import UserError

DOING, OPTION = "converting to", "--output"
SETTLING_SECONDS = 2.0  # between writing a lease and reading it again: an object store has no exclusive creation


@contextlib.contextmanager
def holding_output(output: str) -> Iterator[None]:
    """Holds the output for this converter alone inside this context.

    A folder that cannot be written needs no lock. In an object store two converters that start within
    `SETTLING_SECONDS` over a slow network may both write.

    Raises:
      UserError: another converter holds it; the message names its process and host.
    """
    if storage.is_remote(output):
        with _lease(storage.join(output, lock.LOCK_FILE), output=output):
            yield
    elif os.path.isdir(output) and not os.access(output, os.W_OK):
        yield
    else:
        with lock.holding(Path(output), doing=DOING, option=OPTION):
            yield


@contextlib.contextmanager
def _lease(path: str, *, output: str) -> Iterator[None]:
    """Keeps an object that names this process and when it was last renewed, inside this context."""
    _refuse_if_held(path, output=output)
    holder = lock.holder_of_this_process()

    def renew() -> None:
        storage.write_atomic(path, json.dumps(holder | {"renewed": time.time()}).encode())

    def is_ours() -> bool:
        return _read(path).get("token") == holder["token"]

    def release() -> None:
        if is_ours():
            storage.remove(path)

    renew()
    time.sleep(SETTLING_SECONDS)
    if not is_ours():  # another one wrote it at the same moment
        _refuse_if_held(path, output=output)
    try:
        with lock.renewing(renew), preemption.releasing(release):
            yield
    finally:
        with contextlib.suppress(*storage.errors()):  # the data set is complete, and the lease expires
            release()


def _read(path: str) -> dict[str, object]:
    return lock.parse_holder(storage.read_bytes(path)) if storage.size_bytes(path) is not None else {}


def _refuse_if_held(path: str, *, output: str) -> None:
    holder = _read(path)
    renewed = holder.get("renewed")
    if not isinstance(renewed, float) or (holder["host"] == socket.gethostname() and not lock.is_alive_here(holder)):
        return
    if abs(time.time() - renewed) < lock.STALE_SECONDS:
        raise UserError(lock.in_use(output, holder, doing=DOING, option=OPTION))
