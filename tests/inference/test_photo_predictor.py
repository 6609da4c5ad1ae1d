"""From bytes of photos to probabilities: the same as through a data set, for any file."""

import io

import numpy as np
import pytest
from PIL import Image

from carclf.data.photos import read_photos
from carclf.data.validation import UnusableError
from carclf.framing import Framing
from carclf.inference import programs
from carclf.inference.dataset_predictions import mean_predictions, predict_runs
from carclf.inference.photo_predictor import DecodeSettings, PhotoPredictor, as_batch, decode_photo
from carclf.recipe import parse_views
from tests.inference.made_runs import colour_classifier, make_run, render_not_compiled


@pytest.fixture(scope="module", autouse=True)
def quick_render():
    with render_not_compiled():
        yield


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "one", dataset)


@pytest.fixture(scope="module")
def predictor(run):
    return PhotoPredictor([run], batch_size=3)


@pytest.fixture(scope="module")
def photos(dataset):
    return [encoded for _, encoded in sorted(read_photos(dataset, split="test", rows=range(5)).items())]


def test_photos_are_predicted_as_in_a_data_set(run, predictor, photos, dataset):
    (through_data,) = predict_runs(
        [run], manifest=dataset, split="test", views=parse_views("clean"), batch_size=2, jit=False
    )
    np.testing.assert_allclose(predictor.predict(photos), through_data.probabilities, atol=1e-5)
    assert through_data.probabilities.std(axis=0).max() > 0.01  # else the comparison would mean nothing


def test_an_ensemble_with_views_predicts_as_on_a_data_set(run, photos, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "build_photo_classifier", colour_classifier)
    other = make_run(tmp_path / "two", dataset, seed=2, image_size="16x24", fit="crop")
    how = {"views": parse_views("clean|flip*2|size(24)"), "tta_mean": "logits"}
    predicted = predict_runs([run, other], manifest=dataset, split="test", batch_size=4, jit=False, **how)
    through_data = mean_predictions(predicted, weights=np.array([3, 1]))
    by_bytes = PhotoPredictor([run, other], run_weights=[3, 1], batch_size=5, **how)
    np.testing.assert_allclose(by_bytes.predict(photos), through_data.probabilities, atol=1e-5)


def test_no_photo_depends_on_its_neighbours(run, photos, monkeypatch):
    monkeypatch.setattr(programs, "build_photo_classifier", colour_classifier)
    drawing = PhotoPredictor([run], views=parse_views("random(2)"), batch_size=3)
    together = drawing.predict(photos)
    for number, photo in enumerate(photos):
        np.testing.assert_allclose(drawing.predict([photo])[0], together[number], atol=1e-6)


def test_other_formats_and_rotated_photos_are_accepted(predictor, photos):
    pixels = Image.open(io.BytesIO(photos[0]))
    png, turned = io.BytesIO(), io.BytesIO()
    pixels.save(png, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 8  # rotated by 90°
    pixels.transpose(Image.Transpose.ROTATE_270).save(turned, "JPEG", quality=95, exif=exif)
    upright, from_png, from_turned = predictor.predict([photos[0], png.getvalue(), turned.getvalue()])
    np.testing.assert_allclose(from_png, upright, atol=0.05)
    np.testing.assert_allclose(from_turned, upright, atol=0.05)
    assert decode_photo(turned.getvalue(), DecodeSettings(64, Framing((32, 32)))).shape == (48, 64, 3)


def test_a_large_photo_is_reduced_to_the_longest_side_and_then_to_its_detail():
    raw = io.BytesIO()
    Image.new("RGB", (400, 300), "red").save(raw, "JPEG")
    assert decode_photo(raw.getvalue(), DecodeSettings(64, Framing((16, 16)))).shape == (24, 32, 3)


def test_a_batch_has_the_usual_side_unless_a_photo_is_longer():
    settings = DecodeSettings(640, Framing((16, 16)))
    photos = [np.full((20, 30, 3), 7, np.uint8), np.full((30, 20, 3), 9, np.uint8)]
    batch = as_batch(photos, side=settings.usual_side, batch_size=3)
    assert batch["canvas"].shape == (3, 80, 80, 3)
    assert batch["extent"].tolist() == [[20, 30], [30, 20], [1, 1]]
    assert batch["canvas"].sum() == 3 * 20 * 30 * (7 + 9)
    np.testing.assert_array_equal(batch["canvas"][1, :30, :20], photos[1])
    longer = as_batch([np.zeros((20, 161, 3), np.uint8)], side=settings.usual_side, batch_size=1)
    assert longer["canvas"].shape == (1, 320, 320, 3)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [(b"", "empty file"), (b"<html>", "not an image"), (b"\xff\xd8\xff", "damaged"), (b"%PDF-1.7", "PDF is not read")],
)
def test_a_file_that_cannot_be_read_says_why(predictor, photos, raw, reason):
    with pytest.raises(UnusableError, match=reason):
        predictor.predict([photos[0], raw])


def test_without_photos_there_are_no_rows(predictor):
    assert predictor.predict([]).shape == (0, 3)
    assert predictor.class_names == ("class 0", "class 1", "class 2")
