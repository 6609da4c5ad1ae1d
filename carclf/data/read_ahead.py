"""Reads photos from an object store before they are needed: a store answers slowly, but many requests at once.

Photos that follow each other in a shard are read together. Training shuffles a photo among its neighbours
(`carclf.data.order`), so the rest of such a block is soon needed, too.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from carclf import storage
from carclf.data.free_memory import free_memory
from carclf.data.index import read_photo
from carclf.data.manifest import Manifest
from carclf.data.records import CHECKSUM_BYTES, HEAD_BYTES

READERS = 128  # requests at a time; their threads only wait
PHOTOS_AHEAD = 512  # announced before their batch is due: 30 MB, and a quarter of a second at 2,000 photos per second
BLOCK_BYTES = 2**20  # one process makes about 900 requests per second, too few to carry one photo each
KEPT_BYTES = 640 * 2**20  # of blocks; as many photos as training shuffles among each other take 500 MB
KEPT_SHARE = 0.25  # of the free memory


@dataclasses.dataclass(eq=False)
class _Block:
    """Photos that are read in one request.

    Attributes:
      first: index of the first photo.
      start: of the first record in the shard's file, bytes.
      size: of all records, bytes.
      content: the records.
      left: indices of the photos that have not been taken yet.
    """

    first: int
    start: int
    size: int
    content: Future[bytes]
    left: set[int]

    def read(self, path: str, start: int, size: int) -> bytes:
        """Returns `size` bytes of the shard's file from `start` on, as `storage.read_range` does."""
        return self.content.result()[start - self.start : start - self.start + size]


class ReadAhead:
    """The bytes of photos that are announced, by their index; any thread may call it.

    If all photos of a data set fit into the memory for blocks, each is read once, however often it is taken.
    """

    def __init__(
        self,
        manifest: Manifest,
        entries: np.ndarray,
        *,
        read: Callable[[str, int, int], bytes] = storage.read_range,
        together: bool = True,
    ) -> None:
        """Creates a reader of the photos `entries`.

        Args:
          manifest: the data set.
          entries: `carclf.data.index.ENTRY` [N], the photos.
          read: (path, start, size) to bytes.
          together: whether to read blocks of photos; otherwise each is read by itself.
        """
        self._manifest, self._entries, self._read = manifest, entries, read
        self._starts = block_starts(entries, block_bytes=BLOCK_BYTES if together else 1)
        self._ends = _ends(entries)
        self._room = min(KEPT_BYTES, int(KEPT_SHARE * free_memory()))
        self._keeps_all = int(np.sum(self._ends - entries["start"])) <= self._room
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="read")
        self._blocks: dict[int, _Block] = {}  # by the index of their first photo
        self._kept = 0  # bytes of `_blocks`, at most `_room`
        self._announced: dict[int, _Block] = {}  # by the index of the photo
        self._changing = threading.Lock()

    def start(self, indices: Iterable[int]) -> None:
        """Starts to read these photos, except those that are announced already."""
        with self._changing:
            for index in indices:
                if index not in self._announced:
                    self._announced[index] = self._block_of(index)

    def take(self, index: int) -> memoryview:
        """Returns the bytes of a photo as `read_photo` does, and forgets that it was announced.

        Raises:
          DamagedShardError: as for `read_photo`.
        """
        with self._changing:
            block = self._announced.pop(index, None) or self._block_of(index)
        try:
            return read_photo(self._manifest, self._entries[index], read=block.read)
        finally:
            with self._changing:
                self._release(block, index)

    def _block_of(self, index: int) -> _Block:
        """Returns the block of a photo; if there is no room for it, a block of that photo alone."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        first, end = self._starts[number : number + 2].tolist()
        block = self._blocks.get(first)
        if block is None and self._kept + self._size(first, end) <= self._room:
            block = self._blocks[first] = self._request(first, end)
            self._kept += block.size
        if block is None:
            block = self._request(index, index + 1)
        return block

    def _request(self, first: int, end: int) -> _Block:
        entry = self._entries[first]
        path = storage.join(self._manifest.directory, self._manifest.shards[entry["shard"]].file)
        start, size = int(entry["start"]), self._size(first, end)
        content = self._threads.submit(self._read, path, start, size)
        return _Block(first, start, size, content, set(range(first, end)))

    def _size(self, first: int, end: int) -> int:
        return int(self._ends[end - 1] - self._entries["start"][first])

    def _release(self, block: _Block, index: int) -> None:
        """Records that a photo was taken, and drops a block once all of its photos were, unless everything is kept."""
        block.left.discard(index)
        if not block.left and not self._keeps_all and self._blocks.get(block.first) is block:
            del self._blocks[block.first]
            self._kept -= block.size


def block_starts(entries: np.ndarray, *, block_bytes: int) -> np.ndarray:
    """Returns int64 [M + 1], the index of the first photo of each block, and N after the last one.

    The photos of a block follow each other in a shard, without a gap, and start in the same `block_bytes` of its file.

    Args:
      entries: `carclf.data.index.ENTRY` [N].
      block_bytes: about the size of a block; 1 puts each photo into its own.
    """
    shard, start = entries["shard"], entries["start"]
    gapless = (shard[1:] == shard[:-1]) & (start[1:] == _ends(entries)[:-1] + HEAD_BYTES)
    together = gapless & (start[1:] // block_bytes == start[:-1] // block_bytes)
    return np.concatenate([np.flatnonzero(np.concatenate([[True], ~together]))[: len(entries)], [len(entries)]])


def _ends(entries: np.ndarray) -> np.ndarray:
    """Returns int64 [N], where each record ends in its file, with the checksum, bytes."""
    return entries["start"] + entries["bytes"] + CHECKSUM_BYTES


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
    ahead = ReadAhead(manifest, entries)
    ahead.start(range(min(PHOTOS_AHEAD, len(entries))))
    for number in range(len(entries)):
        yield ahead.take(number)
        ahead.start(range(number + PHOTOS_AHEAD, min(number + PHOTOS_AHEAD + 1, len(entries))))
