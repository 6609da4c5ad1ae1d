"""Keeps a place in an object store for one process at a time, by an object that names the process and is renewed."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator

from carclf import lock, preemption, storage
from carclf.errors import UserError

SETTLING_SECONDS = 2.0  # between writing a lease and reading it again: not every store has exclusive creation


@contextlib.contextmanager
def holding(place: str, *, doing: str, option: str) -> Iterator[None]:
    """Holds the folder `place`, a URL, for this process alone inside this context.

    Two processes that start within `SETTLING_SECONDS` over a slow network may both hold it.

    Args:
      place: the folder.
      doing: what the process does there, such as 'training in'.
      option: the flag that names another folder.

    Raises:
      UserError: another process holds it; the message names its process and host.
    """
    path = storage.join(place, lock.LOCK_FILE)
    _refuse_if_held(path, place=place, doing=doing, option=option)
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
        _refuse_if_held(path, place=place, doing=doing, option=option)
    try:
        with lock.renewing(renew), preemption.releasing(release):
            yield
    finally:
        with contextlib.suppress(OSError, UserError):  # what was done there is whole, and the lease expires
            release()


def _read(path: str) -> dict[str, object]:
    return lock.parse_holder(storage.read_bytes(path)) if storage.size_bytes(path) is not None else {}


def _refuse_if_held(path: str, *, place: str, doing: str, option: str) -> None:
    holder = _read(path)
    renewed = holder.get("renewed")
    if not isinstance(renewed, float) or (holder["host"] == socket.gethostname() and not lock.is_alive_here(holder)):
        return
    if abs(time.time() - renewed) < lock.STALE_SECONDS:
        raise UserError(lock.in_use(place, holder, doing=doing, option=option))
