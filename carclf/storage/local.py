"""Local disks, by the standard library alone."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from carclf import files
from carclf.storage.range_file import STREAM_BYTES


class LocalDisk:
    """The files of this machine."""

    def is_folder(self, path: str) -> bool:
        """Returns whether a folder is there."""
        return os.path.isdir(path)

    def size_bytes(self, path: str) -> int | None:
        """Returns the size of a file, or None if there is none."""
        return os.stat(path).st_size if os.path.isfile(path) else None

    def names_in(self, folder: str) -> list[str]:
        """Returns the names directly in a folder; none if it does not exist."""
        return os.listdir(folder) if os.path.isdir(folder) else []

    def sizes_under(self, folder: str) -> dict[str, int]:
        """Returns the size of every file under a folder."""
        return {
            os.path.relpath(path, folder).replace(os.sep, "/"): os.stat(path).st_size
            for top, _, names in os.walk(folder)
            for path in (os.path.join(top, name) for name in names)
        }

    def read_bytes(self, path: str) -> bytes:
        """Returns a whole file."""
        with open(path, "rb") as file:
            return file.read()

    def read_range(self, path: str, start: int, size: int) -> bytes:
        """Returns a part of a file."""
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(size)

    def stream(self, path: str) -> Iterator[bytes]:
        """Yields a whole file."""
        with open(path, "rb") as file:
            while content := file.read(STREAM_BYTES):
                yield content

    def make_folder(self, path: str) -> None:
        """Creates a folder and its parents."""
        os.makedirs(path, exist_ok=True)

    def remove(self, path: str) -> None:
        """Removes a file or a folder."""
        if os.path.isdir(path) and not os.path.islink(path):
            for name in os.listdir(path):
                self.remove(os.path.join(path, name))
            os.rmdir(path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    def upload(self, local: str, path: str) -> None:
        """Copies a file to `path`, where it appears in one step."""
        with files.replacing(Path(path)) as temporary:
            shutil.copyfile(local, temporary)

    def rename(self, temporary: str, path: str) -> None:
        """Renames a finished file; its bytes reach the disk before its name."""
        files.commit(temporary, path)
        _sync_folder(os.path.dirname(path) or ".")


def _sync_folder(folder: str) -> None:
    if os.name != "posix":  # Windows cannot open a folder and does not need to
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
