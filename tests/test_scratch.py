"""Temporary folders are removed at the end, and after SIGKILL by the next process; those in use and others stay."""

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from carclf import scratch
from carclf.scratch import PREFIX, Scratch, remove_abandoned, scratch_folder

ROOT = Path(__file__).parent.parent
HOLDING = """
import sys, time
from carclf import storage
from carclf.scratch import Scratch
from carclf.storage.copies import local_path
def shard():
    with storage.temporary_file("memory://cars/shard") as name:
        open(name, "wb").write(b"half a shard")
        print("ready", flush=True)
        time.sleep(600)
mine = Scratch()
(mine.path / "photo.jpg").write_bytes(bytes(99))
local_path("memory://cars/run").mkdir()
shard()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files of this test, and of the processes that it starts."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_folder_is_removed_at_the_end_also_after_an_error(temporary):
    def fail() -> None:
        with scratch_folder() as folder:
            (folder / "a" / "b").mkdir(parents=True)
            assert folder.parent == temporary
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert list(temporary.iterdir()) == []


@pytest.fixture
def begin(temporary):
    """Returns a function that starts a process with temporary folders of every kind; each is ended after the test."""
    processes = []

    def started() -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, "-c", HOLDING], stdout=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def test_what_killed_processes_left_is_removed_by_the_next_and_what_is_in_use_is_not(temporary, begin):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    first = begin()
    left = set(temporary.iterdir())
    assert len(left) == 3  # its own, the working copies, and half a shard that is not uploaded
    second = begin()
    used = set(temporary.iterdir()) - left
    first.kill()
    first.wait()
    with scratch_folder() as folder:
        assert set(temporary.iterdir()) == used | {folder}
    second.kill()
    second.wait()
    with scratch_folder() as folder:
        assert list(temporary.iterdir()) == [folder]


def test_what_is_not_ours_stays(temporary):
    target = temporary / "target"
    (temporary / f"{PREFIX}left").mkdir()
    for path in (target, temporary / "carclf", temporary / "carclf-photos"):
        path.mkdir()
        (path / "file").touch()
    (temporary / f"{PREFIX}link").symlink_to(target)
    (temporary / f"{PREFIX}file").touch()
    with scratch_folder():
        names = {path.name for path in temporary.iterdir() if path.name != f"{PREFIX}left"}
    assert names >= {"target", "carclf", "carclf-photos", f"{PREFIX}link", f"{PREFIX}file"}
    assert not (temporary / f"{PREFIX}left").exists()
    assert all((path / "file").exists() for path in (target, temporary / "carclf", temporary / "carclf-photos"))


def test_folders_of_another_user_stay(temporary, monkeypatch):
    (temporary / f"{PREFIX}x").mkdir()
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    remove_abandoned(temporary, prefix=PREFIX)
    assert (temporary / f"{PREFIX}x").exists()


def test_without_locks_nothing_is_removed(temporary, monkeypatch):
    import fcntl

    def no_locks(handle, operation):
        raise OSError(errno.ENOLCK, "no locks")

    (temporary / f"{PREFIX}x").mkdir()
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with scratch_folder() as folder:
        assert {path.name for path in temporary.iterdir()} == {f"{PREFIX}x", folder.name}
    assert [path.name for path in temporary.iterdir()] == [f"{PREFIX}x"]


def test_a_folder_that_another_process_removes_before_it_is_locked_is_made_again(temporary, monkeypatch):
    make, made = tempfile.mkdtemp, []

    def removed(*arguments, **keywords):
        path = make(*arguments, **keywords)
        made.append(path)
        if len(made) == 1:
            shutil.rmtree(path)
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", removed)
    with scratch_folder() as folder:
        assert [str(folder)] == made[1:]
        assert folder.is_dir()


def test_a_forked_process_leaves_the_folder_of_its_parent(temporary):
    mine = Scratch()
    child = os.fork()
    if not child:
        mine.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert mine.path.is_dir()
    mine.remove()
    assert list(temporary.iterdir()) == []


def test_a_folder_beside_an_output_is_found_there(tmp_path):
    (tmp_path / ".carclf-tmp-model.old").mkdir()
    (tmp_path / ".carclf-tmp-other.old").mkdir()
    (tmp_path / ".model.mine").mkdir()
    from carclf.exporting.folder import new_folder

    with new_folder(tmp_path / "model"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"model", ".carclf-tmp-other.old", ".model.mine"}


def test_no_other_module_makes_temporary_folders():
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "carclf").rglob("*.py")
        if re.search(r"TemporaryDirectory|mkdtemp", path.read_text(encoding="utf-8"))
    }
    # The installer of a pack runs where carclf is not installed yet.
    assert found == {Path(scratch.__file__).relative_to(ROOT).as_posix(), "carclf/packing/install.py"}
