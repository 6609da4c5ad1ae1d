"""Two converters never share an output."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carclf import lease, lock, preemption, storage
from carclf.convert import output_lock
from carclf.convert.converter import convert
from carclf.convert.options import ConvertOptions
from carclf.errors import UserError
from tests.convert.inputs import class_folders, converted, tree, write_files

ROOT = Path(__file__).parents[2]
STOPPED = """
import sys
from carclf.convert import converter
from carclf.convert.options import ConvertOptions

def waiting(*arguments, **how):
    print("begun", flush=True)
    sys.stdin.read()
    raise SystemExit

converter.take_inventory = waiting
converter.convert(ConvertOptions(input=sys.argv[1], output=sys.argv[2], workers=1, folds=2))
"""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(lease, "SETTLING_SECONDS", 0.0)


@pytest.mark.parametrize("same", [True, False], ids=["the same photos", "other photos"])
def test_a_second_converter_is_refused_and_changes_nothing(tmp_path, same):
    mine, theirs = (write_files(tmp_path / name, class_folders(6, first=n)) for name, n in (("a", 0), ("b", 50)))
    output = tmp_path / "out"
    converted(mine, output)
    before = tree(output)
    source = mine if same else theirs
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(theirs), str(output)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "begun\n"
        with pytest.raises(UserError) as caught:
            converted(source, output, overwrite=True)
        assert str(caught.value) == (
            f"Process {other.pid} on host {socket.gethostname()} is converting to {output}: wait for its end or stop "
            "it, or choose another --output."
        )
        other.kill()
    after = tree(output)
    after.pop(lock.LOCK_FILE, None)
    assert after == before


def test_the_lock_is_gone_after_a_conversion_and_a_dry_run_takes_none(tmp_path):
    source = write_files(tmp_path / "photos", class_folders(6))
    converted(source, tmp_path / "out")
    assert not (tmp_path / "out" / lock.LOCK_FILE).exists()
    with lock.holding(tmp_path / "out", doing="converting to", option="--output"):
        assert convert(ConvertOptions(input=str(source), output=str(tmp_path / "out"), dry_run=True, folds=2)) is None


def test_an_input_that_is_refused_leaves_no_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError):
        converted(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_lease_keeps_an_object_store_for_one_converter(tmp_path):
    output = f"ram://{tmp_path.name}/lease"
    path = storage.join(output, lock.LOCK_FILE)
    with output_lock.holding_output(output):
        assert lock.parse_holder(storage.read_bytes(path))["pid"] == os.getpid()
        with (
            pytest.raises(UserError, match=f"^Process {os.getpid()} on host .* is converting to {output}: wait"),
            output_lock.holding_output(output),
        ):
            pass
        assert storage.size_bytes(path)
    assert storage.size_bytes(path) is None


@pytest.mark.parametrize("content", [b"", b"{}", b'{"renewed": "now"}'], ids=repr)
def test_a_damaged_or_old_lease_is_taken_over(tmp_path, content):
    output = f"ram://{tmp_path.name}/old"
    path = storage.join(output, lock.LOCK_FILE)
    old = json.dumps(lock.holder_of_this_process() | {"renewed": time.time() - lock.STALE_SECONDS - 9}).encode()
    for left in (content, old):
        storage.make_folder(output)
        storage.write_atomic(path, left)
        with output_lock.holding_output(output):
            assert "renewed" in lock.parse_holder(storage.read_bytes(path))


def test_a_lease_that_a_killed_process_of_this_host_left_is_taken_over_at_once(tmp_path):
    output = f"ram://{tmp_path.name}/killed"
    left = lock.holder_of_this_process() | {"started": 5.0, "renewed": time.time()}
    storage.make_folder(output)
    storage.write_atomic(storage.join(output, lock.LOCK_FILE), json.dumps(left).encode())
    with output_lock.holding_output(output):
        pass


def test_a_lease_that_cannot_be_removed_is_no_reason_to_fail(tmp_path, monkeypatch):
    def unreachable(path):
        raise OSError(101, "Network is unreachable")

    with output_lock.holding_output(f"ram://{tmp_path.name}/unreachable"):
        monkeypatch.setattr(storage, "remove", unreachable)


def test_the_end_of_the_grace_period_releases_a_lease(tmp_path):
    output = f"ram://{tmp_path.name}/grace"
    with output_lock.holding_output(output):
        preemption._releases[-1]()
        assert storage.size_bytes(storage.join(output, lock.LOCK_FILE)) is None


def test_of_two_that_begin_at_the_same_moment_the_last_writer_holds_the_lease(tmp_path, monkeypatch):
    output = f"ram://{tmp_path.name}/race"
    other = lock.holder_of_this_process() | {"pid": 7, "host": "elsewhere", "renewed": time.time()}

    def settle(seconds):
        storage.write_atomic(storage.join(output, lock.LOCK_FILE), json.dumps(other).encode())

    monkeypatch.setattr(lease.time, "sleep", settle)
    storage.make_folder(output)
    with (
        pytest.raises(UserError, match=r"^Process 7 on host elsewhere is converting"),
        output_lock.holding_output(output),
    ):
        pass
