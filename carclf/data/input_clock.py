"""Measures the input wait: how long training waits for batches."""

import time

import numpy as np
import tensorflow as tf


class InputClock:
    """Adds up the time between requesting a batch from a data set and getting it.

    Attributes:
      seconds: total wait of the reader of the timed data set.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._requested = 0.0

    def timed(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the same batches, timed. Apply it after prefetching, because the wait of a prefetch costs nothing."""

        def start(number: np.ndarray) -> np.ndarray:
            self._requested = time.perf_counter()
            return number

        def stop(number: np.ndarray) -> np.ndarray:
            self.seconds += time.perf_counter() - self._requested
            return number

        def after_stop(number: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
            with tf.control_dependencies([tf.numpy_function(stop, [number], tf.int64)]):
                return tf.nest.map_structure(tf.identity, batch)

        numbers = tf.data.Dataset.counter().map(lambda number: tf.numpy_function(start, [number], tf.int64))
        # `zip` reads its data sets one after the other: the clock starts before the batch is requested.
        batches = tf.data.Dataset.zip(numbers, dataset).map(after_stop)
        options = tf.data.Options()
        options.autotune.enabled = False
        return batches.with_options(options)
