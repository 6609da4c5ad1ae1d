"""Every format: written completely or not at all, run by its own runtime, with a card that has a working example."""

import dataclasses
import functools
import io
import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

from carclf import runs
from carclf.data.photos import read_photos
from carclf.engines.onnx_graph import replace_erfc
from carclf.errors import UserError
from carclf.export import ExportOptions
from carclf.exporting import run_export
from carclf.exporting.card import _pillow_lines
from carclf.exporting.checking import PAD_MODES, Resizing
from carclf.exporting.folder import MODEL_FILES
from carclf.exporting.formats import FORMATS, write_saved_model
from carclf.exporting.run_export import export_run
from carclf.files import write_json
from carclf.flags import options_of
from carclf.framing import RESIZE_MODES, Framing, Rendering
from carclf.inference.metrics import evaluate
from carclf.inference.photo_predictor import PhotoPredictor
from carclf.model import photo_classifier
from carclf.model.classifier import build_classifier
from carclf.model.whole_photo import build_whole_photo_classifier
from tests.inference.made_runs import make_run

HOSTILE_STAGE = "two|`<b>"


@pytest.fixture(scope="module", autouse=True)
def render_not_compiled():
    """XLA takes seconds per Render and gives the same images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_classifier, "Render", functools.partial(photo_classifier.Render, jit=False))
        yield


def evaluated(run: runs.Run) -> runs.Run:
    """The run with the metrics that a training leaves."""
    probabilities = np.tile([0.6, 0.3, 0.1], (8, 1))
    evaluation = evaluate(
        probabilities=probabilities, labels=np.arange(8) % 3, ids=list("abcdefgh"), class_names=run.class_names
    )
    metrics = {"val_accuracy": evaluation.accuracy, "epochs": 2, "evaluation": evaluation.to_dict()}
    write_json(run.directory / runs.METRICS_FILE, metrics)
    return runs.load_run(run.directory)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def predictor(run):
    return PhotoPredictor([run])


@pytest.fixture(scope="module")
def run(dataset, folder):
    evaluated(make_run(folder / HOSTILE_STAGE, dataset))
    made = make_run(folder / "one", dataset, image_size="24x32", fit="crop", init_from=HOSTILE_STAGE)
    return evaluated(made)


def export(run, form, *, output, manifest):
    return export_run(
        run, form=form, manifest=manifest, fold=0, photos=5, output=output, runs_folder=str(run.directory.parent)
    )


FAST = ("onnx",)  # the one that no other test covers; the rest takes a minute


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in FORMATS],
)
def exported(request, run, dataset, folder):
    """(row of the table, result of the export, its folder) of every format."""
    form = FORMATS[request.param]
    output = folder / "exported" / request.param
    return form, export(run, form, output=output, manifest=dataset), output


def test_the_flag_has_the_formats_of_the_table():
    assert options_of(ExportOptions)["format"].known == tuple(FORMATS)
    assert {form.file for form in FORMATS.values()} == MODEL_FILES


def test_probabilities_equal_those_of_the_run(exported, predictor, dataset):
    form, found, output = exported
    assert found.identical.photos == found.full.photos == 5
    assert found.identical.within_tolerance or form.quantized
    assert found.identical.largest < (0.05 if form.quantized else 1e-5)
    (encoded,) = read_photos(dataset, split="train", folds=[0], rows=[0]).values()
    pixels = np.asarray(Image.open(io.BytesIO(encoded)))
    if not form.any_size:
        pixels = Resizing((30, 40), fit="crop", fill="edge")(pixels)
    again = form.load(output / form.file)(pixels[None])
    (expected,) = predictor.predict([encoded])
    np.testing.assert_allclose(again[0], expected, atol=0.1)
    assert again.dtype == np.float32
    assert expected.max() > 0.5  # else the comparison would mean little
    assert sorted(path.name for path in output.iterdir()) == sorted([form.file, "labels.txt", "README.md"])


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_attentive_pooling_is_exported(name, dataset, folder):
    made = evaluated(make_run(folder / "attentive", dataset, head="attention"))
    found = export(made, FORMATS[name], output=folder / "attentive_exported" / name, manifest=dataset)
    assert found.identical.largest < (0.05 if FORMATS[name].quantized else 1e-5)


def test_what_onnx_runtime_cannot_run_is_a_sentence(tmp_path):
    import onnx

    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [5]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Erfc", ["x"], ["y"])], "gelu", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(UserError, match=r"cannot run .* \(it lacks the operation Erfc\): choose another --format"):
        FORMATS["onnx"].load(tmp_path / "m.onnx")


def test_erfc_which_onnx_has_not_is_replaced(tmp_path):
    """GELU in TensorFlow is 0.5 · x · erfc(−x / √2)."""
    import onnx
    import onnxruntime

    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [5]) for name in ("x", "y")]
    nodes = [onnx.helper.make_node("Erfc", ["x"], ["z"]), onnx.helper.make_node("Neg", ["z"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "gelu", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    replace_erfc(model)
    onnx.save(model, tmp_path / "m.onnx")
    x = np.linspace(-2, 2, 5, dtype="float32")
    (found,) = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(["y"], {"x": x})
    np.testing.assert_allclose(found, [-math.erfc(value) for value in x], atol=1e-6)


def test_labels_are_the_classes_in_order(exported, run):
    _, _, output = exported
    assert (output / "labels.txt").read_text().splitlines() == list(run.class_names)


def test_the_card_has_results_data_stages_and_agreement(exported, run):
    form, found, output = exported
    card = (output / "README.md").read_text()
    for part in (
        form.title,
        "37.5 % of 8 held-out photos",
        "13.7–69.4 %",
        run.data_fingerprint,
        "two\\|\\`\\<b\\>",
        f"{found.identical.largest:.1e}",
        f"{found.full.mean:.1e}",
        "class 1 (F1 0.00)",
    ):
        assert part in card
    assert ("[B, h, w, 3]" in card) == form.any_size
    assert ("Crop each photo about its centre to the shape 40:30" in card) == (not form.any_size)
    assert ("photo = ImageOps.fit(photo, (40, 30), Image.Resampling.BILINEAR)\npixels" in card) == (not form.any_size)
    assert ("rounded to 8 bits" in card) == form.quantized


@pytest.mark.parametrize("fill", PAD_MODES)
@pytest.mark.parametrize("fit", RESIZE_MODES)
@pytest.mark.parametrize("size", [(75, 100), (100, 75), (64, 201), (30, 40), (7, 9)])
def test_the_python_of_the_card_resizes_as_the_check_does(fit, fill, size):
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize(size[::-1], Image.Resampling.BICUBIC)
    resize = Resizing((30, 40), fit=fit, fill=fill)
    names = {"photo": smooth, "Image": Image, "ImageOps": ImageOps, "np": np}
    exec(_pillow_lines(resize), names)
    expected = resize(np.asarray(smooth))
    assert np.asarray(names["photo"]).shape == expected.shape == (30, 40, 3)
    np.testing.assert_allclose(np.asarray(names["photo"], int), expected.astype(int), atol=24)
    assert np.abs(np.asarray(names["photo"], int) - expected.astype(int)).mean() < 2


def test_the_example_of_the_card_works(exported, run, predictor, dataset):
    form, _, output = exported
    if form.quantized:
        return  # the same text as for float32
    (encoded,) = read_photos(dataset, split="train", folds=[0], rows=[1]).values()
    (output / "photo.jpg").write_bytes(encoded)
    program = (output / "README.md").read_text().split("```python\n")[1].split("```")[0]
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=output, capture_output=True, text=True, timeout=120, env=dict(os.environ)
    )
    (output / "photo.jpg").unlink()
    assert answer.returncode == 0, answer.stderr
    name, probability = answer.stdout.strip().rsplit(" ", 1)
    (expected,) = predictor.predict([encoded])
    assert name == run.class_names[expected.argmax()]
    assert float(probability) == pytest.approx(expected.max(), abs=0.1)


@pytest.fixture
def nothing_written(monkeypatch, predictor):
    """Skips the slow parts: the SavedModel is an empty file, and the run's predictor is shared."""
    monkeypatch.setattr(run_export, "write_saved_model", lambda model, path: path.touch())
    monkeypatch.setattr(run_export, "PhotoPredictor", lambda runs: predictor)


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize("wrong", [0.0011, np.nan])
def test_an_export_with_other_probabilities_is_not_written(run, dataset, predictor, tmp_path, wrong):
    def almost(pixels):
        (settings,) = predictor.settings
        return predictor.predict_prepared([{settings: pixels[0]}]) + np.array([0, 0, wrong])

    form = dataclasses.replace(FORMATS["savedmodel"], load=lambda path: almost)
    with pytest.raises(UserError, match=r"other probabilities than the run .* so it was not written"):
        export(run, form, output=tmp_path / "out", manifest=dataset)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nothing_written")
def test_a_failed_export_keeps_the_existing_folder(run, dataset, tmp_path):
    def fail(saved_model, path):
        raise RuntimeError("converter")

    earlier = ["README.md", "labels.txt", "model.onnx"]
    (tmp_path / "out").mkdir()
    for name in earlier:
        (tmp_path / "out" / name).write_text(name)
    with pytest.raises(RuntimeError, match="converter"):
        export(run, dataclasses.replace(FORMATS["onnx"], write=fail), output=tmp_path / "out", manifest=dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {name: name for name in earlier}


@pytest.mark.parametrize("fit", RESIZE_MODES)
def test_resizing_gives_the_one_size(fit):
    photo = np.zeros((30, 80, 3), np.uint8)
    photo[:, 40:] = 255
    resized = Resizing((48, 64), fit=fit, fill="edge")(photo)
    assert resized.shape == (48, 64, 3)
    assert (resized[:, :30] == 0).all()
    assert (resized[:, 34:] == 255).all()


@pytest.mark.parametrize("shape", [(30, 80, 3), (90, 40, 3), (60, 80, 3)], ids=str)
def test_resizing_is_what_pillow_calls_it(shape):
    photo = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image, size, bilinear = Image.fromarray(photo), (64, 48), Image.Resampling.BILINEAR

    def resized(fit):
        return Resizing((48, 64), fit=fit, fill="constant")(photo)

    np.testing.assert_array_equal(resized("squash"), image.resize(size, bilinear))
    np.testing.assert_array_equal(resized("crop"), ImageOps.fit(image, size, bilinear))
    contained = np.asarray(ImageOps.contain(image, size, bilinear))
    top, left = (48 - contained.shape[0]) // 2, (64 - contained.shape[1]) // 2
    padded = np.zeros((48, 64, 3), np.uint8)
    padded[top : top + contained.shape[0], left : left + contained.shape[1]] = contained
    np.testing.assert_array_equal(resized("pad"), padded)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_a_network_with_constants_of_its_own_is_exported(name, tmp_path):
    """EfficientNet's normalization constants must not become inputs."""
    classifier = build_classifier(backbone="b0", weights="none", class_count=3, image_size=(32, 32), head_width=8)
    for variable in classifier.trainable_variables[-4:]:
        variable.assign(keras.random.normal(variable.shape, stddev=3.0, seed=1))
    size = None if FORMATS[name].any_size else (40, 40)
    model = build_whole_photo_classifier(
        classifier, framing=Framing((32, 32)), rendering=Rendering(), least_side=80, photo_size=size
    )
    write_saved_model(model, tmp_path / "from_keras")
    FORMATS[name].write(tmp_path / "from_keras", tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    expected = np.asarray(model(pixels)["probabilities"])
    np.testing.assert_allclose(FORMATS[name].load(tmp_path / "model")(pixels), expected, atol=1e-4)
