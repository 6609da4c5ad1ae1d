"""A sample of a data set is a data set, with the same photos and the same canvas."""

import numpy as np
import pytest

from carclf.data.index import read_index, read_photo, sizes_for
from carclf.data.manifest import load_manifest
from carclf.framing import Framing
from carclf.planning.sampling import sample_of
from tests import commands

FRAMINGS = (Framing((32, 32)), Framing((16, 16)))


@pytest.fixture(scope="module")
def sampled(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampled") / "data"
    sample = sample_of(dataset, folder, val_fold=1, train_photos=6, val_photos=3, framings=FRAMINGS)
    return sample, load_manifest(sample.directory)


def test_it_has_as_many_photos_as_it_says(sampled):
    sample, data = sampled
    assert data.photos("train", [0, 2]) == sample.train_photos
    assert data.photos("train", [1]) == sample.val_photos
    assert 6 <= sample.train_photos <= 6 + 4
    assert 3 <= sample.val_photos <= 3 + 4


def test_its_photos_have_the_ids_and_labels_that_they_had(sampled, dataset):
    _, data = sampled
    whole = {photo: entry for split in ("train", "test") for photo, _, entry in photos_of(dataset, split)}
    for split in ("train", "test"):
        listed = data.read_ids(split)
        found = photos_of(data, split)
        assert sorted(photo for photo, _, _ in found) == sorted(listed["id"])
        for photo, shard, entry in found:
            original = whole[photo]
            assert dataset.shards[original["shard"]].fold == shard.fold
            assert entry["label"] == original["label"] == listed["label"][entry["row"]]
            assert bytes(read_photo(data, entry)) == bytes(read_photo(dataset, original))


def photos_of(data, split):
    """Returns (Id, shard, entry of the index) of every photo of a split."""
    ids = data.read_ids(split)["id"]
    shards = [(data.shards[entry["shard"]], entry) for entry in read_index(data)]
    return [(ids[entry["row"]], shard, entry) for shard, entry in shards if shard.split == split]


@pytest.mark.slow
def test_a_stage_trains_and_predicts_on_it(sampled, tmp_path):
    sample, _ = sampled
    shared = (f"--data={sample.directory}", "--device=cpu")
    flags = ("--stage=scratch_96", "--image_size=32", "--batch_size=4", "--epochs=1", "--val_fold=1", "--run=run")
    commands.open_door("carclf.train", *shared, *flags, folder=tmp_path)
    commands.open_door("carclf.predict", *shared, "--run=runs/run", "--split=val", "--output=val.csv", folder=tmp_path)
    assert len((tmp_path / "val.csv").read_text().splitlines()) == 1 + sample.val_photos


@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
def test_its_canvas_is_that_of_the_whole(sampled, dataset, framing):
    _, data = sampled
    assert sizes_for(data, framing=framing).canvas_size == sizes_for(dataset, framing=framing).canvas_size


def test_a_few_photos_are_taken_from_all_over(sampled, dataset):
    _, data = sampled
    folds = {shard.fold for shard in data.shards if shard.split == "train"}
    assert folds == {0, 1, 2}
    assert np.unique(read_index(data)["label"]).size >= 3
    assert data.fingerprint == dataset.fingerprint


def test_a_small_data_set_is_taken_as_it_is(dataset, tmp_path):
    sample = sample_of(dataset, tmp_path / "data", val_fold=0, train_photos=16, val_photos=8, framings=FRAMINGS)
    assert (sample.directory, sample.train_photos, sample.val_photos) == (dataset.directory, 16, 8)
    assert not (tmp_path / "data").exists()
