"""How long training waits for its input."""

import time

import numpy as np
import tensorflow as tf


class InputClock:
    """Adds up the time between asking a data set for a batch and getting it.

    Attributes:
      seconds: waited in all, by whoever reads the watched data set.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._asked = 0.0

    def watch(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches, timed; put it behind the prefetching, whose waiting is nobody's loss."""

        def ask(number: np.ndarray) -> np.ndarray:
            self._asked = time.perf_counter()
            return number

        def answer(number: np.ndarray) -> np.ndarray:
            self.seconds += time.perf_counter() - self._asked
            return number

        def timed(number: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
            with tf.control_dependencies([tf.numpy_function(answer, [number], tf.int64)]):
                return tf.nest.map_structure(tf.identity, batch)

        numbers = tf.data.Dataset.counter().map(lambda number: tf.numpy_function(ask, [number], tf.int64))
        # `zip` asks its data sets one after the other: the clock starts before the batch is asked for.
        watched = tf.data.Dataset.zip(numbers, dataset).map(timed)
        options = tf.data.Options()
        options.autotune.enabled = False
        return watched.with_options(options)
