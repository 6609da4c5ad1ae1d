"""Writes files completely or not at all. All files are written through this module."""

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

_writers: set[object] = set()  # of files that are not complete yet
_written = threading.Condition()

followers: list[Callable[[Path], None]] = []
"""Called with the path of each file that `commit` has put in its place, in the same order."""


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON atomically: whatever happens, the file is either the old or the new one."""
    write_atomically(path, json_bytes(content))


def json_bytes(content: Mapping[str, Any], *, indent: int = 2) -> bytes:
    """Returns JSON in UTF-8; what UTF-8 has not, such as the bytes of a path in another encoding, is escaped."""
    return (json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name, then fsync and rename, so that no reader ever sees half of it."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields the path of an empty file to fill, which becomes `path` at the end; after an error it is removed.

    It is beside `path`, hidden, and has the same extensions, because libraries go by them.
    """
    with _writing():
        try:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix="".join(path.suffixes))
        except OSError as error:
            error.filename = str(path)
            raise
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            commit(temporary, path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                error.filename = str(path)  # whose file it is, even if a library or `write` did not say
            raise


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    writer = object()
    with _written:
        _writers.add(writer)
    try:
        yield
    finally:
        with _written:
            _writers.remove(writer)
            _written.notify_all()


def wait_for_writers(seconds: float) -> bool:
    """Waits for the files that other threads are writing, but not longer than that; returns whether all are written."""
    with _written:
        return _written.wait_for(lambda: not _writers, timeout=seconds)


def commit(temporary: str | Path, path: str | Path) -> None:
    """Renames a finished file to `path` atomically; its bytes are on the disk before its name.

    An empty folder in the place of the file is removed.
    """
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    try:
        os.replace(temporary, path)
    except IsADirectoryError:
        os.rmdir(path)
        os.replace(temporary, path)
    for follow in followers:
        follow(Path(path))


def _umask() -> int:
    with _written:  # two threads at once would leave the process with 0
        mask = os.umask(0)
        os.umask(mask)
    return mask
