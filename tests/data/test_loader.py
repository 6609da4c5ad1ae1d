"""Canvases: correct with any number of threads, and in memory that is reused safely."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from carclf import storage
from carclf.data import loader as loaders
from carclf.data.cache import open_cache
from carclf.data.decoder import DecodeSizes, decode
from carclf.data.index import read_index, read_photo, sizes_for
from carclf.data.loader import PhotoLoader
from carclf.data.manifest import load_manifest
from carclf.errors import DamagedShardError
from carclf.framing import Framing
from tests.conftest import write_dataset

FRAMING = Framing((32, 32))


def make(dataset, *, framing=FRAMING, cache=None) -> PhotoLoader:
    entries = read_index(dataset)
    sizes = sizes_for(dataset, framing=framing)
    return PhotoLoader(dataset, entries, numbers=np.arange(len(entries)), sizes=sizes, cache=cache)


def expected(dataset, index: int, sizes: DecodeSizes) -> np.ndarray:
    pixels = decode(read_photo(dataset, read_index(dataset)[index]), ratio=int(sizes.ratios[index]))
    canvas = np.zeros((*sizes.canvas_size, 3), np.uint8)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    return canvas


@pytest.mark.parametrize(
    ("framing", "ratios"), [(FRAMING, {1}), (Framing((16, 16)), {1, 2}), (Framing((9, 12), "pad"), {2, 4})]
)
def test_canvases_have_the_photos_and_zeros_elsewhere(dataset, framing, ratios):
    photos, sizes = make(dataset, framing=framing), sizes_for(dataset, framing=framing)
    assert set(sizes.ratios.tolist()) == ratios
    rng = np.random.default_rng(0)
    for _ in range(12):  # the same memory, with other photos each time
        indices = rng.integers(-1, 29, 7)
        canvas, extent = photos.load(indices)
        for pixels, (height, width), index in zip(canvas, extent, indices, strict=True):
            if index < 0:
                assert (height, width) == (1, 1)
                assert not pixels.any()
                continue
            np.testing.assert_array_equal(pixels, expected(dataset, index, sizes))
        del canvas, pixels


def test_memory_is_reused_only_when_nobody_holds_it(dataset):
    photos = make(dataset)
    held, _ = photos.load(np.array([0, 1]))
    before = held.copy()
    other, _ = photos.load(np.array([2, 3]))
    assert not np.shares_memory(held, other)
    part = other[0]  # holds all of it
    address = other.ctypes.data
    del other
    third, _ = photos.load(np.array([4, 5]))
    assert third.ctypes.data != address
    del part
    fourth, _ = photos.load(np.array([6, 7]))
    assert fourth.ctypes.data == address
    np.testing.assert_array_equal(held, before)


def test_tensorflow_adopts_the_memory_without_a_copy(dataset):
    photos = make(dataset)
    made = []

    def batch(number: int) -> np.ndarray:
        canvas, _ = photos.load(np.array([0, 1, 2]) + number)
        made.append(canvas.ctypes.data)
        return canvas

    data = tf.data.Dataset.range(6).map(lambda n: tf.numpy_function(batch, [n], tf.uint8, stateful=False))
    kept = list(data)  # holds all of them at once
    assert sorted(np.asarray(memoryview(tensor)).ctypes.data for tensor in kept) == sorted(made)
    assert len(set(made)) == 6
    kept.clear()
    del data
    gc.collect()


def test_two_batches_at_once(dataset):
    photos = make(dataset)
    orders = [np.random.default_rng(seed).permutation(29) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(photos.load, orders))
    for order, (canvas, extent) in zip(orders, results, strict=True):
        again, extent_again = photos.load(order)
        np.testing.assert_array_equal(canvas, again)
        np.testing.assert_array_equal(extent, extent_again)


def test_the_number_of_threads_changes_nothing(dataset, monkeypatch):
    results = []
    for threads in (1, 5):
        monkeypatch.setattr(loaders, "usable_cores", lambda threads=threads: threads)
        results.append(make(dataset).load(np.arange(29))[0])
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("where", ["ram", "folder"])
def test_a_cached_photo_is_the_decoded_one_and_is_not_read_again(tmp_path, where, monkeypatch, capsys):
    dataset = write_dataset(tmp_path / "set")
    folder = "ram" if where == "ram" else str(tmp_path / "cache")

    def cache():
        return open_cache(folder, manifest=dataset, wanted=np.arange(29), sizes=sizes_for(dataset, framing=FRAMING))

    plain, extent = make(dataset).load(np.arange(29))
    photos = make(dataset, cache=cache())
    assert "Cache: 29 decoded photos take 0.00 GB of the" in capsys.readouterr().out
    first, _ = photos.load(np.arange(29))
    np.testing.assert_array_equal(first, plain)

    def nothing_is_read(*_):
        raise AssertionError("read again")

    monkeypatch.setattr(loaders, "read_photo", nothing_is_read)
    again = photos if where == "ram" else make(dataset, cache=cache())  # a later run finds the cache in the folder
    second, second_extent = again.load(np.arange(29)[::-1])
    np.testing.assert_array_equal(second[::-1], plain)
    np.testing.assert_array_equal(second_extent[::-1], extent)


def test_without_room_there_is_no_cache_but_a_message(dataset, monkeypatch, capsys):
    monkeypatch.setattr("carclf.data.cache.free_memory", lambda: 1000)
    sizes = sizes_for(dataset, framing=FRAMING)
    assert open_cache("ram", manifest=dataset, wanted=np.arange(29), sizes=sizes) is None
    assert "too much for the 0.0 GB free in memory: each epoch decodes again" in capsys.readouterr().out


def test_a_photo_that_cannot_be_decoded_is_named(tmp_path, monkeypatch):
    dataset = write_dataset(tmp_path / "set")
    photos = make(dataset)
    monkeypatch.setattr(loaders, "read_photo", lambda manifest, entry, read: memoryview(b"\xff\xd8\xff nothing"))
    with pytest.raises(DamagedShardError, match=r"The photo at row 3 of .*tfrecord cannot be decoded \(.+\): convert"):
        photos.load(np.array([3]))


def test_an_object_store_is_read_like_a_disk(dataset):
    """TensorFlow's in-memory file system replaces gs://."""
    remote = "ram://loader/set"
    names = ["dataset.json", dataset.index.file, *(shard.file for shard in dataset.shards)]
    for name in names:
        storage.write_atomic(storage.join(remote, name), storage.read_bytes(storage.join(dataset.directory, name)))
    canvas, extent = make(load_manifest(remote)).load(np.arange(-1, 29))
    local_canvas, local_extent = make(dataset).load(np.arange(-1, 29))
    np.testing.assert_array_equal(canvas, local_canvas)
    np.testing.assert_array_equal(extent, local_extent)
