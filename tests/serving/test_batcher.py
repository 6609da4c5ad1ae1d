"""Simultaneous tasks are answered in one batch, each with its own answer."""

import threading
import time
from types import SimpleNamespace

import pytest

from carclf.serving import batcher as batching
from carclf.serving.batcher import Batcher, BusyError


class Doubling:
    """Doubles numbers, remembers its batches, and waits until it may continue."""

    def __init__(self):
        self.batches = []
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, tasks):
        self.may_go.wait(120)
        self.batches.append(list(tasks))
        return [2 * task for task in tasks]


class Looks:
    """Expects so many tasks, and counts how often the batcher asks."""

    def __init__(self, expected: int) -> None:
        self.expected, self.count = expected, 0

    def __call__(self) -> int:
        self.count += 1
        return self.expected

    def wait_for_more(self) -> None:
        """Returns when the batcher has looked a few times again."""
        enough = self.count + 3
        while self.count < enough:
            time.sleep(0.001)


@pytest.fixture
def doubling():
    return Doubling()


def test_each_task_gets_its_own_answer_in_full_batches(doubling):
    batcher = Batcher(doubling, expected=lambda: 20, largest=4, wait_seconds=120, max_waiting=100)
    doubling.may_go.clear()
    futures = [batcher.submit(number) for number in range(20)]
    doubling.may_go.set()
    assert [future.result(120) for future in futures] == [2 * number for number in range(20)]
    batcher.close()
    assert [len(batch) for batch in doubling.batches] == [4] * 5


def test_a_single_task_does_not_wait(doubling):
    batcher = Batcher(doubling, expected=lambda: 1, largest=8, wait_seconds=120, max_waiting=8)
    assert batcher.submit(21).result(120) == 42
    batcher.close()


def test_a_task_waits_for_an_expected_one(doubling):
    looks = Looks(2)
    batcher = Batcher(doubling, expected=looks, largest=8, wait_seconds=120, max_waiting=8)
    first = batcher.submit(1)
    looks.wait_for_more()
    assert not first.done()
    assert [batcher.submit(2).result(120), first.result(120)] == [4, 2]
    batcher.close()
    assert doubling.batches == [[1, 2]]


def test_a_task_waits_at_most_the_given_time(doubling, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(batching, "time", SimpleNamespace(monotonic=lambda: clock.now))
    looks = Looks(2)
    batcher = Batcher(doubling, expected=looks, largest=8, wait_seconds=5, max_waiting=8)
    only = batcher.submit(21)
    for now in (100.0, 104.9):
        clock.now = now
        looks.wait_for_more()
        assert not only.done()
    clock.now = 105.1
    assert only.result(120) == 42
    batcher.close()


def test_tasks_beyond_the_limit_are_refused(doubling):
    batcher = Batcher(doubling, expected=lambda: 1, largest=1, wait_seconds=0, max_waiting=2)
    doubling.may_go.clear()
    first = batcher.submit(1)
    while not first.running():
        time.sleep(0.001)
    waiting = [batcher.submit(number) for number in (2, 3)]
    with pytest.raises(BusyError):
        batcher.submit(4)
    doubling.may_go.set()
    assert [future.result(120) for future in waiting] == [4, 6]
    batcher.close()


def test_a_cancelled_task_is_not_computed(doubling):
    batcher = Batcher(doubling, expected=lambda: 1, largest=1, wait_seconds=0, max_waiting=8)
    doubling.may_go.clear()
    first = batcher.submit(1)
    while not first.running():
        time.sleep(0.001)
    assert batcher.submit(2).cancel()
    last = batcher.submit(3)
    doubling.may_go.set()
    assert last.result(120) == 6
    batcher.close()
    assert doubling.batches == [[1], [3]]


def test_a_failure_reaches_only_the_tasks_of_its_batch():
    def fail(tasks):
        if 0 in tasks:
            raise ValueError("zero")
        return tasks

    batcher = Batcher(fail, expected=lambda: 1, largest=1, wait_seconds=0, max_waiting=8)
    with pytest.raises(ValueError, match="zero"):
        batcher.submit(0).result(120)
    assert batcher.submit(1).result(120) == 1
    batcher.close()


def test_closing_answers_waiting_tasks(doubling):
    batcher = Batcher(doubling, expected=lambda: 3, largest=2, wait_seconds=120, max_waiting=8)
    futures = [batcher.submit(number) for number in range(3)]
    batcher.close()
    assert [future.result(0) for future in futures] == [0, 2, 4]
