"""Photos at a URL are read before they are needed, each once, and the batches are those of a local data set."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from carclf import storage
from carclf.data import loaded_batches, pipeline, read_ahead, view_batches
from carclf.data.batches import announced
from carclf.data.index import read_index, read_photo
from carclf.data.manifest import load_manifest
from carclf.data.read_ahead import ReadAhead
from carclf.framing import Framing
from carclf.recipe import parse_recipe, parse_views
from tests.conftest import write_dataset

FRAMING = Framing((32, 32))


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("local") / "set")


@pytest.fixture(scope="module")
def remote(local):
    """The same data set in TensorFlow's in-memory file system."""
    url = "ram://read_ahead/set"
    for name in storage.sizes_under(local.directory):
        storage.write_atomic(storage.join(url, name), storage.read_bytes(storage.join(local.directory, name)))
    return load_manifest(url)


def test_an_announced_photo_is_read_once_and_any_other_when_it_is_taken():
    reads: list[int] = []
    begun = threading.Event()

    def read(index: int) -> memoryview:
        reads.append(index)
        begun.set()
        return memoryview(bytes([index]))

    ahead = ReadAhead(read)
    ahead.start([7])
    assert begun.wait(30)  # nobody has asked for it yet
    ahead.start([7, 8])
    assert [bytes(ahead.take(index)) for index in (8, 7, 9)] == [b"\x08", b"\x07", b"\x09"]
    assert sorted(reads) == [7, 8, 9]
    ahead.take(7)
    assert sorted(reads) == [7, 7, 8, 9]


def test_an_error_of_a_read_comes_where_the_photo_is_taken():
    def read(index: int) -> memoryview:
        raise ValueError(f"photo {index}")

    ahead = ReadAhead(read)
    ahead.start([3])
    with pytest.raises(ValueError, match="photo 3"):
        ahead.take(3)


def test_numbers_are_announced_in_order_before_they_are_taken():
    seen: list[int] = []
    numbers = iter(announced(tf.data.Dataset.range(20), seen.append, ahead=5))
    assert int(next(numbers)) == 0
    waited = threading.Event()
    for _ in range(600):
        if len(seen) >= 5:
            break
        waited.wait(0.05)
    assert 5 <= len(seen) <= 8
    assert [int(number) for number in numbers] == list(range(1, 20))
    assert seen == list(range(20))


def arrays(batches) -> list[np.ndarray]:
    return [np.asarray(array) for batch in batches for array in tf.nest.flatten(batch)]


@pytest.mark.parametrize("kind", ["training", "validation", "views", "prediction"])
def test_the_batches_are_those_of_a_local_data_set(local, remote, kind, monkeypatch):
    monkeypatch.setattr(loaded_batches, "PHOTOS_AHEAD", 8)  # two batches
    (view,) = parse_views("flip")
    ways = {
        "training": lambda data: pipeline.training_batches(
            manifest=data, folds=data.folds, framing=FRAMING, recipe=parse_recipe("flip|rotate(10)"), batch_size=4,
            epochs=3, seed=1, start_step=2,
        ),
        "validation": lambda data: pipeline.validation_batches(
            manifest=data, folds=[0], framing=FRAMING, batch_size=4, recipe=parse_recipe("")
        ),
        "views": lambda data: view_batches.view_batches(
            manifest=data, split="test", batch_size=4, view_sets=[view_batches.ViewSet((view,), FRAMING, 0)]
        ),
        "prediction": lambda data: view_batches.prediction_batches(
            manifest=data, split="test", framing=FRAMING, batch_size=4, view=view, seed=0
        ),
    }  # fmt: skip
    here, there = (arrays(ways[kind](data)) for data in (local, remote))
    assert len(here) == len(there) > 4
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_photo_is_read_in_order(local, remote, monkeypatch):
    monkeypatch.setattr(read_ahead, "PHOTOS_AHEAD", 4)
    entries = read_index(local)[::-1]
    photos = [bytes(read_photo(local, entry)) for entry in entries]
    assert len(photos) == 29
    for data in (local, remote):
        assert [bytes(photo) for photo in read_ahead.read_each(data, entries)] == photos
        assert list(read_ahead.read_each(data, entries[:0])) == []
