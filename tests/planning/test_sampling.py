"""A sample of a data set is a data set, with the same photos and the same canvas."""

import numpy as np
import pytest

from carclf.data.index import read_index, read_photo, sizes_for
from carclf.data.manifest import load_manifest
from carclf.framing import Framing
from carclf.planning.sampling import sample_of

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


def test_its_photos_are_those_of_the_same_rows(sampled, dataset):
    _, data = sampled
    whole, index = read_index(dataset), read_index(data)
    known = {(dataset.shards[entry["shard"]].split, int(entry["row"])): entry for entry in whole}
    for entry in index:
        shard = data.shards[entry["shard"]]
        original = known[shard.split, int(entry["row"])]
        assert dataset.shards[original["shard"]].fold == shard.fold
        assert entry["label"] == original["label"]
        assert bytes(read_photo(data, entry)) == bytes(read_photo(dataset, original))


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
