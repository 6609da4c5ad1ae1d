import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from carclf.data import input_clock
from carclf.data.input_clock import InputClock


class Clock:
    """Stands in for the module `time`: it goes on only where a test says so, whatever the machine does."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(input_clock, "time", clock)
    return clock


def numbers(make, count: int = 10) -> tf.data.Dataset:
    """(inputs, target) of a number, each after `make` was called with it."""

    def called(number: np.ndarray) -> np.ndarray:
        make(int(number))
        return number

    made = tf.data.Dataset.range(count).map(lambda n: tf.numpy_function(called, [n], tf.int64))
    return made.map(lambda n: ({"number": n}, n + 1))


def test_a_slow_source_has_a_wait(time):
    def take_three(number: int) -> None:
        time.now += 3.0

    clock, seen = InputClock(), []
    for inputs, target in clock.timed(numbers(take_three)).as_numpy_iterator():
        seen.append((int(inputs["number"]), int(target)))
        time.now += 1000.0  # the reader's own time
    assert seen == [(n, n + 1) for n in range(10)]
    assert clock.seconds == pytest.approx(30.0)


def test_a_slow_reader_has_no_wait(time):
    """While it works the next batch is made; the time for that is nobody's loss."""
    made = [threading.Event() for _ in range(10)]

    def take_three(number: int) -> None:
        time.now += 3.0
        made[number].set()

    clock, waited = InputClock(), SimpleNamespace(first=None)
    for _ in clock.timed(numbers(take_three).prefetch(10)).as_numpy_iterator():
        if waited.first is None:
            waited.first = clock.seconds
        for event in made:
            assert event.wait(120)
        time.now += 5.0
    assert waited.first > 0
    assert clock.seconds == waited.first
