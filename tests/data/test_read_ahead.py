"""Photos at a URL are read before they are needed, each once, and the batches are those of a local data set."""

import itertools
import threading

import numpy as np
import pytest
import tensorflow as tf

from carclf import storage
from carclf.data import loaded_batches, pipeline, read_ahead, view_batches
from carclf.data.batches import HostSlice, announced
from carclf.data.index import ENTRY, read_index, read_photo
from carclf.data.manifest import load_manifest
from carclf.data.read_ahead import ReadAhead, block_starts
from carclf.data.records import CHECKSUM_BYTES, HEAD_BYTES
from carclf.errors import DamagedShardError
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


class Reads:
    """Reads of a data set, noted; `begun` is set at the first."""

    def __init__(self):
        self.ranges: list[tuple[int, int]] = []
        self.begun = threading.Event()

    def __call__(self, path: str, start: int, size: int) -> bytes:
        self.ranges.append((start, size))
        self.begun.set()
        return storage.read_range(path, start, size)


def photos_of(data, indices) -> list[bytes]:
    entries = read_index(data)
    return [bytes(read_photo(data, entries[index])) for index in indices]


@pytest.mark.parametrize("kept", [0, 2**30])
def test_an_announced_photo_is_read_once_and_any_other_when_it_is_taken(local, monkeypatch, kept):
    monkeypatch.setattr(read_ahead, "KEPT_BYTES", kept)
    reads = Reads()
    ahead = ReadAhead(local, read_index(local), read=reads, together=False)
    ahead.start([7])
    assert reads.begun.wait(30)  # nobody has asked for it yet
    ahead.start([7, 8])
    assert [bytes(ahead.take(index)) for index in (8, 7, 9)] == photos_of(local, (8, 7, 9))
    assert len(reads.ranges) == len(set(reads.ranges)) == 3


def test_the_photos_of_a_block_are_read_in_one_request(local):
    entries, reads = read_index(local), Reads()
    starts = block_starts(entries, block_bytes=2**20)
    order = np.random.default_rng(3).permutation(len(entries)).tolist()
    ahead = ReadAhead(local, entries, read=reads)
    for _ in range(2):
        ahead.start(order)
        assert [bytes(ahead.take(index)) for index in order] == photos_of(local, order)
    assert len(reads.ranges) == len(starts) - 1 == len(local.shards)


@pytest.mark.parametrize("blocks_kept", [0, 1, 2])
def test_no_more_is_kept_than_fits_and_what_was_taken_makes_room(local, monkeypatch, blocks_kept):
    entries, reads = read_index(local), Reads()
    starts = block_starts(entries, block_bytes=2**20)
    sizes = [int((part["bytes"] + CHECKSUM_BYTES + HEAD_BYTES).sum()) for part in np.split(entries, starts[1:-1])]
    monkeypatch.setattr(read_ahead, "KEPT_BYTES", blocks_kept * max(sizes))
    ahead = ReadAhead(local, entries, read=reads)
    everything = list(range(len(entries)))
    ahead.start(everything)
    assert len(reads.ranges) > len(sizes)  # those without room are read alone
    assert sum(size for _, size in reads.ranges) < sum(sizes)  # and nothing twice
    assert [bytes(ahead.take(index)) for index in everything] == photos_of(local, everything)
    reads.ranges.clear()
    for first, end in itertools.pairwise(starts.tolist()):  # one block after the other
        ahead.start(range(first, end))
        assert [bytes(ahead.take(index)) for index in range(first, end)] == photos_of(local, range(first, end))
    assert len(reads.ranges) == (len(sizes) if blocks_kept else len(entries))


def test_blocks_take_at_most_a_quarter_of_the_free_memory(local, monkeypatch):
    entries, reads = read_index(local), Reads()
    monkeypatch.setattr(read_ahead, "free_memory", lambda: 4 * int(entries["bytes"].max()))
    ahead = ReadAhead(local, entries, read=reads)
    ahead.start(range(len(entries)))
    assert [bytes(ahead.take(index)) for index in range(len(entries))] == photos_of(local, range(len(entries)))
    assert len(reads.ranges) == len(entries)


def test_an_announced_photo_holds_its_block(local, monkeypatch):
    entries, reads = read_index(local), Reads()
    first, end = block_starts(entries, block_bytes=2**20)[:2].tolist()
    size = int((entries["bytes"][first:end] + CHECKSUM_BYTES + HEAD_BYTES).sum())
    monkeypatch.setattr(read_ahead, "KEPT_BYTES", size)
    ahead = ReadAhead(local, entries, read=reads)
    ahead.start(range(first, end))
    for index in range(first, end - 1):
        ahead.take(index)
    ahead.start([first])  # of the next epoch
    ahead.take(end - 1)
    assert bytes(ahead.take(first)) == photos_of(local, [first])[0]
    assert len(reads.ranges) == 1
    ahead.take(first)  # nothing waited for the block any longer
    assert len(reads.ranges) == 2


def test_blocks_end_with_a_shard_a_gap_and_a_grid_in_the_file():
    entries = np.zeros(6, ENTRY)
    entries["shard"] = [0, 0, 0, 0, 1, 1]
    entries["bytes"] = 100 - HEAD_BYTES - CHECKSUM_BYTES
    entries["start"] = HEAD_BYTES + np.array([0, 100, 300, 400, 500, 600])
    assert block_starts(entries, block_bytes=10**6).tolist() == [0, 2, 4, 6]
    assert block_starts(entries, block_bytes=350).tolist() == [0, 2, 3, 4, 6]
    assert block_starts(entries, block_bytes=1).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert block_starts(entries[:0], block_bytes=10**6).tolist() == [0]


def test_an_error_of_a_read_comes_where_the_photo_is_taken(local):
    def read(path: str, start: int, size: int) -> bytes:
        raise OSError(5, "Input/output error")

    ahead = ReadAhead(local, read_index(local), read=read)
    ahead.start([3])
    with pytest.raises(DamagedShardError, match=r"cannot be read \(Input/output error\): copy the data set again\.$"):
        ahead.take(3)


def test_a_shard_that_ends_too_early_is_named_by_row(local):
    def read(path: str, start: int, size: int) -> bytes:
        return storage.read_range(path, start, size)[: size // 2]

    entries = read_index(local)
    last = int(block_starts(entries, block_bytes=2**20)[1]) - 1
    ahead = ReadAhead(local, entries, read=read)
    ahead.start([0, last])
    assert bytes(ahead.take(0)) == photos_of(local, [0])[0]
    with pytest.raises(DamagedShardError, match=f"is damaged at row {entries['row'][last]} "):
        ahead.take(last)


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


@pytest.mark.parametrize("hosts", [1, 2])
def test_one_of_several_hosts_reads_no_photos_of_the_others(remote, monkeypatch, hosts):
    ranges = []

    def read(self, path: str, start: int, size: int) -> bytes:
        ranges.append((path, start, size))
        return storage.read_range(path, start, size)

    monkeypatch.setattr(storage.RangeReader, "__call__", read)
    batches = pipeline.training_batches(
        manifest=remote, folds=[0, 1], framing=FRAMING, recipe=parse_recipe(""), batch_size=4, epochs=1, seed=1,
        host_slice=HostSlice(0, hosts),
    )  # fmt: skip
    assert len(list(batches)) == 4
    assert len(ranges) == (len(remote.shards_of("train", folds=[0, 1])) if hosts == 1 else 4 * 4 // hosts)


def test_each_photo_is_read_in_order(local, remote, monkeypatch):
    monkeypatch.setattr(read_ahead, "PHOTOS_AHEAD", 4)
    entries = read_index(local)[::-1]
    photos = [bytes(read_photo(local, entry)) for entry in entries]
    assert len(photos) == 29
    for data in (local, remote):
        assert [bytes(photo) for photo in read_ahead.read_each(data, entries)] == photos
        assert list(read_ahead.read_each(data, entries[:0])) == []
