"""Photos that the first pass encoded, kept in the output so that later passes need not encode them again."""

import contextlib
import dataclasses
import hashlib
import io
import os
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

FOLDER = "encoded.tmp"  # in the output, whose lock says that no other converter uses it
SPARE_BYTES = 2**30  # left free for other programs on the disk


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

    def __init__(self, folder: str, *, room: int) -> None:
        """Opens nothing yet.

        Args:
          folder: an existing folder on this machine; "" keeps nothing.
          room: bytes that this process may keep.
        """
        self._folder = folder
        self._room = room
        self._file: io.FileIO | None = None

    def keep(self, encoded: bytes) -> Place | None:
        """Appends a photo to the file of this process, and returns its place; None if it is not kept."""
        if not self._folder or len(encoded) > self._room:
            return None
        try:
            file = self._file = self._file or self._opened()
            place = Place(os.getpid(), file.tell(), len(encoded))
            whole = file.write(encoded) == len(encoded)
        except OSError:
            whole = False
        if not whole:  # the disk or a quota is full
            self._room = 0
            _empty(self._path(os.getpid()))
            return None
        self._room -= len(encoded)
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

    def make_room(self) -> bool:
        """Removes what every process has kept, and returns whether anything was there."""
        return make_room(self._folder)

    def _opened(self) -> io.FileIO:
        # Open until the end, because some mounts of object stores upload a file each time it is closed.
        file = open(self._path(os.getpid()), "ab", buffering=0)  # noqa: SIM115
        weakref.finalize(self, file.close)
        return file

    def _path(self, process: int) -> Path:
        return Path(self._folder) / str(process)


@contextlib.contextmanager
def folder_in(output: str) -> Iterator[str]:
    """Yields an empty folder in `output`, on the disk of the shards, and removes it at the end; "" if there is none.

    One that a killed conversion left is removed first.
    """
    folder = os.path.join(output, FOLDER)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
    except OSError:
        folder = ""
    try:
        yield folder
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def room_in(folder: str, *, processes: int) -> int:
    """Returns how many bytes each process may keep: together half of what is free, so that the shards fit, too."""
    if not folder:
        return 0
    return max(0, shutil.disk_usage(folder).free // 2 - SPARE_BYTES) // processes


def make_room(folder: str) -> bool:
    """Removes what all processes keep in a folder, and returns whether anything was there; nothing if it is ""."""
    try:
        paths = list(Path(folder).iterdir()) if folder else []
    except OSError:
        return False
    return sum(map(_empty, paths)) > 0


def _empty(path: Path) -> bool:
    """Empties a file, and returns whether it held anything.

    A file that is only unlinked would keep its room while another process has it open.
    """
    with contextlib.suppress(OSError):
        held = path.stat().st_size > 0
        os.truncate(path, 0)
        return held
    return False
