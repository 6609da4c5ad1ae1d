"""The files of a cache of decoded photos: their pixels, and a checksum of each photo that is complete.

decoded-….bin   the pixels of every photo, at fixed places
decoded-….sums  uint64 [N], the checksum of each photo whose pixels are on the disk, with HELD; otherwise 0
"""

import contextlib
import errno
import os
import sys
import threading
import weakref
from collections.abc import Iterable

import google_crc32c
import numpy as np

HELD = 1 << 32  # beside the 32 bits of the checksum, which may be 0
SYNC_BYTES = 256 * 2**20  # of new pixels, between two syncs before the last
UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


class CacheFiles:
    """Pixels in a file, with their checksums.

    Attributes:
      pixels: uint8 [bytes], the pixels of all photos, mapped.
    """

    def __init__(self, stem: str, starts: np.ndarray, *, wanted: np.ndarray) -> None:
        """Opens or creates the files, and reserves the space of the wanted photos on the disk.

        Args:
          stem: path of the files without their endings.
          starts: int64 [N + 1], where the pixels of each photo start.
          wanted: int [M], the photos that will be held.

        Raises:
          OSError: the files cannot be written, or the disk is too full.
        """
        self.stem, self._starts = stem, starts
        ranges = [(int(starts[first]), int(starts[last + 1])) for first, last in _stretches(wanted)]
        self.pixels = _mapped(f"{stem}.bin", int(starts[-1]), ranges)
        sums_bytes = 8 * (len(starts) - 1)
        self._sums = _mapped(f"{stem}.sums", sums_bytes, [(0, sums_bytes)]).view("<u8", np.memmap)
        with contextlib.suppress(OSError):
            os.remove(f"{stem}.held")  # of carclf 0.1, which had no checksums
        missing = int(np.count_nonzero(self._sums[wanted] == 0))
        self._unsynced = _Unsynced(self.pixels, self._sums, missing=missing)
        weakref.finalize(self, self._unsynced.sync)

    def is_whole(self, number: int) -> bool:
        """Returns whether the file holds a photo's pixels; damaged ones are noted."""
        stored = int(self._sums[number])
        if stored == 0:
            return False
        if stored == self._sum(number):
            return True
        print(f"Note: {self.stem}.bin is damaged at photo {number}, which is decoded again.", file=sys.stderr)
        return False

    def keep(self, number: int) -> None:
        """Records that a photo's pixels are complete: in the file as soon as they are on the disk.

        Raises:
          OSError: they cannot be written.
        """
        self._unsynced.add(number, self._sum(number), int(self._starts[number + 1] - self._starts[number]))

    def sync(self) -> None:
        """Writes all complete pixels to disk, then their checksums; what does not fit is decoded again later."""
        self._unsynced.sync()

    def _sum(self, number: int) -> int:
        pixels = self.pixels[self._starts[number] : self._starts[number + 1]]
        return HELD | int(google_crc32c.value(pixels.tobytes()))  # it takes bytes only


class _Unsynced:
    """The photos whose pixels the system may not have written yet; the last missing one syncs them."""

    def __init__(self, pixels: np.memmap, sums: np.memmap, *, missing: int) -> None:
        self._pixels, self._sums, self._missing = pixels, sums, missing
        self._lock = threading.Lock()
        self._waiting: dict[int, int] = {}
        self._bytes = 0

    def add(self, number: int, checksum: int, size: int) -> None:
        with self._lock:
            self._waiting[number] = checksum
            self._bytes += size
            self._missing -= 1
            due = self._bytes >= SYNC_BYTES or self._missing <= 0
        if due:
            self._sync()

    def sync(self) -> None:
        with contextlib.suppress(OSError):  # a later run decodes them again
            self._sync()

    def _sync(self) -> None:
        with self._lock:
            taken, self._waiting, self._bytes = self._waiting, {}, 0
        if taken:  # the lock is free, so that other threads can decode
            _flush(self._pixels)
            self._sums[list(taken)] = list(taken.values())
            _flush(self._sums)


def reserved_bytes(stem: str) -> int:
    """Returns how many bytes of the disk the files of an existing cache take."""
    try:
        found = os.stat(f"{stem}.bin")
    except OSError:
        return 0
    return 512 * found.st_blocks if hasattr(found, "st_blocks") else found.st_size  # on Windows no file is sparse


def _flush(array: np.memmap) -> None:
    array.flush()


def _mapped(path: str, size: int, ranges: Iterable[tuple[int, int]]) -> np.memmap:
    """Returns a file as an array uint8 [size], the existing one or a new one, with space on the disk for `ranges`.

    A page without space would end the process with SIGBUS when it is written.
    """
    existed = os.path.isfile(path) and os.path.getsize(path) == size
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | (0 if existed else os.O_TRUNC), 0o666)
    try:
        os.ftruncate(descriptor, size)
        for start, stop in ranges:
            _reserve(descriptor, start, stop - start)
    except OSError:
        if not existed:
            os.remove(path)
        raise
    finally:
        os.close(descriptor)
    return np.memmap(path, np.uint8, "r+", shape=(size,))


def _reserve(descriptor: int, start: int, size: int) -> None:
    if not hasattr(os, "posix_fallocate") or size <= 0:  # macOS and Windows
        return
    try:
        os.posix_fallocate(descriptor, start, size)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _stretches(numbers: np.ndarray) -> list[tuple[int, int]]:
    """Returns the first and the last of each stretch of consecutive numbers."""
    ordered = np.unique(numbers)
    if not len(ordered):
        return []
    breaks = np.flatnonzero(np.diff(ordered) > 1)
    firsts = ordered[np.concatenate([[0], breaks + 1])]
    lasts = ordered[np.concatenate([breaks, [len(ordered) - 1]])]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))
