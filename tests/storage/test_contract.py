"""Every kind of storage does the same: local disks, fsspec (memory, disk and servers) and TensorFlow (memory)."""

import os

import pytest

from carclf import storage
from carclf.errors import StorageError
from carclf.storage import remote
from carclf.storage.packages import PACKAGES

CONTENT = bytes(range(200))


@pytest.fixture(params=["local", "memory", "file", "tensorflow", "s3", "gcs", "az"])
def folder(request, tmp_path):
    """Returns a folder that does not exist yet."""
    if request.param in ("s3", "gcs", "az"):
        request.getfixturevalue(f"{request.param}_server")
        return f"{request.param}://cars{tmp_path}/set"
    if request.param == "local":
        return str(tmp_path / "set")
    if request.param == "tensorflow":
        pytest.importorskip("tensorflow")
        return f"ram://{tmp_path.name}/set"
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    return f"{request.param}://{tmp_path}/set"


@pytest.fixture
def filled(folder):
    """Returns a folder with the files `photos`, `a/one` and `a/b/two`."""
    storage.make_folder(storage.join(folder, "a/b"))
    for name, size in (("photos", 200), ("a/one", 0), ("a/b/two", 7)):
        storage.write_atomic(storage.join(folder, name), CONTENT[:size])
    return folder


def test_nothing_is_there(folder):
    path = storage.join(folder, "x")
    assert not storage.is_folder(folder)
    assert storage.size_bytes(path) is None
    assert storage.names_in(folder) == []
    assert storage.sizes_under(folder) == {}
    assert storage.sizes_of(folder, ["x", "y/z"]) == [None, None]
    storage.remove(path)
    storage.remove(folder)
    range_of, stream_of = (lambda name: storage.read_range(name, 0, 1)), (lambda name: list(storage.stream(name)))
    for read in (storage.read_bytes, storage.open_binary, range_of, stream_of):
        with pytest.raises(FileNotFoundError):
            read(path)


def test_files_and_folders_are_told_apart(filled):
    assert storage.is_folder(filled)
    assert storage.is_folder(storage.join(filled, "a"))
    assert not storage.is_folder(storage.join(filled, "photos"))
    assert storage.size_bytes(storage.join(filled, "photos")) == 200
    assert storage.size_bytes(storage.join(filled, "a/one")) == 0
    assert storage.size_bytes(storage.join(filled, "a")) is None


def test_what_a_folder_holds_is_listed(filled):
    assert storage.names_in(filled) == ["a", "photos"]
    assert storage.names_in(storage.join(filled, "photos")) == []
    assert storage.sizes_under(filled) == {"a/b/two": 7, "a/one": 0, "photos": 200}
    assert storage.sizes_under(f"{filled}/") == storage.sizes_under(filled)
    assert storage.sizes_of(filled, ["photos", "none", "a/one"]) == [200, None, 0]


@pytest.mark.parametrize(("start", "size"), [(0, 200), (10, 5), (198, 5), (200, 5), (300, 5)])
def test_ranges_end_with_the_file(filled, start, size):
    path = storage.join(filled, "photos")
    for read in (storage.read_range, storage.RangeReader()):
        assert read(path, start, size) == CONTENT[start : start + size]


def test_a_stream_is_the_whole_file(filled):
    assert b"".join(storage.stream(storage.join(filled, "photos"))) == CONTENT
    assert list(storage.stream(storage.join(filled, "a/one"))) == []


def test_a_file_object_reads_anywhere(filled):
    with storage.open_binary(storage.join(filled, "photos")) as file:
        assert file.read(3) == CONTENT[:3]
        assert file.seek(-20, os.SEEK_END) == 180
        assert file.read(5) == CONTENT[180:185]
        assert file.tell() == 185
        assert file.seek(5, os.SEEK_CUR) == 190
        assert file.read() == CONTENT[190:]
        assert file.read() == b""
        file.seek(0)
        assert file.read() == CONTENT


def test_a_file_is_replaced(filled):
    path = storage.join(filled, "photos")
    for content in (b"longer" * 100, b"short", b""):
        storage.write_atomic(path, content)
        assert storage.read_bytes(path) == content
        assert storage.size_bytes(path) == len(content)
    assert storage.names_in(filled) == ["a", "photos"]


def test_a_temporary_file_becomes_the_file(filled):
    path = storage.join(filled, "a/shard")
    with storage.temporary_file(path) as temporary:
        assert storage.is_remote(path) or storage.is_temporary(temporary)
        with open(temporary, "wb") as file:
            file.write(CONTENT)
        assert storage.size_bytes(path) is None
        storage.commit(temporary, path)
        assert not os.path.exists(temporary)
    assert storage.read_bytes(path) == CONTENT


def test_a_local_file_is_uploaded(filled, tmp_path):
    (tmp_path / "local").write_bytes(CONTENT)
    for name in ("photos", "new"):
        storage.upload(str(tmp_path / "local"), storage.join(filled, name))
        assert storage.read_bytes(storage.join(filled, name)) == CONTENT
    assert (tmp_path / "local").read_bytes() == CONTENT
    assert storage.names_in(filled) == ["a", "new", "photos"]


def test_files_and_folders_are_removed(filled):
    storage.remove(storage.join(filled, "a/b/two"))
    assert storage.sizes_under(filled) == {"a/one": 0, "photos": 200}
    storage.remove(storage.join(filled, "a"))
    assert storage.sizes_under(filled) == {"photos": 200}
    storage.remove(filled)
    assert not storage.is_folder(filled)


def test_an_error_while_writing_leaves_what_was_there(filled):
    def write(name):
        with storage.writing(storage.join(filled, name)) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    for name in ("photos", "new"):
        with pytest.raises(KeyboardInterrupt):
            write(name)
    assert storage.sizes_under(filled) == {"a/b/two": 7, "a/one": 0, "photos": 200}


def test_an_error_while_uploading_leaves_what_was_there(folder, filled, monkeypatch):
    def half(local, path, **_):
        """Stands for a file system's upload that breaks off."""
        put(local, path)
        raise OSError(5, "Input/output error")

    if not folder.startswith(("ram", "/")):
        package = PACKAGES.get(folder.partition(":")[0])
        system = remote._open_system("/".join(folder.split("/")[:3]), package, os.getpid())
        put = (lambda local, path: None) if package else system.put_file  # there is no half of an object
        monkeypatch.setattr(system, "put_file", half)
    elif folder.startswith("ram"):
        import tensorflow as tf

        put = tf.io.gfile.copy
        monkeypatch.setattr(tf.io.gfile, "copy", half)
    else:
        import shutil

        put = shutil.copyfile
        monkeypatch.setattr(shutil, "copyfile", half)
        for name in ("photos", "new"):
            with pytest.raises(OSError, match="Input/output error"):
                storage.upload(__file__, storage.join(filled, name))
        assert storage.sizes_under(filled) == {"a/b/two": 7, "a/one": 0, "photos": 200}
        return
    for name in ("photos", "new"):
        with pytest.raises((StorageError, OSError), match="Input/output error"):
            storage.write_atomic(storage.join(filled, name), b"new")
    assert storage.sizes_under(filled) == {"a/b/two": 7, "a/one": 0, "photos": 200}
    assert storage.read_bytes(storage.join(filled, "photos")) == CONTENT
