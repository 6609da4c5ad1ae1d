"""A run as a function of photos: paths, bytes, Pillow images and arrays, whatever their colours and size."""

import io
import pickle

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import carclf
from carclf import runs
from carclf.data import to_rgb, validation
from carclf.data.photos import read_photos
from carclf.inference import programs
from carclf.inference.photo_predictor import PhotoPredictor
from carclf.serving import model as serving_model
from tests.inference.made_runs import colour_classifier, make_run


@pytest.fixture(scope="module", autouse=True)
def no_render():
    """Tracing Render takes seconds for each size of batch, and tests/inference/test_photo_predictor.py has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "build_photo_classifier", colour_classifier)
        yield


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "one", dataset)


@pytest.fixture(scope="module")
def predictor(run):
    return carclf.load_run("one", runs=run.directory.parent, batch_size=2)


@pytest.fixture(scope="module")
def photos(dataset):
    return [encoded for _, encoded in sorted(read_photos(dataset, split="test", rows=range(5)).items())]


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_photo_is_as_likely_as_by_the_command(predictor, run, photos):
    expected = PhotoPredictor([run], batch_size=5).predict(photos)
    np.testing.assert_allclose(predictor.predict(photos), expected, atol=1e-6)
    one = predictor(photos[1])
    assert one.shape == (3,)
    assert one.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(one, expected[1], atol=1e-6)
    assert predictor.class_names == ("class 0", "class 1", "class 2")
    assert repr(predictor) == "<carclf.Predictor of one: 3 classes>"


def test_every_kind_of_photo_is_taken_and_kinds_may_be_mixed(predictor, photos, tmp_path):
    path = tmp_path / "car.jpg"
    path.write_bytes(photos[0])
    opened = Image.open(path)
    pixels = np.asarray(opened)
    png = saved(opened, "PNG")
    mixed = [path, str(path), photos[0], bytearray(photos[0]), opened, pixels, pixels[:, ::-1], png]
    rows = predictor.predict(iter(mixed))
    assert rows.shape == (8, 3)
    np.testing.assert_array_equal(rows[:4], np.tile(rows[0], (4, 1)))
    # In memory they are encoded once, as a PNG is at a conversion.
    np.testing.assert_allclose(rows[4:6], np.tile(rows[7], (2, 1)), atol=1e-6)
    np.testing.assert_allclose(rows[4], rows[0], atol=0.05)
    assert not np.allclose(rows[6], rows[5], atol=1e-6)  # mirrored: without its stride it would be the same


def test_an_array_of_several_photos_is_several_photos(predictor):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
    np.testing.assert_allclose(predictor.predict(pixels)[2], predictor(pixels[2]), atol=1e-6)


def test_a_stack_of_grey_photos_is_taken_as_advised(predictor):
    grey = np.random.default_rng(0).integers(0, 256, (3, 20, 30), np.uint8)
    with pytest.raises(carclf.UserError, match=r"and this is \[3, 20, 30\]: give a stack of grey photos as photos\["):
        predictor.predict(grey)
    expected = predictor.predict(list(grey))
    np.testing.assert_allclose(predictor.predict(grey[..., None]), expected, atol=1e-6)


def test_what_is_no_list_is_a_sentence(predictor):
    for photos in (None, 5):
        with pytest.raises(carclf.UserError, match=rf"takes a list of photos, and this is {photos}: give paths, bytes"):
            predictor.predict(photos)


def test_a_predictor_is_loaded_in_each_process(predictor):
    with pytest.raises(carclf.UserError, match=r"cannot be copied to another process: call carclf\.load_run there"):
        pickle.dumps(predictor)


@pytest.mark.parametrize(
    ("precision", "expected"), [("auto", "float32"), ("float32", "float32"), ("mixed_bfloat16", "mixed_bfloat16")]
)
def test_a_run_is_built_in_its_own_precision_and_the_policy_stays(dataset, tmp_path, monkeypatch, precision, expected):
    make_run(tmp_path / "one", dataset, precision=precision)
    built = []

    def build(classifier, **how):
        built.append(classifier.get_layer("head_dense").dtype_policy.name)
        return colour_classifier(classifier, **how)

    monkeypatch.setattr(programs, "build_photo_classifier", build)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        carclf.load_run(tmp_path / "one")
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy(policy)
    assert built == [expected]


def test_an_image_in_memory_is_validated_as_its_file(photos):
    """Turned upright by its EXIF, on white where transparent, reduced; and left as it was."""
    picture = Image.open(io.BytesIO(photos[0])).convert("RGB")
    exif = Image.Exif()
    exif[to_rgb.ORIENTATION] = 6
    turned = saved(picture, "PNG", exif=exif)
    clear = Image.new("RGBA", (200, 90), (255, 0, 0, 0))
    for raw in (turned, saved(clear, "PNG"), saved(picture.convert("P"), "PNG"), saved(picture.convert("I;16"), "PNG")):
        image = Image.open(io.BytesIO(raw))
        of_file, in_memory = validation.validate_photo(raw, max_side=64), validation.validate_image(image, max_side=64)
        assert in_memory.encoded == of_file.encoded
        assert (in_memory.height, in_memory.width) == (of_file.height, of_file.width)
        assert saved(image, "PNG") == saved(Image.open(io.BytesIO(raw)), "PNG")


def test_a_large_jpeg_in_memory_keeps_its_size():
    """Pillow would decode it at a fraction of its size, for good."""
    large = Image.open(io.BytesIO(saved(Image.new("RGB", (800, 600), "red"), "JPEG")))
    assert validation.validate_image(large, max_side=64).width == 64
    assert large.size == (800, 600)


def odd_photos() -> dict[str, object]:
    colour = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8))
    grey = np.asarray(colour.convert("L"))
    return {
        "a grey JPEG": saved(colour.convert("L"), "JPEG"),
        "an RGBA PNG": saved(colour.convert("RGBA"), "PNG"),
        "a CMYK JPEG": saved(colour.convert("CMYK"), "JPEG"),
        "a palette GIF": saved(colour, "GIF"),
        "one pixel": saved(colour.resize((1, 1)), "PNG"),
        "a line": saved(colour.resize((2000, 1)), "PNG"),
        "a CMYK image": colour.convert("CMYK"),
        "a grey image": colour.convert("L"),
        "a grey array": grey,
        "a grey array with a channel": grey[..., None],
        "an RGBA array": np.asarray(colour.convert("RGBA")),
        "an array of one pixel": np.zeros((1, 1, 3), np.uint8),
    }


def test_odd_photos_are_taken(predictor):
    rows = predictor.predict(odd_photos().values())
    assert rows.shape == (12, 3)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0)


def test_no_photo_is_no_row(predictor):
    assert predictor.predict([]).shape == (0, 3)


@pytest.mark.parametrize(
    ("photo", "said"),
    [
        (b"", r"The photo cannot be read \(empty file\)"),
        (b"<html>", "not an image"),
        (b"\xff\xd8\xff", "damaged"),
        ("no/such.jpg", r"The photo no/such.jpg cannot be read \(No such file or directory\)"),
        (".", "The photo . cannot be read"),
        (np.zeros((8, 8, 3), np.float32), r"float32 \[8, 8, 3\] is not an array of pixels uint8"),
        (np.zeros((8, 8, 2), np.uint8), r"uint8 \[8, 8, 2\]"),
        (np.zeros((0, 8, 3), np.uint8), r"uint8 \[0, 8, 3\]"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"uint8 \[1, 8, 8, 3\]"),
        (["a.jpg"], "list is not a path, bytes, a Pillow image or a uint8 array"),
        (Image.new("F", (8, 8)), "samples of kind F"),
    ],
)
def test_what_is_no_photo_is_a_sentence(predictor, photo, said):
    with pytest.raises(carclf.UserError, match=said):
        predictor(photo)


def test_the_first_broken_file_of_a_list_is_named(predictor, photos, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photos[0][:200])
    with pytest.raises(carclf.UserError, match=rf"The photo {broken} cannot be read \(.*\): give another file"):
        predictor.predict([*photos, broken])
    with pytest.raises(carclf.UserError, match="Photo number 5 of the list cannot be read"):
        predictor.predict([*photos, b"nothing"])
    assert len(predictor.predict(photos)) == len(photos)


def test_a_lazily_opened_damaged_image_is_a_sentence(predictor, photos):
    image = Image.open(io.BytesIO(saved(Image.open(io.BytesIO(photos[0])), "PNG")[:-300]))
    with pytest.raises(carclf.UserError, match="The photo cannot be read"):
        predictor(image)


@pytest.mark.parametrize(
    "one",
    ["car.jpg", b"bytes", Image.new("RGB", (4, 4)), *(np.zeros(shape, np.uint8) for shape in ((4, 4, 3), (4, 4), ()))],
)
def test_a_single_photo_is_not_taken_for_a_list(predictor, one):
    with pytest.raises(carclf.UserError, match="call predictor"):
        predictor.predict(one)


def test_a_column_of_paths_is_a_list(predictor, photos, tmp_path):
    paths = [tmp_path / f"{row}.jpg" for row in range(2)]
    for path, raw in zip(paths, photos, strict=False):
        path.write_bytes(raw)
    expected = predictor.predict(paths)
    table = pd.DataFrame({"path": list(map(str, paths))})
    for column in (table["path"], table["path"].to_numpy(), np.array(table["path"].tolist()), np.array(paths)):
        np.testing.assert_array_equal(predictor.predict(column), expected)
    for whole in (table, table.to_numpy()):
        with pytest.raises(carclf.UserError, match=r"this is a table: give the one column of paths, such as table\["):
            predictor.predict(whole)


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        (np.array(3, np.uint8), r"uint8 \[\] is not an array of pixels"),
        (np.uint8(3), r"uint8 \[\] is not an array of pixels"),
        (np.array("car.jpg"), r"<U7 \[\] is not an array of pixels"),
        (np.zeros(3, np.uint8), r"uint8 \[3\] is not an array of pixels"),
        ("car\0.jpg", "null"),
    ],
)
def test_what_is_no_photo_is_named_by_its_place_in_the_list(predictor, photo, reason):
    with pytest.raises(carclf.UserError, match=rf"cannot be read \(.*{reason}.*\): give another file, or leave it out"):
        predictor.predict([photo])
    with pytest.raises(carclf.UserError, match=rf"cannot be read \(.*{reason}"):
        predictor(photo)


def test_a_single_photo_in_a_list_is_predicted_as_it_is_alone(predictor, photos):
    np.testing.assert_allclose(predictor.predict([photos[0]])[0], predictor(photos[0]), atol=1e-6)


def test_several_runs_in_several_views_are_averaged(run, dataset, photos):
    other = make_run(run.directory.parent / "two", dataset, seed=2)
    views = carclf.parse_views("clean|flip")
    both = carclf.load_run(run.directory, other.directory, views=views, tta_mean="logits")
    expected = PhotoPredictor([run, other], views=views, tta_mean="logits").predict(photos)
    np.testing.assert_allclose(both.predict(photos), expected, atol=1e-6)
    apart = [carclf.load_run(one.directory, views="clean|flip").predict(photos) for one in (run, other)]
    assert not np.allclose(apart[0], apart[1], atol=1e-3)


def test_the_runs_of_all_folds_weigh_as_much_as_one_run_as_in_the_command(run, dataset, photos):
    folder = run.directory.parent
    for fold in (0, 1, 2):
        make_run(folder / "kfold" / f"fold{fold}", dataset, seed=3 + fold, val_fold=fold)
    members = runs.load_members("kfold,one", runs=str(folder))
    folds, one = (
        np.mean([PhotoPredictor([each]).predict(photos) for each in member.runs], axis=0) for member in members
    )
    expected = (folds + one) / 2
    assert not np.allclose(expected, (3 * folds + one) / 4, atol=1e-3)
    np.testing.assert_allclose(carclf.load_run("kfold", "one", runs=folder).predict(photos), expected, atol=1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving_model, "_grad_cam_program", lambda *_, **__: None)
        served = serving_model.ServedModel(members, jit=False)
    answers = served.answer([serving_model.Task(served.prepare(raw), with_heat=False) for raw in photos[:4]])
    np.testing.assert_allclose([answer.probabilities for answer in answers], expected[:4], atol=1e-6)
