import io

import numpy as np
import pytest
from PIL import Image

from carclf.data import survey
from carclf.data.index import read_photo
from carclf.data.survey import survey_photos
from carclf.errors import DamagedShardError


def pixels(manifest, entry) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(read_photo(manifest, entry))), np.float64)


def test_brightness_and_contrast_of_each_photo(dataset):
    seen = survey_photos(dataset)
    assert len(seen.brightness) == len(seen.index) == 29
    for entry, brightness, contrast in zip(seen.index, seen.brightness, seen.contrast, strict=True):
        luma = pixels(dataset, entry) @ (0.299, 0.587, 0.114)
        assert brightness == pytest.approx(luma.mean(), abs=2.0)
        assert contrast < luma.std()  # at an eighth of the size there is no noise


def test_the_average_of_a_label_is_its_colour(dataset):
    averages = survey_photos(dataset).averages
    assert sorted(averages) == [-1, 0, 1, 2]
    for label, colour in enumerate([(210, 60, 60), (60, 200, 60), (60, 60, 210)]):
        assert averages[label].shape == (*survey.AVERAGE_SIZE, 3)
        np.testing.assert_allclose(averages[label].mean(axis=(0, 1)), colour, atol=6)


def test_an_average_keeps_positions():
    halves = np.zeros((60, 80, 3), np.uint8)
    halves[:, 40:] = 255
    squashed = survey._squashed(halves)
    assert squashed.shape == (48, 64, 3)
    assert squashed[:, :32].max() == 0
    assert squashed[:, 32:].min() == 255


def test_the_number_of_workers_changes_nothing(dataset, monkeypatch):
    monkeypatch.setattr(survey, "PHOTOS_PER_TASK", 8)
    counts = []
    alone, shared = survey_photos(dataset, workers=1, on_photos=counts.append), survey_photos(dataset, workers=2)
    assert sum(counts) == 29
    np.testing.assert_array_equal(alone.brightness, shared.brightness)
    np.testing.assert_array_equal(alone.averages[2], shared.averages[2])


def test_a_damaged_photo_is_named(dataset, tmp_path):
    import shutil

    from carclf.data.manifest import load_manifest

    copy = shutil.copytree(dataset.directory, tmp_path / "copy")
    shard = copy / dataset.shards[0].file
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    with pytest.raises(DamagedShardError, match=r"train-fold0-0\.tfrecord is damaged at row"):
        survey_photos(load_manifest(str(copy)))
