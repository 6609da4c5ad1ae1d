import os
import signal
import time

import pytest

from carclf import control_groups, workers
from carclf.control_groups import V1, V2
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
    ("version", "files", "cores"),
    [
        (V2, {"job/cpu.max": "150000 100000\n"}, 2),
        (V2, {"job/cpu.max": "max 100000\n"}, 8),
        (V2, {"cpu.max": "150000 100000\n", "job/cpu.max": "300000 100000\n"}, 2),
        (V1, {"job/cpu.cfs_quota_us": "50000\n", "job/cpu.cfs_period_us": "100000\n"}, 1),
        (V1, {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}, 1),
        (V1, {"job/cpu.cfs_quota_us": "-1\n", "job/cpu.cfs_period_us": "100000\n"}, 8),
        (V1, {}, 8),
    ],
)
def test_the_quota_of_any_control_group_around_the_process_limits_the_cores(
    version, files, cores, tmp_path, monkeypatch
):
    monkeypatch.setattr(control_groups, "PROC", tmp_path)
    (tmp_path / "cgroup").write_text("0::/job\n" if version == V2 else "4:cpu,cpuacct:/job\n0::/\n")
    (tmp_path / "mountinfo").write_text(f"35 31 0:32 / {tmp_path / 'groups'} rw - {version} cgroup rw,cpu,cpuacct\n")
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert workers.usable_cores() == cores
