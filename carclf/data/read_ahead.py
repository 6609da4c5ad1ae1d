"""Reads photos from an object store before they are needed: it answers slowly, but many requests at a time."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

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
