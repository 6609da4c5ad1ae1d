"""Reads photos from an object store before they are needed: it answers slowly, but many requests at a time."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from carclf import storage
from carclf.data.index import read_photo
from carclf.data.manifest import Manifest

READERS = 128  # requests at a time; their threads only wait
PHOTOS_AHEAD = 512  # announced before their batch is due: 30 MB, and a quarter of a second at 2,000 photos a second


class ReadAhead:
    """The bytes of photos that are announced, by their index; any thread may call it."""

    def __init__(self, read: Callable[[int], memoryview]) -> None:
        """Creates a reader.

        Args:
          read: returns the bytes of a photo, by its index.
        """
        self._read = read
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="read")
        self._pending: dict[int, Future[memoryview]] = {}
        self._changing = threading.Lock()

    def start(self, indices: Iterable[int]) -> None:
        """Starts to read these photos, except those that are announced already."""
        with self._changing:
            for index in indices:
                if index not in self._pending:
                    self._pending[index] = self._threads.submit(self._read, index)

    def take(self, index: int) -> memoryview:
        """Returns the bytes of a photo as `read` does, and forgets them."""
        with self._changing:
            future = self._pending.pop(index, None)
        return self._read(index) if future is None else future.result()


def read_each(manifest: Manifest, entries: np.ndarray) -> Iterator[memoryview]:
    """Yields the JPEG bytes of each photo in order, from an object store some ahead of the one that is due.

    Args:
      manifest: the data set.
      entries: `carclf.data.index.ENTRY` [N].

    Raises:
      DamagedShardError: as for `read_photo`.
    """
    if not storage.is_remote(manifest.directory):
        yield from (read_photo(manifest, entry) for entry in entries)
        return
    ahead = ReadAhead(lambda number: read_photo(manifest, entries[number]))
    ahead.start(range(min(PHOTOS_AHEAD, len(entries))))
    for number in range(len(entries)):
        yield ahead.take(number)
        ahead.start(range(number + PHOTOS_AHEAD, min(number + PHOTOS_AHEAD + 1, len(entries))))
