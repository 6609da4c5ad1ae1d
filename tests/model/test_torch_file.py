"""Torch's old format is read with NumPy alone, and nothing in a file is ever run."""

import os
import pickle

import numpy as np
import pytest

from carclf.errors import UserError
from carclf.model.torch_file import read_torch_file
from tests.model.torch_writer import MAGIC, VERSION, write_torch_file

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "bn.bias": np.float32([1.5, -2.0]),
    "one": np.full((), 7, np.float32),
}


@pytest.fixture
def written(tmp_path):
    write_torch_file(tmp_path / "file.pth", ARRAYS)
    return tmp_path / "file.pth"


def test_every_tensor_comes_back(written):
    read = read_torch_file(written)
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].shape == array.shape


def test_a_tensor_stored_column_by_column_is_turned(tmp_path):
    write_torch_file(tmp_path / "a.pth", {"a": np.float32([[1, 2], [3, 4]])}, strides={"a": (1, 2)})
    np.testing.assert_array_equal(read_torch_file(tmp_path / "a.pth")["a"], [[1, 3], [2, 4]])


@pytest.mark.parametrize("strides", [(12, 1), (-1, 1), (1, 9)])
def test_a_tensor_outside_its_storage_is_refused(tmp_path, strides):
    write_torch_file(tmp_path / "a.pth", {"a": np.zeros((2, 3), np.float32)}, strides={"a": strides})
    with pytest.raises(UserError, match="a tensor lies outside its storage"):
        read_torch_file(tmp_path / "a.pth")


def test_a_file_cut_anywhere_is_refused_in_one_sentence(written, tmp_path):
    content = written.read_bytes()
    for length in (0, 1, 10, 40, 200, len(content) - 200, len(content) - 1):
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut\.pth is cut short, damaged or .* \(.*\): fetch"):
            read_torch_file(tmp_path / "cut.pth")


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("made_by_a_pickle",)


@pytest.mark.parametrize("place", range(5))
def test_a_foreign_pickle_is_refused_and_not_run(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = [MAGIC, VERSION, {}, {}, []]
    parts[place] = _Evil()
    with open(tmp_path / "evil.pth", "wb") as file:
        for part in parts:
            pickle.dump(part, file, protocol=2)
    with pytest.raises(UserError, match=r"is refused, since it asks for (posix\.mkdir|something that is not a table)"):
        read_torch_file(tmp_path / "evil.pth")
    assert not (tmp_path / "made_by_a_pickle").exists()


@pytest.mark.parametrize("content", [b"PK\x03\x04 a file of today", b"\x89HDF\r\n", b"text", pickle.dumps([1])])
def test_another_format_is_refused(content, tmp_path):
    (tmp_path / "other.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"other\.pth is cut short, damaged or not in torch's old format"):
        read_torch_file(tmp_path / "other.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"There is no weights file .*gone\.pth"):
        read_torch_file(tmp_path / "gone.pth")
