"""Batches of canvases, each with the small arrays that are drawn for its photos."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from carclf.data.batches import Shapes, announced, numbered_batches
from carclf.data.cache import DecodedCache
from carclf.data.decoder import decode_sizes
from carclf.data.index import photo_sizes, read_index, select
from carclf.data.loader import PhotoLoader
from carclf.data.manifest import Manifest, Shard
from carclf.data.read_ahead import PHOTOS_AHEAD
from carclf.framing import Framing


def open_loader(
    manifest: Manifest, shards: Sequence[Shard], *, framing: Framing, cache: DecodedCache | None, hosts: int = 1
) -> tuple[PhotoLoader, np.ndarray]:
    """Returns a loader of the photos of `shards`, and their entries of the index.

    Args:
      manifest: the data set.
      shards: of the photos.
      framing: image size and fit.
      cache: of decoded photos; None decodes again every epoch.
      hosts: number of hosts that share the photos; with several, each reads few neighbours in a shard.
    """
    index = read_index(manifest)
    numbers = select(manifest, index, shards)
    entries, sizes = index[numbers], decode_sizes(photo_sizes(index), framing=framing)
    loader = PhotoLoader(manifest, entries, numbers=numbers, sizes=sizes, cache=cache, reads_blocks=hosts == 1)
    return loader, entries


def loaded_batches(
    numbers: tf.data.Dataset,
    loader: PhotoLoader,
    indices_of: Callable[[int], np.ndarray],
    draws_of: Callable[[int, np.ndarray, np.ndarray], Iterable[np.ndarray]],
    shapes: Shapes,
    *,
    batch_size: int,
) -> tf.data.Dataset:
    """Returns the arrays of each batch by name; photos in an object store are read some batches ahead.

    Args:
      numbers: of the batches, int64 [].
      loader: of the photos.
      indices_of: returns the indices of a batch, as `PhotoLoader.load` takes them.
      draws_of: returns what follows canvas and extent in `shapes`, from the batch's number, indices and extent.
      shapes: dtype and shape of every array.
      batch_size: photos per batch.
    """

    def batch(number: int) -> tuple[np.ndarray, ...]:
        indices = indices_of(number)
        canvas, extent = loader.load(indices)
        return canvas, extent, *draws_of(number, indices, extent)

    if loader.reads_ahead:
        ahead = max(2, -(-PHOTOS_AHEAD // batch_size))
        numbers = announced(numbers, lambda number: loader.announce(indices_of(number)), ahead=ahead)
    return numbered_batches(numbers, batch, shapes)


def batch_numbers(entries: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Returns the numbers of the batches that hold all photos, int64 []."""
    return tf.data.Dataset.range(-(-len(entries) // batch_size))


def padded_indices(number: int, *, batch_size: int, photos: int) -> np.ndarray:
    """Returns int64 [B], the indices of batch `number` in order, −1 after the last photo."""
    indices = np.arange(number * batch_size, (number + 1) * batch_size)
    return np.where(indices < photos, indices, -1)


def entries_at(entries: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Returns the entries at `indices`; padding has row and label −1."""
    found = np.zeros(len(indices), entries.dtype)
    found["row"] = found["label"] = -1
    found[indices >= 0] = entries[indices[indices >= 0]]
    return found
