"""Decoded photos, kept in memory or in a file, so that later epochs only copy them."""

import os
import shutil

import numpy as np
import psutil

from carclf.data import storage
from carclf.data.decoder import DecodeSizes
from carclf.data.manifest import Manifest
from carclf.errors import UserError

ROOM = 0.8  # the fraction of the free space that may be used


class DecodedCache:
    """Space for the pixels of every photo of a data set at its decoded size, without gaps or padding.

    Attributes:
      held: bool [N], which photos it holds; set an entry when its pixels are complete.
      bytes: of all photos together.
    """

    def __init__(self, extents: np.ndarray, *, memory: np.ndarray, held: np.ndarray) -> None:
        self.held = held
        self._extents, self._memory = extents, memory
        self._starts = _starts(extents)
        self.bytes = int(self._starts[-1])

    def pixels(self, number: int) -> np.ndarray:
        """Returns a view of a photo's pixels, uint8 [h, w, 3]: to read if it is held, to write otherwise."""
        flat = self._memory[self._starts[number] : self._starts[number + 1]]
        return flat.reshape(*self._extents[number], 3)


def open_cache(where: str, *, manifest: Manifest, wanted: np.ndarray, sizes: DecodeSizes) -> DecodedCache | None:
    """Returns a cache for the photos of a data set and prints its size in one line; None if there is no room.

    Args:
      where: 'ram', or a folder, whose cache later runs on the same data, decoded at the same sizes, reuse.
      manifest: the data set.
      wanted: int [M], indices of the photos to hold.
      sizes: of all its photos.

    Raises:
      UserError: the folder cannot be written.
    """
    extents = sizes.extents
    needed = int(_starts(extents[wanted])[-1])
    try:
        free = _free_memory() if where == "ram" else _free_disk(where)
        place = "memory" if where == "ram" else where
        size = f"{len(wanted):,} decoded photos take {needed / 1e9:.2f} GB"
        if needed > ROOM * free:
            print(f"Cache: {size}, too much for the {free / 1e9:.1f} GB free in {place}: each epoch decodes again.")
            return None
        print(f"Cache: {size} of the {free / 1e9:.1f} GB free in {place}.")
        total = int(_starts(extents)[-1])
        if where == "ram":
            return DecodedCache(extents, memory=np.empty(total, np.uint8), held=np.zeros(len(extents), np.bool_))
        stem = os.path.join(where, f"decoded-{manifest.fingerprint[:16]}-{storage.sha256(extents.tobytes())[:16]}")
        return DecodedCache(extents, memory=_mapped(f"{stem}.bin", total), held=_mapped(f"{stem}.held", len(extents)))
    except OSError as error:
        raise UserError(
            f"--cache={where} cannot be written ({error.strerror or error}): name another folder, or ram."
        ) from None


def _starts(extents: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(extents.prod(axis=1) * 3)])


def _mapped(path: str, size: int) -> np.ndarray:
    """Returns a file as an array uint8 [size]: the existing one, or a new one, which takes no space until written."""
    if not os.path.isfile(path) or os.path.getsize(path) != size:
        with open(path, "wb") as file:
            file.truncate(size)
    return np.memmap(path, np.uint8, "r+", shape=(size,))


def _free_disk(folder: str) -> int:
    os.makedirs(folder, exist_ok=True)
    return shutil.disk_usage(folder).free


def _free_memory() -> int:
    """Returns how many bytes this process may still take, within the machine's limit and its container's, if any."""
    free = psutil.virtual_memory().available
    for limit_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            with open(limit_file) as limit, open(used_file) as used:
                free = min(free, int(limit.read()) - int(used.read()))
        except (OSError, ValueError):  # no container, or one without a limit ("max")
            continue
    return free
