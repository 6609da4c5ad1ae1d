"""Decoded photos, kept in memory or in a file, so that later epochs only copy them."""

import os
import shutil

import numpy as np

from carclf import storage
from carclf.data.cache_files import CacheFiles, reserved_bytes
from carclf.data.decoder import DecodeSizes
from carclf.data.free_memory import free_memory
from carclf.data.manifest import Manifest
from carclf.errors import UserError

ROOM = 0.8  # the fraction of the free space that may be used


class DecodedCache:
    """Space for the pixels of photos of a data set at their decoded sizes, without gaps or padding.

    A photo in a file is compared with its checksum when a process reads it for the first time.

    Attributes:
      bytes: of all the space.
    """

    def __init__(
        self, extents: np.ndarray, *, starts: np.ndarray, memory: np.ndarray, files: CacheFiles | None = None
    ) -> None:
        """Creates a cache in `memory`, uint8 [bytes], which is that of `files` if there are any.

        Args:
          extents: int [N, 2], (height, width) of the photos of the data set.
          starts: int64 [N + 1], where the pixels of each photo start; one without space can be neither kept nor read.
          memory: the space.
          files: that hold it.
        """
        self._extents, self._memory, self._files = extents, memory, files
        self._known = np.zeros(len(extents), np.bool_)  # written or compared by this process
        self._starts = starts
        self.bytes = int(starts[-1])

    def pixels(self, number: int) -> np.ndarray:
        """Returns a view of a photo's pixels, uint8 [h, w, 3]: to read if it is held, to write otherwise."""
        flat = self._memory[self._starts[number] : self._starts[number + 1]]
        return flat.reshape(*self._extents[number], 3)

    def holds(self, number: int) -> bool:
        """Returns whether the pixels of a photo are here and intact."""
        if not self._known[number] and self._files is not None:
            self._known[number] = self._files.is_whole(number)
        return bool(self._known[number])

    def keep(self, number: int) -> None:
        """Records that all pixels of a photo are written.

        Raises:
          UserError: the file cannot be written.
        """
        try:
            if self._files is not None:
                self._files.keep(number)
        except OSError as error:
            raise _cannot_be_written(os.path.dirname(self._files.stem) if self._files else "", error) from None
        self._known[number] = True

    def sync(self) -> None:
        """Writes the pixels to disk if they are in a file, which then holds them for other processes, too."""
        if self._files is not None:
            self._files.sync()


def open_cache(where: str, *, manifest: Manifest, wanted: np.ndarray, sizes: DecodeSizes) -> DecodedCache | None:
    """Returns a cache for the photos of a data set and prints its size in one line; None if there is no room.

    Args:
      where: 'ram', or a folder, whose cache is reused by later runs on the same data decoded at the same sizes.
      manifest: the data set.
      wanted: int [M], indices of the photos to hold.
      sizes: of all its photos.

    Raises:
      UserError: the folder cannot be written.
    """
    extents = sizes.extents
    sizes_bytes = extents.prod(axis=1) * 3
    needed = int(sizes_bytes[wanted].sum())
    stem = os.path.join(where, f"decoded-{manifest.fingerprint[:16]}-{storage.sha256(extents.tobytes())[:16]}")
    try:
        reserved = 0 if where == "ram" else min(needed, reserved_bytes(stem))
        free = free_memory() if where == "ram" else _free_disk(where)
        place = "memory" if where == "ram" else where
        size = f"{len(wanted):,} decoded photos take {needed / 1e9:.2f} GB"
        shown = f"the {(free + reserved) / 1e9:.1f} GB free in {place}"
        if needed - reserved > ROOM * free:
            print(f"Cache: {size}, too much for {shown}: each epoch decodes again.")
            return None
        print(f"Cache: {size} of {shown}.")
        if where == "ram":
            starts = _starts(np.where(np.isin(np.arange(len(extents)), wanted), sizes_bytes, 0))
            try:
                return DecodedCache(extents, starts=starts, memory=np.empty(starts[-1], np.uint8))
            except MemoryError:  # a limit of its own, such as that of ulimit -v
                print("Cache: this process may not take so much memory: each epoch decodes again.")
                return None
        starts = _starts(sizes_bytes)  # for all photos, so that runs that want others share the files
        files = CacheFiles(stem, starts, wanted=wanted)
        return DecodedCache(extents, starts=starts, memory=files.pixels, files=files)
    except OSError as error:
        raise _cannot_be_written(where, error) from None


def _cannot_be_written(where: str, error: OSError) -> UserError:
    return UserError(f"--cache={where} cannot be written ({error.strerror or error}): name another folder, or ram.")


def _starts(sizes_bytes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes_bytes)])


def _free_disk(folder: str) -> int:
    os.makedirs(folder, exist_ok=True)
    return shutil.disk_usage(folder).free
