"""Whatever happens while a file is written, a reader finds either the old or the new one."""

import os
import stat
import threading

import pytest

from carclf import files
from carclf.files import replacing, write_atomically


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "best.weights.h5"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".best.weights.h5.")
        assert temporary.name.endswith(".weights.h5")
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replacing(path) as temporary, open(temporary, "w") as file:
        file.writelines(["half of the new one", None])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_rename_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def broken(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("carclf.files.os.replace", broken)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    path, calls = tmp_path / "file", []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr("carclf.files.os.fsync", lambda handle: (calls.append(os.fstat(handle).st_size), fsync(handle)))
    monkeypatch.setattr("carclf.files.os.replace", lambda *paths: (calls.append("rename"), replace(*paths)))
    write_atomically(path, b"12345")
    assert calls == [5, "rename"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_files_that_are_written_at_once_leave_the_umask_as_it_was(monkeypatch):
    calls, first = [], threading.Event()

    def slow_umask(mask):
        calls.append(mask)
        if len(calls) == 1:
            first.set()
            overtaken.wait(timeout=0.2)  # for a second thread, which must not come in between
        return 0o022

    overtaken = threading.Event()
    monkeypatch.setattr("carclf.files.os.umask", slow_umask)
    threads = [threading.Thread(target=files._umask) for _ in range(2)]
    threads[0].start()
    assert first.wait(timeout=30)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert calls == [0, 0o022, 0, 0o022]
