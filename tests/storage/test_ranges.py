"""Ranges of files, from files that are opened again or stay open."""

import os

import pytest

from carclf import storage


@pytest.fixture(params=["anew", "kept open"])
def read(request):
    return storage.read_range if request.param == "anew" else storage.RangeReader()


def test_ranges_are_read_and_end_with_the_file(read, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    assert read(str(path), 10, 5) == bytes(range(10, 15))
    assert read(str(path), 98, 5) == bytes([98, 99])
    assert read(str(path), 200, 5) == b""


def test_a_missing_file_is_an_os_error(read, tmp_path):
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "none"), 0, 5)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists open files")
def test_only_max_open_files_stay_open_and_none_after_the_reader(tmp_path):
    def opened() -> int:
        return sum(
            os.path.realpath(f"/proc/self/fd/{n}").startswith(str(tmp_path)) for n in os.listdir("/proc/self/fd")
        )

    reader = storage.RangeReader(max_open=3)
    for number in range(9):
        path = tmp_path / str(number)
        path.write_bytes(b"%d" % number)
        assert reader(str(path), 0, 1) == b"%d" % number
    assert opened() == 3
    del reader
    assert opened() == 0
