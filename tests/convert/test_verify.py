"""Damage to a data set is reported, never skipped over."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from carclf import storage
from carclf.convert import verify
from carclf.data import manifest as manifests
from carclf.errors import UserError, sentence_in
from tests.conftest import write_dataset

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns two folds of three small photos in one or two shards each, and one test photo."""
    return write_dataset(tmp_path_factory.mktemp("verify") / "set", folds=2, photos_a_fold=6, test_photos=1)


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole.directory, tmp_path / "set")
    return manifests.load_manifest(str(tmp_path / "set"))


def first_shard(manifest) -> Path:
    shard = manifest.shards[0]
    assert shard.count == 3
    return Path(manifest.directory) / shard.file


def test_a_whole_data_set_is_verified_and_tabled(whole):
    manifest = verify.verify(whole.directory, workers=1)
    assert verify.verified_table(manifest).splitlines()[1].split() == ["train", "0", "2", "6", "0.0"]


def test_a_shard_cut_at_every_byte_is_refused_by_name_at_open(copy):
    path = first_shard(copy)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=f"{path.name} has {length} bytes instead of {len(content)}"):
            manifests.load_manifest(copy.directory)


def test_a_shard_with_any_byte_flipped_is_refused_by_name(copy):
    path, shard = first_shard(copy), copy.shards[0]
    content = bytearray(path.read_bytes())
    state = verify._prepare(copy)
    assert verify._verify_shard(state, shard) == [0, 1, 2]
    for place in range(len(content)):
        content[place] ^= 0x10
        path.write_bytes(content)
        content[place] ^= 0x10
        with pytest.raises(UserError, match=f"{path.name} is not the one that was written"):
            verify._verify_shard(state, shard)


def test_training_never_reads_a_flipped_byte_silently(copy):
    import tensorflow as tf

    from carclf.data.pipeline import validation_batches
    from carclf.framing import Framing
    from carclf.recipe import parse_recipe

    path = first_shard(copy)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    batches = validation_batches(
        manifest=copy,
        folds=copy.folds,
        framing=Framing(image_size=(32, 32)),
        batch_size=4,
        recipe=parse_recipe(""),
    )
    with pytest.raises(tf.errors.UnknownError) as caught:
        list(batches)
    assert re.search(rf"{path.name} is damaged at row \d+ \(its checksum differs\)", sentence_in(caught.value))


def test_an_index_that_lies_is_found(copy):
    path = Path(copy.directory) / copy.index.file
    entries = np.load(path)
    entries["label"][1] = 2
    np.save(path, entries)
    with pytest.raises(UserError, match=r"photos.npy was changed since the conversion"):
        verify.verify(copy.directory, workers=1)
    changed = dataclasses.replace(copy.index, sha256=storage.sha256(path.read_bytes()))
    rehash(copy, keep={"index": changed})
    with pytest.raises(UserError, match=r"record 1 of .* holds something else, than photos.npy says"):
        verify.verify(copy.directory, workers=1)


def test_a_missing_shard_is_named(copy):
    first_shard(copy).unlink()
    with pytest.raises(UserError, match=f"{copy.shards[0].file} is missing"):
        verify.verify(copy.directory)


def rehash(manifest, *, keep: dict | None = None):
    """Returns the manifest with corrected hashes and sizes, so that only the records themselves show the damage."""
    shards = []
    for shard in manifest.shards:
        content = (Path(manifest.directory) / shard.file).read_bytes()
        shards.append(dataclasses.replace(shard, bytes=len(content), sha256=storage.sha256(content)))
    ids = {}
    for split, entry in manifest.ids.items():
        content = (Path(manifest.directory) / entry.file).read_bytes()
        ids[split] = dataclasses.replace(entry, sha256=storage.sha256(content))
    made = dataclasses.replace(manifest, shards=tuple(shards), ids=ids, **(keep or {}))
    (Path(manifest.directory) / "dataset.json").write_bytes(manifests.to_json(made))


def edit_list(manifest, split: str, old: str, new: str) -> None:
    path = Path(manifest.directory) / manifest.ids[split].file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    rehash(manifest)


def lose_a_record(manifest) -> None:
    path = first_shard(manifest)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    path.write_bytes(content[length + 16 :])
    rehash(manifest)


def break_a_photo(manifest) -> None:
    import tensorflow as tf

    path = first_shard(manifest)
    records = [bytes(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    example = tf.train.Example.FromString(records[0])
    encoded = example.features.feature["image/encoded"].bytes_list.value
    kept = len(encoded[0]) // 2
    encoded[0] = encoded[0][:kept] + bytes(len(encoded[0]) - kept)
    old = example.features.feature["image/key/sha256"].bytes_list.value[0].decode()
    example.features.feature["image/key/sha256"].bytes_list.value[0] = storage.sha256(encoded[0]).encode()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in [example.SerializeToString(deterministic=True), *records[1:]]:
            writer.write(record)
    edit_list(manifest, "train", old, storage.sha256(encoded[0]))


def change_bytes(manifest, old: bytes, new: bytes) -> None:
    path = first_shard(manifest)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    rehash(manifest)


def exchange_labels(manifest):
    """Exchanges the labels of two photos in the list, so that the number of photos of each class stays."""
    edit_list(manifest, "train", "train001.jpg,1", "train001.jpg,2")
    edit_list(manifest, "train", "train002.jpg,2", "train002.jpg,1")


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (lambda m: edit_list(m, "train", "train000.jpg", "other.jpg"), "has the Id train000.jpg instead of other.jpg"),
        (lambda m: edit_list(m, "train", "train001.jpg,1", "train001.jpg,2"), "says 4 photos of the class class 1 and"),
        (exchange_labels, "has the label 1 instead of 2"),
        (lambda m: edit_list(m, "train", ",48,64,", ",48,63,"), r"has the size \[48, 64\] instead of \[48, 63\]"),
        (
            lambda m: change_bytes(m, b"class 0", b"class 1"),
            "record 0 of .* has the class name class 1 instead of class 0",
        ),
        (lambda m: change_bytes(m, b"image/row", b"image/raw"), "record 0 of .* is not the record that photos.npy"),
        (lambda m: change_bytes(m, b"image/row", b"image\xff\xfe\xfd\xfc"), "record 0 of .* is not the record that"),
        (lose_a_record, "has 2 records instead of 3"),
        (break_a_photo, r"record 0 of .*\(train000.jpg\) does not decode"),
    ],
)
def test_a_lie_inside_is_found_and_placed(copy, lie, said):
    lie(copy)
    with pytest.raises(UserError, match=said):
        verify.verify(copy.directory, workers=1)


def test_a_photo_twice_and_another_not_at_all_is_found(copy):
    path = first_shard(copy)
    content = path.read_bytes()
    first = int.from_bytes(content[:8], "little") + 16
    second = first + int.from_bytes(content[first : first + 8], "little") + 16
    path.write_bytes(content[:first] + content[:first] + content[second:])
    rehash(copy)
    with pytest.raises(UserError, match=rf"record 1 of .*{path.name} has the row 0 instead of 1"):
        verify.verify(copy.directory, workers=1)


def test_a_changed_list_is_named(copy):
    path = Path(copy.directory) / "ids-test.csv"
    path.write_text(path.read_text() + "x\n")
    with pytest.raises(UserError, match=r"ids-test.csv was changed since the conversion"):
        verify.verify(copy.directory, workers=1)


def test_the_command_ends_with_code_2_and_one_sentence(copy):
    path = first_shard(copy)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    answer = subprocess.run(
        [sys.executable, "tools/make_tfrecords.py", f"--verify={copy.directory}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert answer.returncode == 2
    assert path.name in answer.stderr.splitlines()[-1]
    assert "Traceback" not in answer.stderr


def test_a_folder_without_dataset_json_is_no_data_set(tmp_path):
    with pytest.raises(UserError, match=r"is not a data set \(it has no dataset.json\)"):
        verify.verify(str(tmp_path))


def test_dataset_json_of_an_older_version_is_refused(copy):
    path = Path(copy.directory) / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 1}))
    with pytest.raises(UserError, match="has the older format 1, but this version of carclf reads 2"):
        verify.verify(copy.directory)


def test_dataset_json_of_a_newer_version_is_refused(copy):
    path = Path(copy.directory) / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))
    with pytest.raises(UserError, match="has format 99, but this version of carclf reads only up to 2"):
        verify.verify(copy.directory)
