import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from carclf import lock, train
from carclf.errors import UserError
from carclf.train_options import TrainOptions

ROOT = Path(__file__).parents[1]
HOLDER = "import sys; from pathlib import Path; from carclf.lock import holding\n" + (
    "with holding(Path(sys.argv[1]), doing='training in', option='--run'): print('held', flush=True); sys.stdin.read()"
)


def held(folder: Path):
    return lock.holding(folder, doing="training in", option="--run")


@pytest.fixture
def without_system_locks(monkeypatch):
    import fcntl

    def unsupported(handle, operation):
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr(fcntl, "flock", unsupported)


def write_holder(folder: Path, *, seconds_ago: float = 0.0, **changes) -> Path:
    """Writes a lock file as another process may have left it."""
    folder.mkdir(exist_ok=True)
    file = folder / lock.LOCK_FILE
    file.write_text(json.dumps(lock.holder_of_this_process() | changes))
    written = file.stat().st_mtime - seconds_ago
    os.utime(file, (written, written))
    return file


def test_a_folder_in_use_is_refused_until_its_process_has_been_killed(dataset, tmp_path):
    folder = tmp_path / "runs" / "mine"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError) as caught:
            train.main(TrainOptions(data=dataset.directory, run=str(folder)))
        assert str(caught.value) == (
            f"Process {other.pid} on host {socket.gethostname()} is training in {folder}: wait for its end or stop it, "
            "or choose another --run."
        )
        assert folder.is_dir()
        other.send_signal(signal.SIGKILL)
    assert other.returncode == -signal.SIGKILL
    assert (folder / lock.LOCK_FILE).is_file()
    with held(folder):
        (folder / "file").touch()
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_folder_in_which_nothing_was_begun_is_gone_again(tmp_path):
    with held(tmp_path / "run"):
        assert (tmp_path / "run" / lock.LOCK_FILE).is_file()
    assert not (tmp_path / "run").exists()


def test_who_is_refused_leaves_the_folder_to_a_holder_that_has_written_nothing_yet(tmp_path, monkeypatch):
    import fcntl

    def locked(handle, operation):
        raise BlockingIOError

    (tmp_path / "run").mkdir()
    monkeypatch.setattr(fcntl, "flock", locked)
    monkeypatch.setattr(lock, "NAMING_SECONDS", 0.0)
    with pytest.raises(UserError, match=r"^Another process is training in .*run: wait"), held(tmp_path / "run"):
        pass
    assert (tmp_path / "run").is_dir()


def test_of_two_that_start_at_once_the_second_names_the_first_and_no_process_that_is_gone(tmp_path, monkeypatch):
    import fcntl

    def locked(handle, operation):
        raise BlockingIOError

    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / lock.LOCK_FILE
    file.write_text(json.dumps(lock.holder_of_this_process() | {"pid": 7, "started": 5.0}))  # left by a killed process
    monkeypatch.setattr(fcntl, "flock", locked)
    monkeypatch.setattr(time, "sleep", lambda seconds: file.write_text(json.dumps(lock.holder_of_this_process())))
    with pytest.raises(UserError, match=rf"^Process {os.getpid()} on host "), held(tmp_path / "run"):
        pass


def test_a_lock_that_cannot_be_removed_is_no_reason_to_fail(tmp_path, monkeypatch):
    def read_only(path, **_):
        raise OSError(30, os.strerror(30))

    with held(tmp_path / "run"):
        monkeypatch.setattr(Path, "unlink", read_only)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    said = r"^The folder .*run cannot be made \(Not a directory\): choose another --run\.$"
    with pytest.raises(UserError, match=said), held(tmp_path / "file" / "run"):
        pass


def test_another_host_is_named_and_believed_for_five_minutes(tmp_path):
    write_holder(tmp_path / "run", host="elsewhere", pid=12, seconds_ago=lock.STALE_SECONDS - 30)
    said = r"^Process 12 on host elsewhere is training in .*run: wait .* \(if that host is gone, this works 5 minutes"
    with pytest.raises(UserError, match=said), held(tmp_path / "run"):
        pass
    write_holder(tmp_path / "run", host="elsewhere", pid=12, seconds_ago=lock.STALE_SECONDS + 30)
    with held(tmp_path / "run"):
        assert lock.read_holder(tmp_path / "run" / lock.LOCK_FILE)["pid"] == os.getpid()


def test_where_the_system_has_no_locks_the_living_process_is_asked(tmp_path, without_system_locks):
    with held(tmp_path / "run"):
        with pytest.raises(UserError, match=f"^Process {os.getpid()} on host "), held(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / lock.LOCK_FILE).is_file()


def test_of_two_hosts_that_find_no_lock_the_second_is_refused(tmp_path, monkeypatch, without_system_locks):
    holder = lock.holder_of_this_process

    def while_the_other_takes_it():
        monkeypatch.setattr(lock, "holder_of_this_process", holder)
        write_holder(tmp_path / "run", host="elsewhere", pid=12)
        monkeypatch.setattr(Path, "unlink", lambda path, **_: None)  # it found nothing to remove
        return holder()

    monkeypatch.setattr(lock, "holder_of_this_process", while_the_other_takes_it)
    with pytest.raises(UserError, match=r"^Process 12 on host elsewhere is training in .*run"), held(tmp_path / "run"):
        pass


@pytest.mark.parametrize("changes", [{"started": 5.0}, {"pid": 2**22 + 1}, {"pid": -3}, {"pid": 10**30}], ids=str)
def test_a_lock_whose_process_is_gone_is_stale(tmp_path, without_system_locks, changes):
    write_holder(tmp_path / "run", **changes)
    with held(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"pid": "x"}', b"\xff\xfe", b"[" * 9000], ids=repr)
def test_a_damaged_lock_file_holds_nothing(tmp_path, without_system_locks, content):
    write_holder(tmp_path / "run").write_bytes(content)
    with held(tmp_path / "run"):
        pass


def test_a_lock_is_renewed_until_the_end_and_an_error_in_between_is_passed_over():
    calls, third = [], threading.Event()

    def renew():
        calls.append(1)
        if len(calls) == 3:
            third.set()
        raise OSError

    with lock.renewing(renew, seconds=0.001):
        assert third.wait(timeout=30)
    assert not [thread for thread in threading.enumerate() if thread.name == "lock"]
