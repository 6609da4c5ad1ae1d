import time

import numpy as np
import pytest
import tensorflow as tf

from carclf.data.input_clock import InputClock


def slow(seconds: float, count: int = 10) -> tf.data.Dataset:
    """Returns (inputs, target) of each number after a pause."""

    def pause(number: np.ndarray) -> np.ndarray:
        time.sleep(seconds)
        return number

    numbers = tf.data.Dataset.range(count).map(lambda n: tf.numpy_function(pause, [n], tf.int64))
    return numbers.map(lambda n: ({"number": n}, n + 1)).prefetch(2)


def test_a_slow_source_has_a_wait():
    clock = InputClock()
    batches = list(clock.timed(slow(0.03)).as_numpy_iterator())
    assert [(int(inputs["number"]), int(target)) for inputs, target in batches] == [(n, n + 1) for n in range(10)]
    assert clock.seconds == pytest.approx(0.3, abs=0.12)


def test_a_slow_reader_has_no_wait():
    clock = InputClock()
    for _ in clock.timed(slow(0.005)):
        time.sleep(0.03)
    assert clock.seconds < 0.1
