"""Locks a folder, so that it belongs to one process at a time: of this host, and of hosts that share the folder.

On this host the system locks the folder itself and releases it however the process ends. For other hosts, and for the
error text, a file in the folder names the holder, who renews it; a lock that is not renewed is stale.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from carclf import preemption
from carclf.errors import UserError

LOCK_FILE = ".carclf.lock"
RENEWAL_SECONDS = 30.0
NAMING_SECONDS = 2.0  # within which a process that has got a folder writes who it is
STALE_SECONDS = 300.0  # since the last renewal by a process of another host


@contextlib.contextmanager
def holding(directory: Path, *, doing: str, option: str) -> Iterator[None]:
    """Holds the folder for this process alone inside this context, and creates the folder if necessary.

    The folder is removed at the end if nothing was written to it.

    Args:
      directory: the folder.
      doing: what the process does there, such as 'training in'.
      option: the flag that names another folder.

    Raises:
      UserError: another process holds the folder, or it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {directory} cannot be made ({os.strerror(error.errno or 0)}): choose another {option}."
        ) from None
    with _locked_here(directory) as here:
        file = directory / LOCK_FILE
        held = here is False or (here is None and is_alive_here(read_holder(file))) or _renewed_elsewhere(directory)
        if held or not _take(file, holder := holder_of_this_process(), option=option):
            raise UserError(in_use(str(directory), _named_holder(file), doing=doing, option=option))
        try:
            with _keeping(file, token=holder["token"]):
                yield
        finally:
            with contextlib.suppress(OSError):  # it is not empty
                directory.rmdir()


def _named_holder(file: Path) -> dict[str, Any]:
    """Returns the holder that a lock file names, which may have got the folder just now; empty if none is named."""
    ends = time.monotonic() + NAMING_SECONDS
    while True:
        holder = read_holder(file)
        if holder and (holder["host"] != socket.gethostname() or is_alive_here(holder)):
            return holder
        if time.monotonic() > ends:
            return {}
        time.sleep(NAMING_SECONDS / 100)


def in_use(place: str, holder: dict[str, Any], *, doing: str, option: str) -> str:
    """Returns the error text about a place that another process holds.

    Args:
      place: the folder.
      holder: from `read_holder`; empty if it is not known.
      doing: what the other process does there.
      option: the flag that names another folder.
    """
    who = f"Process {holder['pid']} on host {holder['host']}" if holder else "Another process"
    gone = ""
    if holder and holder["host"] != socket.gethostname():
        gone = f" (if that host is gone, this works {STALE_SECONDS / 60:.0f} minutes after its last sign of life)"
    return f"{who} is {doing} {place}: wait for its end or stop it{gone}, or choose another {option}."


def holder_of_this_process() -> dict[str, Any]:
    """Returns what a lock says about this process, with a token that no other lock has."""
    import psutil

    started = psutil.Process().create_time()
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": started, "token": secrets.token_hex(8)}


def parse_holder(content: bytes) -> dict[str, Any]:
    """Returns what `holder_of_this_process` returned in the process that wrote this; empty if it is damaged."""
    try:
        holder = json.loads(content)
        kinds = {"pid": int, "host": str, "started": float, "token": str}
        return holder if all(isinstance(holder[name], kind) for name, kind in kinds.items()) else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def read_holder(file: Path) -> dict[str, Any]:
    """Returns the holder that a lock file names; empty if there is no file, or if it is damaged."""
    try:
        return parse_holder(file.read_bytes())
    except OSError:
        return {}


@contextlib.contextmanager
def renewing(renew: Callable[[], None], *, seconds: float = RENEWAL_SECONDS) -> Iterator[None]:
    """Calls `renew` every few seconds in a thread of its own while this context lasts; errors are passed over."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            with contextlib.suppress(Exception):  # the next one may succeed, and a lock is worth no lost work
                renew()

    thread = threading.Thread(target=repeat, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _locked_here(directory: Path) -> Iterator[bool | None]:
    """Yields whether the system gave this process the folder; None where it has no such locks."""
    if os.name != "posix":  # Windows cannot open a folder
        yield None
        return
    import fcntl

    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked: bool | None = True
    except BlockingIOError:
        locked = False
    except OSError:  # a network file system without locks
        locked = None
    try:
        yield locked
    finally:
        os.close(handle)


def is_alive_here(holder: Mapping[str, Any]) -> bool:
    """Returns whether the holder of a lock is a process of this host that still runs."""
    import psutil

    if not holder or holder["host"] != socket.gethostname():
        return False
    try:  # a later process may have the same number
        return abs(psutil.Process(holder["pid"]).create_time() - holder["started"]) < 1
    except (psutil.Error, ValueError, OverflowError):
        return False


def _renewed_elsewhere(directory: Path) -> bool:
    """Returns whether another host renewed the lock file lately, by the clock of the file system."""
    file = directory / LOCK_FILE
    holder = read_holder(file)
    if not holder or holder["host"] == socket.gethostname():
        return False
    probe = directory / f"{LOCK_FILE}.{secrets.token_hex(4)}"
    try:
        probe.touch()
        now = probe.stat().st_mtime
        return now - file.stat().st_mtime < STALE_SECONDS
    except OSError:
        return time.time() - file.stat().st_mtime < STALE_SECONDS if file.exists() else False
    finally:
        probe.unlink(missing_ok=True)


def _take(file: Path, holder: Mapping[str, Any], *, option: str) -> bool:
    """Writes a lock file in place of a stale one; returns whether no other host has just done so.

    Raises:
      UserError: the folder cannot be written.
    """
    try:
        file.unlink(missing_ok=True)
        with open(file, "x", encoding="utf-8") as lock:
            lock.write(json.dumps(holder))
    except FileExistsError:
        return False
    except OSError as error:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)  # empty on a full disk
        raise UserError(
            f"The folder {file.parent} cannot be written ({os.strerror(error.errno or 0)}): choose another {option}, "
            "or make it writable and free some space."
        ) from None
    return True


@contextlib.contextmanager
def _keeping(file: Path, *, token: str) -> Iterator[None]:
    """Renews the lock file of this process inside this context, and removes it at the end."""

    def is_ours() -> bool:
        return read_holder(file).get("token") == token

    def release() -> None:
        if is_ours():
            file.unlink(missing_ok=True)

    try:
        with renewing(lambda: os.utime(file) if is_ours() else None), preemption.releasing(release):
            yield
    finally:
        with contextlib.suppress(OSError):  # what was done in the folder is worth more
            release()
