"""A cache of decoded photos in a folder: whatever happened to its files, training gets the decoded pixels."""

import dataclasses
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from carclf.data import cache_files
from carclf.data import loader as loaders
from carclf.data.cache import open_cache
from carclf.data.index import read_index, sizes_for
from carclf.data.loader import PhotoLoader
from carclf.errors import UserError
from carclf.framing import Framing

PHOTOS = np.arange(24)


@pytest.fixture
def sizes(dataset):
    return sizes_for(dataset, framing=Framing(image_size=(32, 32)))


@pytest.fixture
def opened(dataset, sizes, tmp_path):
    """Returns a function that opens the cache as a later process would."""
    return lambda: open_cache(str(tmp_path / "cache"), manifest=dataset, wanted=PHOTOS, sizes=sizes)


def loaded(dataset, sizes, cache) -> np.ndarray:
    photos = PhotoLoader(dataset, read_index(dataset)[PHOTOS], numbers=PHOTOS, sizes=sizes, cache=cache)
    return photos.load(PHOTOS)[0].copy()


def file(tmp_path: Path, ending: str) -> Path:
    (path,) = (tmp_path / "cache").glob(f"*{ending}")
    return path


DAMAGE = {
    "a bit of the pixels": lambda bins, sums: bins.write_bytes(flipped(bins.read_bytes())),
    "zeroed pixels": lambda bins, sums: bins.write_bytes(bytes(bins.stat().st_size)),
    "pixels cut off": lambda bins, sums: os.truncate(bins, 1000),
    "no pixels": lambda bins, sums: bins.unlink(),
    "a bit of the checksums": lambda bins, sums: sums.write_bytes(flipped(sums.read_bytes())),
    "checksums of nothing": lambda bins, sums: sums.write_bytes(b"\1" * sums.stat().st_size),
    "no checksums": lambda bins, sums: sums.unlink(),
}


def flipped(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_photo_is_decoded_again_and_the_cache_repaired(dataset, sizes, opened, tmp_path, damage, monkeypatch):
    whole = loaded(dataset, sizes, None)
    np.testing.assert_array_equal(loaded(dataset, sizes, opened()), whole)
    bins, sums = file(tmp_path, ".bin"), file(tmp_path, ".sums")
    DAMAGE[damage](bins, sums)
    np.testing.assert_array_equal(loaded(dataset, sizes, opened()), whole)
    monkeypatch.setattr(loaders, "read_photo", None)  # now every photo is held
    np.testing.assert_array_equal(loaded(dataset, sizes, opened()), whole)


def test_damage_is_noted_with_the_photo(dataset, sizes, opened, tmp_path, capsys):
    loaded(dataset, sizes, opened())
    DAMAGE["a bit of the pixels"](file(tmp_path, ".bin"), None)
    loaded(dataset, sizes, opened())
    assert capsys.readouterr().err == f"Note: {file(tmp_path, '.bin')} is damaged at photo 0, which is decoded again.\n"


def test_a_photo_is_held_only_after_its_pixels_are_on_the_disk(dataset, sizes, opened, tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(cache_files, "SYNC_BYTES", 1)
    flush = cache_files._flush

    def watched(array):
        events.append((array.dtype.itemsize, np.fromfile(file(tmp_path, ".sums"), "<u8").astype(bool).sum()))
        flush(array)

    monkeypatch.setattr(cache_files, "_flush", watched)
    loaded(dataset, sizes, opened())
    assert len(events) == 2 * len(PHOTOS)
    for number, (pixels, checksums) in enumerate(zip(events[::2], events[1::2], strict=True)):
        assert (pixels, checksums) == ((1, number), (8, number + 1))


def test_a_full_disk_is_one_sentence_before_anything_is_decoded(dataset, sizes, opened, tmp_path, monkeypatch):
    def full(descriptor, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError) as caught:
        opened()
    assert str(caught.value) == (
        f"--cache={tmp_path / 'cache'} cannot be written (No space left on device): name another folder, or ram."
    )
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_wanted_photos_have_their_space_and_no_others(dataset, sizes, opened, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "posix_fallocate", lambda descriptor, start, size: asked.append(size))
    opened()
    assert asked == [3 * int(sizes.extents[PHOTOS].prod(axis=1).sum()), 8 * len(sizes.extents)]


def test_a_full_cache_is_not_counted_as_missing_space(dataset, sizes, opened, monkeypatch, capsys):
    loaded(dataset, sizes, opened())
    needed = 3 * int(sizes.extents[PHOTOS].prod(axis=1).sum())
    assert "Cache: 24 decoded photos take 0.00 GB of the" in capsys.readouterr().out
    monkeypatch.setattr("carclf.data.cache._free_disk", lambda folder: 0)
    assert opened() is not None
    monkeypatch.setattr("carclf.data.cache.reserved_bytes", lambda stem: needed // 2)
    assert opened() is None
    assert "Cache: 24 decoded photos take 0.00 GB, too much for the 0.0 GB free in" in capsys.readouterr().out


def test_in_memory_only_the_wanted_photos_have_space(dataset, sizes):
    """The index has the test photos, too."""
    wanted = np.array([1, 3, 4, 20])
    cache = open_cache("ram", manifest=dataset, wanted=wanted, sizes=sizes)
    assert cache.bytes == 3 * int(sizes.extents[wanted].prod(axis=1).sum())
    photos = PhotoLoader(dataset, read_index(dataset)[wanted], numbers=wanted, sizes=sizes, cache=cache)
    for _ in range(2):
        canvas, _ = photos.load(np.arange(4))
        np.testing.assert_array_equal(canvas, loaded(dataset, sizes, None)[wanted])


def test_memory_that_the_process_may_not_take_is_no_cache_but_a_message(dataset, sizes, monkeypatch, capsys):
    monkeypatch.setattr("carclf.data.cache.free_memory", lambda: 2**62)
    huge = dataclasses.replace(sizes, extents=sizes.extents * 1_000_000)
    assert open_cache("ram", manifest=dataset, wanted=PHOTOS, sizes=huge) is None
    assert capsys.readouterr().out.endswith("may not take so much memory: each epoch decodes again.\n")


@pytest.mark.parametrize(
    ("numbers", "stretches"), [([], []), ([3], [(3, 3)]), ([5, 1, 2, 9, 8], [(1, 2), (5, 5), (8, 9)])], ids=str
)
def test_stretches(numbers, stretches):
    assert cache_files._stretches(np.array(numbers, np.int64)) == stretches
