import os
import signal
import time

import pytest

from carclf import workers
from carclf.errors import UserError
from carclf.workers import Workers, usable_cores, worker_count


def test_few_photos_stay_in_this_process():
    assert worker_count(0, photos=40, photos_per_worker=50) == 1
    assert worker_count(0, photos=10**6, photos_per_worker=50) == usable_cores()
    assert worker_count(3, photos=40, photos_per_worker=50) == 3


def prepare(offset):
    return offset


def add(offset, number):
    time.sleep(0.02 * (number % 3 == 0))  # later tasks end first
    return offset + number


def process(_, number):
    return os.getpid()


def die(_, number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_the_order_of_the_tasks(count):
    with Workers(count, prepare, 100) as workers:
        assert list(workers.map(add, range(20))) == list(range(100, 120))
        assert list(workers.map(add, iter([3, 2]))) == [103, 102]


def test_one_worker_is_this_process_and_two_are_others():
    with Workers(1, prepare, 0) as workers:
        assert set(workers.map(process, range(3))) == {os.getpid()}
    with Workers(2, prepare, 0) as workers:
        assert os.getpid() not in set(workers.map(process, range(8)))


def test_a_killed_worker_is_one_sentence():
    with (
        Workers(2, prepare, 0) as workers,
        pytest.raises(UserError, match="A worker process was killed, most likely because memory ran out"),
    ):
        list(workers.map(die, range(4)))


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container_limits_the_cores(files, cores, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert workers.quota_cores(tmp_path) == cores
    monkeypatch.setattr(workers, "CGROUPS", tmp_path)
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert workers.usable_cores() == (cores or 8)
