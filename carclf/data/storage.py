"""All file access of a data set: local disks through the standard library, `gs://` through tf.io.gfile."""

import contextlib
import functools
import hashlib
import os
import re
import sys
import uuid
from typing import IO, Any, cast

from carclf import files


def is_remote(path: str) -> bool:
    """Returns whether the path is a URL of an object store rather than a local file."""
    return "://" in path


def join(folder: str, name: str) -> str:
    """Returns the path of `name` (forward slashes) inside `folder`, local or remote."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, *name.split("/"))


def parent(name: str) -> str:
    """Returns the folder of `name` (forward slashes), "" for a bare name."""
    return name.rpartition("/")[0]


def sha256(content: bytes) -> str:
    """Returns the hash of `content`, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _gfile() -> Any:
    import tensorflow as tf  # local paths never pay for this import

    return tf.io.gfile


def errors() -> tuple[type[Exception], ...]:
    """Returns the exceptions that reading and writing raise: OSError, and TensorFlow's if an object store was used."""
    tensorflow = sys.modules.get("tensorflow")
    return (OSError, tensorflow.errors.OpError) if tensorflow else (OSError,)


def is_folder(path: str) -> bool:
    """Returns whether a folder exists at `path`; on object stores, whether there is anything under it."""
    return bool(_gfile().isdir(path)) if is_remote(path) else os.path.isdir(path)


def size_bytes(path: str) -> int | None:
    """Returns the size of the file at `path` in bytes, or None if there is no file."""
    if not is_remote(path):
        return os.stat(path).st_size if os.path.isfile(path) else None
    gfile = _gfile()
    return int(gfile.stat(path).length) if gfile.exists(path) and not gfile.isdir(path) else None


def open_binary(path: str, mode: str = "rb") -> IO[bytes]:
    """Returns a binary file object to read ('rb') or write ('wb') `path`."""
    return cast(IO[bytes], _gfile().GFile(path, mode) if is_remote(path) else open(path, mode))


def read_range(path: str, start: int, size: int) -> bytes:
    """Returns `size` bytes of the file at `path` from `start` on, or fewer if the file ends earlier."""
    with open_binary(path) as file:
        file.seek(start)
        return file.read(size)


class RangeReader:
    """`read_range` for many reads of the same files: local files stay open. Any thread may call it."""

    def __init__(self, max_open: int = 128) -> None:
        """Creates a reader that keeps at most this many files open."""
        self._opened = functools.lru_cache(maxsize=max_open)(_LocalFile)

    def __call__(self, path: str, start: int, size: int) -> bytes:
        """Returns the same as `read_range`."""
        if is_remote(path) or not hasattr(os, "pread"):  # Windows has none
            return read_range(path, start, size)
        return self._opened(path).read(start, size)


class _LocalFile:
    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, start)

    def __del__(self) -> None:  # when neither the reader nor any thread uses it anymore
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def read_bytes(path: str) -> bytes:
    """Returns the whole content of the file at `path`."""
    with open_binary(path) as file:
        return file.read()


def make_folder(path: str) -> None:
    """Creates the folder `path` and its parents, unless it exists."""
    if is_remote(path):
        _gfile().makedirs(path)
    else:
        os.makedirs(path, exist_ok=True)


def names_in(folder: str) -> list[str]:
    """Returns the sorted names of files and folders directly in `folder`, or none if it does not exist."""
    if not is_folder(folder):
        return []
    names = _gfile().listdir(folder) if is_remote(folder) else os.listdir(folder)
    return sorted(str(name).rstrip("/") for name in names)


def remove(path: str) -> None:
    """Removes the file `path`, or the folder with everything in it; a missing one is not an error."""
    if is_remote(path):
        gfile = _gfile()
        if gfile.isdir(path):
            gfile.rmtree(path)
        elif gfile.exists(path):
            gfile.remove(path)
    elif os.path.isdir(path) and not os.path.islink(path):
        for name in os.listdir(path):
            remove(os.path.join(path, name))
        os.rmdir(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def temporary_name(path: str) -> str:
    """Returns an unused name next to `path` that `is_temporary` recognises."""
    return f"{path}.{uuid.uuid4().hex[:12]}.tmp"


def is_temporary(name: str) -> bool:
    """Returns whether a name is from `temporary_name`: such a file is nobody's data once its writer has ended."""
    return re.search(r"\.[0-9a-f]{12}\.tmp$", name) is not None


def commit(temporary: str, path: str) -> None:
    """Renames a finished temporary file to `path` in one atomic step; its bytes reach the disk before its name."""
    if is_remote(path):
        _gfile().rename(temporary, path, overwrite=True)
        return
    files.commit(temporary, path)
    _sync_folder(os.path.dirname(path) or ".")


def write_atomic(path: str, content: bytes) -> None:
    """Replaces the file at `path` by `content` atomically: a reader sees the complete old or the complete new file."""
    temporary = temporary_name(path)
    try:
        with open_binary(temporary, "wb") as file:
            file.write(content)
        commit(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def _sync_folder(folder: str) -> None:
    if os.name != "posix":  # Windows cannot open a folder and does not need to
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
