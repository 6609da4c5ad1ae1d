"""Batches of arrays that Python makes ahead: their names, dtypes and shapes, and the slice of each host."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from carclf.recipe import DRAW_SHAPES

BATCHES_AT_ONCE = 3  # so that no core waits for the last photo of a batch, nor for its draws
PREFETCH_BATCHES = 1  # memory that is reused sooner is still in the CPU's cache

Shape = tuple[int | None, ...]
Shapes = Mapping[str, tuple[tf.DType, Shape]]


@dataclasses.dataclass(frozen=True)
class HostSlice:
    """The slice of each batch that this host decodes; all hosts together decode the whole batch.

    Attributes:
      host: its number, from 0.
      hosts: number of hosts; it must divide the batch, or half of it if photos are mixed.
    """

    host: int = 0
    hosts: int = 1

    def of(self, indices: np.ndarray) -> np.ndarray:
        """Returns int [..., B / hosts], this host's slice of int [..., B]: consecutive photos, so that pairs stay."""
        return np.split(indices, self.hosts, axis=-1)[self.host]


ONE_HOST = HostSlice()


def canvas_shapes(batch_size: int | None, canvas_size: tuple[int, int]) -> dict[str, tuple[tf.DType, Shape]]:
    """Returns dtype and shape of decoded photos: canvas and extent."""
    return {
        "canvas": (tf.uint8, (batch_size, *canvas_size, 3)),
        "extent": (tf.float32, (batch_size, 2)),
    }


def augmented_shapes(batch_size: int, canvas_size: tuple[int, int], class_count: int) -> Shapes:
    """Returns dtype and shape of what training and validation read, in the order of the arrays."""
    drawn = {name: (tf.float32, (batch_size, *shape)) for name, shape in DRAW_SHAPES.items()}
    last = {"target": (tf.float32, (batch_size, class_count)), "weight": (tf.float32, (batch_size,))}
    return canvas_shapes(batch_size, canvas_size) | drawn | last


def numbered_batches(
    numbers: tf.data.Dataset, batch: Callable[[int], tuple[np.ndarray, ...]], shapes: Shapes
) -> tf.data.Dataset:
    """Returns the arrays of each batch by name, in order, a few prepared ahead.

    The threads of `batch` do the work: the queue's own threads only wait for them.

    Args:
      numbers: the numbers of the batches, int64 [].
      batch: returns the arrays of a batch, in the order of `shapes`.
      shapes: dtype and shape of every array.
    """
    types = [dtype for dtype, _ in shapes.values()]

    def arrays(number: tf.Tensor) -> dict[str, tf.Tensor]:
        made = tf.numpy_function(batch, [number], types, stateful=False)
        return {
            name: tf.ensure_shape(array, shape) for (name, (_, shape)), array in zip(shapes.items(), made, strict=True)
        }

    dataset = numbers.map(arrays, num_parallel_calls=BATCHES_AT_ONCE, deterministic=True)
    return dataset.prefetch(PREFETCH_BATCHES).with_options(_options())


def announced(numbers: tf.data.Dataset, announce: Callable[[int], None], *, ahead: int) -> tf.data.Dataset:
    """Returns the numbers unchanged; `announce` is called with each of them, up to `ahead` before it is taken."""

    def called(number: np.int64) -> np.int64:
        announce(int(number))
        return number

    def same(number: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(called, [number], tf.int64, stateful=True), ())

    return numbers.map(same).prefetch(ahead)


def label_targets(label: np.ndarray, *, class_count: int, label_smoothing: float = 0.0) -> np.ndarray:
    """Returns float32 [B, K], each row summing to 1: one-hot, with `label_smoothing` spread evenly; −1 is uniform.

    Args:
      label: int [B], in 0..K−1, or −1 for an unknown label.
      class_count: K.
      label_smoothing: fraction in [0, 1) that is spread over all classes.
    """
    smoothing = np.where(label < 0, 1.0, label_smoothing)
    spread = smoothing / class_count
    target = np.empty((len(label), class_count), np.float32)
    target[:] = spread[:, None]
    target[np.arange(len(label)), np.maximum(label, 0)] = (1 - smoothing) + spread
    return target


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False  # there is nothing to tune
    options.threading.private_threadpool_size = BATCHES_AT_ONCE + 1  # threads that wait, not work
    # One process feeds all its replicas: they split each batch, not the files.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
