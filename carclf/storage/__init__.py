"""All access to files that may lie in an object store: local disks, and every URL, through the same functions.

`kinds.py` says what carries out the calls for a path. A temporary file always lies on a local disk.
"""

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import IO

from carclf.scratch import scratch_folder
from carclf.storage.kinds import LOCAL, backend_of, is_remote
from carclf.storage.range_file import RangeFile
from carclf.storage.temporary import is_temporary, unused_name

__all__ = [
    "RangeReader", "backend_of", "commit", "is_folder", "is_remote", "is_temporary", "join", "make_folder", "names_in",
    "open_binary", "parent", "read_bytes", "read_range", "remove", "sha256", "size_bytes", "sizes_of",
    "sizes_under", "stream", "temporary_file", "upload", "write_atomic", "writing",
]  # fmt: skip


def join(folder: str, name: str) -> str:
    """Returns the path of `name` (forward slashes) inside `folder`, local or remote."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, *name.split("/"))


def parent(name: str) -> str:
    """Returns the folder of `name` (forward slashes), "" for a bare name."""
    return name.rpartition("/")[0]


def sha256(content: bytes) -> str:
    """Returns the hash of `content`, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def is_folder(path: str) -> bool:
    """Returns whether a folder exists at `path`; on object stores, whether there is anything under it.

    Raises:
      StorageError: the store cannot be reached, as for every function here.
    """
    return backend_of(path).is_folder(path)


def size_bytes(path: str) -> int | None:
    """Returns the size of the file at `path` in bytes, or None if there is no file."""
    return backend_of(path).size_bytes(path)


def names_in(folder: str) -> list[str]:
    """Returns the sorted names of files and folders directly in `folder`, or none if it does not exist."""
    return sorted(backend_of(folder).names_in(folder))


def sizes_under(folder: str) -> dict[str, int]:
    """Returns the size in bytes of every file under `folder`, by its path inside it; empty if it does not exist.

    Paths have forward slashes and are sorted. Markers of folders are left out: empty objects that consoles and sync
    programs write under the name of a folder, with or without a slash at its end.
    """
    found = backend_of(folder).sizes_under(folder)
    folders = {name[:at] for name in found for at, letter in enumerate(name) if letter == "/"} | {""}
    return {name: size for name, size in sorted(found.items()) if size or name.rstrip("/") not in folders}


def sizes_of(folder: str, names: Sequence[str]) -> list[int | None]:
    """Returns the size in bytes of each of these files inside `folder`, None where there is none.

    Of a URL all are listed at once.
    """
    if not is_remote(folder):
        return [size_bytes(join(folder, name)) for name in names]
    found = sizes_under(folder)
    return [found.get(name) for name in names]


def open_binary(path: str) -> IO[bytes]:
    """Returns a binary file object that reads the file at `path`.

    Raises:
      FileNotFoundError: there is none.
    """
    if not is_remote(path):
        return open(path, "rb")
    size = size_bytes(path)
    if size is None:
        raise FileNotFoundError(2, "No such file", path)
    return RangeFile(functools.partial(read_range, path), size).buffered()


def read_range(path: str, start: int, size: int) -> bytes:
    """Returns `size` bytes of the file at `path` from `start` on, or fewer if the file ends earlier.

    Raises:
      FileNotFoundError: there is no file.
      RangesIgnoredError: its server sends whole files only.
    """
    return backend_of(path).read_range(path, start, size)


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
    """Returns the whole content of the file at `path`.

    Raises:
      FileNotFoundError: there is none.
    """
    return backend_of(path).read_bytes(path)


def stream(path: str) -> Iterator[bytes]:
    """Yields the content of the file at `path` from its start, some MB at a time, as one request.

    Raises:
      FileNotFoundError: there is none.
    """
    return backend_of(path).stream(path)


def make_folder(path: str) -> None:
    """Creates the folder `path` and its parents, unless it exists or the store has no folders."""
    backend_of(path).make_folder(path)


def remove(path: str) -> None:
    """Removes the file `path`, or the folder with everything in it; a missing one is not an error."""
    backend_of(path).remove(path)


@contextlib.contextmanager
def temporary_file(path: str) -> Iterator[str]:
    """Yields an unused local name for a file that `commit` will bring to `path`; what is there at the end is removed.

    For a local `path` it is next to it, so that `commit` is a rename, and `is_temporary` recognises it.
    """
    if is_remote(path):
        with scratch_folder() as folder:
            yield str(folder / "file")
        return
    temporary = unused_name(path)
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            LOCAL.remove(temporary)


def commit(temporary: str, path: str) -> None:
    """Brings a finished temporary file to `path` in one atomic step: a reader sees all of it or what was there before.

    On a local disk that is a rename, and its bytes reach the disk before its name. In an object store, an object
    appears when its upload has ended.
    """
    if is_remote(path):
        upload(temporary, path)
        os.remove(temporary)
    else:
        LOCAL.rename(temporary, path)


def upload(local: str, path: str) -> None:
    """Copies a local file to `path`, where it appears in one step, as by `commit`."""
    backend_of(path).upload(local, path)


@contextlib.contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """Yields a binary file to write, which becomes the file at `path` at the end; after an error there is none."""
    with temporary_file(path) as temporary:
        with open(temporary, "wb") as file:
            yield file
        commit(temporary, path)


def write_atomic(path: str, content: bytes) -> None:
    """Replaces the file at `path` by `content` atomically: a reader sees the complete old or the complete new file."""
    with writing(path) as file:
        file.write(content)
