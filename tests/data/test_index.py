import numpy as np
import pytest
import tensorflow as tf

from carclf import storage
from carclf.data import index, records
from carclf.data.photos import read_photos
from carclf.errors import DamagedShardError, UserError
from tests.conftest import write_dataset


def parsed(dataset) -> dict[tuple[str, int], dict]:
    """Returns every photo as TensorFlow reads it, by shard and index."""
    spec = {name: tf.io.FixedLenFeature([], tf.int64) for name in records.INTEGER_FEATURES}
    spec |= {name: tf.io.FixedLenFeature([], tf.string) for name in records.STRING_FEATURES}
    found = {}
    for shard in dataset.shards:
        data = tf.data.TFRecordDataset(storage.join(dataset.directory, shard.file))
        for position, record in enumerate(data):
            fields = tf.io.parse_single_example(record, spec)
            found[shard.file, position] = {name: value.numpy() for name, value in fields.items()}
    return found


def test_the_index_agrees_with_the_records(dataset):
    entries, theirs = index.read_index(dataset), list(parsed(dataset).values())
    assert len(entries) == len(theirs) == 29
    for entry, record in zip(entries, theirs, strict=True):
        assert bytes(index.read_photo(dataset, entry)) == record["image/encoded"]
        for name, feature in (("height", "height"), ("width", "width"), ("label", "class/label"), ("row", "row")):
            assert entry[name] == record[f"image/{feature}"]


def test_photos_are_selected_in_the_order_of_their_shards(dataset):
    entries = index.read_index(dataset)
    chosen = entries[index.select(dataset, entries, dataset.shards_of("train", folds=[2, 0]))]
    assert chosen["row"].tolist() == [*range(8), *range(16, 24)]


def test_stored_photos_are_found_by_row(dataset):
    found = read_photos(dataset, split="train", folds=[1], rows=[9, 14, 20])
    assert sorted(found) == [9, 14]
    assert all(encoded.startswith(b"\xff\xd8") for encoded in found.values())
    assert read_photos(dataset, split="train", rows=[]) == {}


@pytest.fixture
def copy(tmp_path):
    return write_dataset(tmp_path / "set", folds=1, photos_a_fold=2, test_photos=0)


@pytest.mark.parametrize("position", [0, 12, 300, -1])
def test_every_changed_byte_of_a_record_is_named(copy, position):
    """The head of a record is not read, because the index knows its length; `--verify` reads it."""
    entry = index.read_index(copy)[0]
    path = storage.join(copy.directory, copy.shards[0].file)
    content = bytearray(storage.read_bytes(path))
    content[entry["start"] + (position if position >= 0 else entry["bytes"])] ^= 1
    storage.write_atomic(path, bytes(content))
    with pytest.raises(DamagedShardError, match=rf"{copy.shards[0].file} is damaged at row 0 \(its checksum differs\)"):
        index.read_photo(copy, entry)


def test_a_truncated_or_missing_shard_is_named(copy):
    entry = index.read_index(copy)[0]
    path = storage.join(copy.directory, copy.shards[0].file)
    storage.write_atomic(path, storage.read_bytes(path)[:-5])
    with pytest.raises(DamagedShardError, match="is damaged at row 0"):
        index.read_photo(copy, entry)
    storage.remove(path)
    with pytest.raises(DamagedShardError, match=r"cannot be read .*No such file"):
        index.read_photo(copy, entry)


def test_an_index_of_other_photos_is_refused(copy):
    path = storage.join(copy.directory, copy.index.file)
    entries = index.read_index(copy)
    np.save(path, entries[:1])
    with pytest.raises(UserError, match=r"photos.npy was changed since the conversion"):
        index.read_index(copy)
    copy.index.__dict__["sha256"] = storage.sha256(storage.read_bytes(path))
    with pytest.raises(UserError, match=r"photos.npy has other photo counts than dataset.json"):
        index.read_index(copy)


def test_an_index_never_runs_code(copy):
    path = storage.join(copy.directory, copy.index.file)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    copy.index.__dict__["sha256"] = storage.sha256(storage.read_bytes(path))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        index.read_index(copy)
