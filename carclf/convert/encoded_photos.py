"""Photos that the first pass encoded, kept on disk so that the second pass need not encode them again."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from carclf.scratch import scratch_folder


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a photo is kept.

    Attributes:
      process: id of the process that keeps it, which names its file.
      offset: of the first byte.
      size: number of bytes.
    """

    process: int
    offset: int
    size: int


class EncodedPhotos:
    """Files of encoded photos in one folder: each process appends to its own, and reads all of them.

    They only save time. Where the disk is full, or the folder is gone, photos are encoded again.
    """

    def __init__(self, folder: str) -> None:
        """Keeps the path.

        Args:
          folder: an existing folder on this machine; "" keeps nothing.
        """
        self._folder = folder

    def keep(self, encoded: bytes) -> Place | None:
        """Appends a photo to the file of this process, and returns its place; None if it is not kept."""
        if not self._folder:
            return None
        path = self._path(os.getpid())
        try:
            with open(path, "ab") as file:
                place = Place(os.getpid(), file.tell(), len(encoded))
                file.write(encoded)
        except OSError:
            self._folder = ""
            with contextlib.suppress(OSError):
                path.unlink()  # the shards need the room
            return None
        return place

    def read(self, place: Place | None, sha256: bytes) -> bytes | None:
        """Returns a photo that is kept; None if it is not, or if its bytes do not have this SHA-256."""
        if place is None or not self._folder:
            return None
        try:
            with open(self._path(place.process), "rb") as file:
                file.seek(place.offset)
                encoded = file.read(place.size)
        except OSError:
            return None
        return encoded if hashlib.sha256(encoded).digest() == sha256 else None

    def _path(self, process: int) -> Path:
        return Path(self._folder) / str(process)


@contextlib.contextmanager
def folder_in(output: str) -> Iterator[str]:
    """Yields a new folder in `output`, on the disk of the shards, and removes it at the end; "" if none can be made."""
    with contextlib.ExitStack() as stack:
        try:
            folder = str(stack.enter_context(scratch_folder(within=Path(output))))
        except OSError:
            folder = ""
        yield folder


def make_room(folder: str) -> None:
    """Removes what all processes keep in a folder, or nothing if it is ""; `read` then returns None."""
    if folder:
        for path in Path(folder).iterdir():
            path.unlink()
