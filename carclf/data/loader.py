"""From photo indices to canvases: decodes with one thread per core, directly into the memory of a batch."""

import math
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from carclf import storage
from carclf.data.cache import DecodedCache
from carclf.data.decoder import DecodeSizes, decode
from carclf.data.index import list_row, read_photo
from carclf.data.manifest import Manifest
from carclf.data.read_ahead import ReadAhead
from carclf.errors import DamagedShardError
from carclf.workers import usable_cores

ALIGNMENT = 64  # bytes; TensorFlow adopts an array with this alignment, and copies any other


class PhotoLoader:
    """Decodes photos of a data set into batches of canvases; several threads may call it at once.

    Attributes:
      extents: int64 [N, 2], (height, width) of the decoded photos in pixels.
      canvas_size: (height, width) of the canvases in pixels.
    """

    def __init__(
        self,
        manifest: Manifest,
        entries: np.ndarray,
        *,
        numbers: np.ndarray,
        sizes: DecodeSizes,
        cache: DecodedCache | None = None,
        reads_blocks: bool = True,
    ) -> None:
        """Creates a loader of the photos `entries`.

        Args:
          manifest: the data set.
          entries: `carclf.data.index.ENTRY` [N], the photos.
          numbers: int [N], their indices in the whole index.
          sizes: of all photos of the whole index, so that every split has the same canvas.
          cache: of decoded photos; None decodes them again each time.
          reads_blocks: whether `load` will be asked for a photo's neighbours, too; one request to an object store then
            fetches many photos.
        """
        self._manifest, self._entries, self._numbers = manifest, entries, numbers
        self._cache = cache
        self._ratios, self.extents = sizes.ratios[numbers], sizes.extents[numbers]
        self.canvas_size = sizes.canvas_size
        self._canvases = _CanvasPool(self.canvas_size)
        self._ahead, self._read = None, storage.RangeReader()
        if storage.is_remote(manifest.directory):
            self._ahead = ReadAhead(manifest, entries, read=self._read, together=reads_blocks)
        self._thread_count = usable_cores()
        self._threads = ThreadPoolExecutor(self._thread_count, thread_name_prefix="decode")

    @property
    def reads_ahead(self) -> bool:
        """Whether `announce` helps: the photos are not on a local disk."""
        return self._ahead is not None

    def announce(self, indices: np.ndarray) -> None:
        """Starts to read photos that `load` will be asked for soon, if they are not on a local disk.

        Args:
          indices: as for `load`.
        """
        if self._ahead is not None:
            self._ahead.start(index for index in indices.tolist() if index >= 0 and not self._is_cached(index))

    def load(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (canvas, extent): uint8 [B, Y, X, 3], zeros outside the photos, and float32 [B, 2], in pixels.

        The memory of the canvases is reused as soon as nothing holds the array any longer.

        Args:
          indices: int [B], indices of photos in `entries`; −1 is padding, an empty canvas of extent 1 x 1.

        Raises:
          DamagedShardError: a photo cannot be read.
        """
        self.announce(indices)  # does nothing for photos that were announced before
        canvas, used = self._canvases.take(len(indices))
        # The fewest parts that keep all threads busy with two batches in progress: each hand-over takes time in which
        # Python runs only one thread.
        size = -(-len(indices) // -(-self._thread_count // 2)) or 1
        parts = [slice(start, start + size) for start in range(0, len(indices), size)]
        tasks = [self._threads.submit(self._fill, canvas[part], used[part], indices[part]) for part in parts]
        for task in tasks:
            task.result()
        extent = np.where(indices[:, None] < 0, 1, self.extents[indices] if len(self.extents) else 1)
        return canvas, extent.astype(np.float32)

    def _fill(self, canvas: np.ndarray, used: np.ndarray, indices: np.ndarray) -> None:
        for pixels, before, index in zip(canvas, used, indices, strict=True):
            height, width = (0, 0) if index < 0 else self.extents[index]
            pixels[height : before[0], : before[1]] = 0  # remains of an earlier, larger photo
            pixels[:height, width : before[1]] = 0
            before[:] = height, width
            if index >= 0:
                self._fill_one(pixels, index, height, width)

    def _fill_one(self, canvas: np.ndarray, index: int, height: int, width: int) -> None:
        if self._cache is not None:
            number = int(self._numbers[index])
            pixels = self._cache.pixels(number)
            if not self._cache.holds(number):
                self._decode(index, pixels)
                self._cache.keep(number)
            canvas[:height, :width] = pixels
        elif width == canvas.shape[1]:
            self._decode(index, canvas[:height])  # the rows of a photo as wide as the canvas are contiguous
        else:
            canvas[:height, :width] = self._decode(index, None)

    def _is_cached(self, index: int) -> bool:
        return self._cache is not None and self._cache.holds(int(self._numbers[index]))

    def _decode(self, index: int, out: np.ndarray | None) -> np.ndarray:
        if self._ahead is None:
            encoded = read_photo(self._manifest, self._entries[index], read=self._read)
        else:
            encoded = self._ahead.take(int(index))
        try:
            return decode(encoded, ratio=int(self._ratios[index]), out=out)
        except ValueError as error:
            entry = self._entries[index]
            shard, (_, row) = self._manifest.shards[entry["shard"]].file, list_row(self._manifest, entry)
            raise DamagedShardError(
                f"The photo at row {row} of {self._manifest.directory}/{shard} cannot be decoded ({error}): "
                "convert the photos again with --overwrite."
            ) from None


class _CanvasPool:
    """Batches of canvases with reused memory; the system would have to clear and map new memory each time."""

    def __init__(self, canvas_size: tuple[int, int]) -> None:
        self._canvas_size = canvas_size
        self._free: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}

    def take(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (canvas, used): uint8 [count, Y, X, 3], and int64 [count, 2], the part of each that is not zero."""
        free = self._free.setdefault(count, [])
        try:
            base, used = free.pop()
        except IndexError:
            base, used = self._new(count)
        # Here NumPy creates a memoryview that every view of the canvas keeps alive, even a slice of a slice (which
        # would otherwise only keep `base`): when it ends, the memory is free again.
        lent = np.frombuffer(base.reshape(-1).data, np.uint8)
        assert isinstance(lent.base, memoryview)
        weakref.finalize(lent.base, free.append, (base, used)).atexit = False
        return lent.reshape(base.shape), used

    def _new(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (count, *self._canvas_size, 3)
        size = math.prod(shape)
        memory = np.zeros(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        return memory[start : start + size].reshape(shape), np.zeros((count, 2), np.int64)
