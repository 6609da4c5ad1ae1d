"""What each option of `carclf.train` does to training, from the command's options to the run's files."""

import contextlib
import dataclasses
import errno
import functools
import io
import json
import os
import re
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from carclf import device, runs, train
from carclf.data import pseudo_labels
from carclf.data.index import read_index
from carclf.data.manifest import Manifest
from carclf.data.pipeline import training_batches
from carclf.errors import Preempted, UserError, sentence_in
from carclf.forms import Form
from carclf.framing import Framing, Rendering
from carclf.inference import dataset_predictions, programs
from carclf.model import backbones
from carclf.model.class_weights import balanced_class_weights
from carclf.model.classifier import build_classifier
from carclf.model.photo_classifier import build_photo_classifier
from carclf.model.render import Render
from carclf.recipe import Recipe, parse_recipe, parse_views
from carclf.report import augmentation, run_files
from carclf.train_options import TrainOptions
from carclf.training import callbacks, head_regression, input_check, lr_finder, stage_models, swa, trainer
from carclf.training import stage as stage_module
from carclf.training.phases import plan_phases
from carclf.training.stage import Stage

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`")

SIDE = 48  # the photos are reduced so little that Render takes one sample per pixel, which is faster
RECIPE = "flip|shift(0.1)"
SMALL = {
    "backbone": "tiny", "weights": "none", "image_size": str(SIDE), "augment": RECIPE, "batch_size": 4, "epochs": 2,
    "steps": 2, "patience": 0,
}  # fmt: skip
ONE_STEP = {"optimizer": "sgd", "learning_rate": 0.1, "l2": 0.0, "epochs": 1, "steps": 1}
CPU = device.Device(kind="cpu", backend="tensorflow", replicas=1, precision="float32", jit=False)
REPEATED = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]  # the same if a stage is repeated


@dataclasses.dataclass(frozen=True)
class Answer:
    """A trained run, and what was printed during training."""

    directory: Path
    said: str

    @property
    def history(self) -> pd.DataFrame:
        return pd.read_csv(self.directory / runs.HISTORY_FILE)

    def weights(self, name: str = runs.LAST_WEIGHTS) -> dict[str, np.ndarray]:
        """Returns every array of a weights file, by its path in the file."""
        arrays: dict[str, np.ndarray] = {}
        with h5py.File(self.directory / name) as file:
            file.visititems(
                lambda place, item: arrays.update({place: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        return arrays


@pytest.fixture(autouse=True, scope="module")
def in_miniature():
    """Makes training use this process's CPU without tracing or pictures, which takes a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "select_device", lambda *_, **__: CPU)
        patch.setattr(augmentation, "draw_recipe", lambda *_, **__: None)
        for name in ("draw_history", "draw_confusion", "mistake_pictures", "write_page"):
            patch.setattr(run_files, name, lambda *_, **__: None)
        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def fit(dataset, home):
    """Returns a function that trains a run, given its name and options, and evaluates it if a test needs that."""

    def go(run: str, *, evaluated: bool = False, **changes) -> Answer:
        said = io.StringIO()
        options = TrainOptions(**(SMALL | {"data": dataset.directory, "runs": str(home), "run": run} | changes))
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            if not evaluated:
                patch.setattr(train, "finish_run", lambda *_, **__: None)
            assert train.main(options) == 0
        return Answer(home / run, said.getvalue())

    return go


@pytest.fixture(scope="module")
def plain(fit) -> Answer:
    """Returns a run without any of the options, as a baseline."""
    return fit("plain", evaluated=True)


@pytest.fixture(scope="module")
def one_step(fit) -> Answer:
    """Returns a run of one step of plain SGD."""
    return fit("one_step", **ONE_STEP, evaluated=True)


def initial_weights(home: Path) -> dict[str, np.ndarray]:
    """Returns the initial weights of a run with seed 42, as in its weights file."""
    keras.utils.set_random_seed(42)
    build_classifier(backbone="tiny", weights="none", class_count=3, image_size=(SIDE, SIDE)).save_weights(
        home / "initial.weights.h5"
    )
    return Answer(home, "").weights("initial.weights.h5")


def kernels(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns kernels that any step changes: one per block of `tiny`, from the input up, and one of the head."""
    (stem,) = (array for array in weights.values() if array.shape == (3, 3, 3, 32))
    shapes = {"block1": (3, 3, 32, 64), "block2": (3, 3, 64, 128), "block3": (3, 3, 128, 192), "head": (128, 3)}
    found = {name: [a for a in weights.values() if a.shape == shape] for name, shape in shapes.items()}
    return {"stem": stem} | {name: arrays[0] for name, arrays in found.items()}


def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    one, other = kernels(before), kernels(after)
    return {name for name in one if not np.array_equal(one[name], other[name])}


def assert_same_history(one: Answer, other: Answer) -> None:
    pd.testing.assert_frame_equal(one.history[REPEATED], other.history[REPEATED], rtol=1e-6)


# --- engine


def test_an_engine_in_a_stage_that_keeps_no_features_is_said_to_be_idle(fit, one_step):
    answer = fit("idle", engine="onnxruntime", **ONE_STEP)
    assert "--engine=onnxruntime computes kept features alone, and this stage keeps none: Keras computes" in answer.said
    assert "Engine:" not in one_step.said


# --- find_lr


def test_find_lr_measures_and_leaves_no_run(fit, one_step, monkeypatch):
    monkeypatch.setattr(lr_finder, "STEPS", 21)
    answer = fit("found", find_lr=True)
    assert sorted(path.name for path in answer.directory.iterdir()) == ["find_lr.csv", "find_lr.png"]
    table = pd.read_csv(answer.directory / "find_lr.csv")
    assert list(table.columns) == ["learning_rate", "loss", "smoothed"]
    assert (np.diff(table.learning_rate) > 0).all()
    assert table.learning_rate[0] == pytest.approx(1e-7)
    assert np.isfinite(table.to_numpy()).all()
    assert (answer.directory / "find_lr.png").read_bytes().startswith(b"\x89PNG")
    assert f"{len(table)} steps: {answer.directory / 'find_lr.csv'}" in answer.said
    suggested = re.search(r"Suggested: --learning_rate=(\S+), where the loss falls most steeply", answer.said)
    assert suggested or "No learning rate is suggested: the loss never fell." in answer.said
    if suggested:
        assert table.learning_rate.min() < float(suggested.group(1)) < table.learning_rate.max()

    monkeypatch.setattr(lr_finder, "STEPS", 2)
    assert "No learning rate is suggested" in fit("found", find_lr=True).said
    assert len(pd.read_csv(answer.directory / "find_lr.csv")) == 2

    trained = fit("found", **ONE_STEP)
    assert "Resuming" not in trained.said
    assert_same_history(trained, one_step)


# --- progressive resizing

GROWN = {
    "image_size": "32-48", "size_count": 2, "epochs": 3, "batch_size": 2, "first_strength": 0.5, "ema_momentum": 0.5,
    "steps": 3, "learning_rate": 0.01, "lr_decay": 0.5, "patience": 1, "unfreeze": "gradual(1)",
}  # fmt: skip


@pytest.fixture(scope="module")
def grown_and_seen(fit) -> tuple[Answer, list[tuple[int, ...]], list[float]]:
    """Returns a run of an epoch at 32 px and two at 48 px, three steps each; its batches; its draws' strengths."""
    batches, strengths, training_data, draw = [], [], trainer.training_data, Recipe.draw

    def note_batch(stage, **arguments):
        data = training_data(stage, **arguments)
        batches.append(data.element_spec[0]["canvas"].shape)
        return data

    def note_strength(recipe, **arguments):
        strengths.extend([arguments["strength"]] if recipe.steps else [])
        return draw(recipe, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "training_data", note_batch)
        patch.setattr(Recipe, "draw", note_strength)
        return fit("grown", **GROWN, evaluated=True), batches, list(dict.fromkeys(strengths))


@pytest.fixture(scope="module")
def grown(grown_and_seen) -> Answer:
    return grown_and_seen[0]


def test_images_grow_over_the_epochs_and_the_last_size_is_evaluated(grown_and_seen, fit):
    grown, batches, strengths = grown_and_seen
    assert batches == [(4, 64, 64, 3), (2, 64, 64, 3)]  # 48²/32² is 2.25
    assert strengths == [0.5, 1.0]
    stage = json.loads((grown.directory / runs.STAGE_FILE).read_text())
    assert [phase["image_size"] for phase in stage["phases"]] == [[32, 32], [48, 48]]
    np.testing.assert_allclose(grown.history.learning_rate, [0.01 * 2**0.5, 0.005, 0.0025])
    first = "epoch 1 at 32x32 px, 3 steps of 4 photos, learning rate 0.0141, augmentation 50%."
    assert f"Progressive resizing: {first}" in grown.said
    assert "Progressive resizing: epoch 2 to 3 at 48x48 px, 3 steps of 2 photos, learning rate 0.01, augm" in grown.said
    run = runs.load_run(grown.directory)
    assert programs.load_classifier(run)[1] == Framing(image_size=(48, 48))
    assert run.metrics["best_epoch"] in (2, 3)
    best = grown.history.val_accuracy[run.metrics["best_epoch"] - 1]
    assert run.metrics["val_accuracy"] == pytest.approx(best)
    with pytest.raises(UserError, match="--feature_views=1 is not possible: it needs a single --image_size"):
        fit("grown_features", image_size="32-48", feature_views=1, unfreeze="head")


@pytest.mark.parametrize("step", [3, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 5))])
def test_a_growing_run_that_is_interrupted_ends_as_the_uninterrupted_one(grown, fit, monkeypatch, step):
    steps = []

    def sigterm(*_, **__):
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.TimingCallback, "on_train_batch_end", sigterm)
        with pytest.raises(Preempted, match=f"step {step} is saved"):
            fit(f"grown_{step}", **GROWN)
    resumed = fit(f"grown_{step}", **GROWN)
    assert resumed.said.count("Model: tiny at 32x32 px") == (step <= 3)
    assert_same_history(resumed, grown)
    for name in (runs.BEST_WEIGHTS, runs.LAST_WEIGHTS):
        ours = resumed.weights(name)
        for key, array in grown.weights(name).items():
            np.testing.assert_array_equal(array, ours[key], err_msg=f"{name} {key}")


MOMENTS = [
    (input_check, "check_input_contract"),
    (callbacks.TimingCallback, "on_train_batch_end"), (callbacks.BestWeights, "on_epoch_end"),
    (dataset_predictions, "view_batches"), (run_files, "write_page"),
]  # fmt: skip


def test_preempted_at_each_of_five_moments_a_run_ends_as_the_undisturbed_one(plain, fit, monkeypatch):
    for owner, name in MOMENTS:
        function, told = getattr(owner, name), []

        def signalled(*arguments, _function=function, _told=told, **keywords):
            if not _told:
                _told.append(os.kill(os.getpid(), signal.SIGTERM))
            return _function(*arguments, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, signalled)
            with pytest.raises(Preempted, match=r"^Stopped by SIGTERM: .* and the same command"):
                fit("preempted", evaluated=True)
        assert told, name
    resumed = fit("preempted", evaluated=True)
    assert_same_history(resumed, plain)
    for name, array in plain.weights().items():
        np.testing.assert_array_equal(array, resumed.weights()[name], err_msg=name)


def test_on_a_disk_that_fills_up_the_same_command_resumes_to_the_undisturbed_run(plain, fit, monkeypatch):
    for number in (3, 8):
        begin, calls = tempfile.mkstemp, iter(range(1, 100))

        def full(*arguments, _begin=begin, _calls=calls, _number=number, **keywords):
            if next(_calls) >= _number:
                raise OSError(errno.ENOSPC, "x")
            return _begin(*arguments, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "mkstemp", full)
            with pytest.raises((OSError, UserError)) as caught:
                fit("filled", evaluated=True)
        assert re.search(r"could not be written.*\(No space left on device\)", str(sentence_in(caught.value)))
    resumed = fit("filled", evaluated=True)
    assert_same_history(resumed, plain)
    for name, array in plain.weights().items():
        np.testing.assert_array_equal(array, resumed.weights()[name], err_msg=name)


@pytest.mark.slow
def test_each_size_is_compiled_once(fit, monkeypatch):
    traces, after_epochs, call, end = Counter(), [], Render.call, callbacks.HistoryFile.on_epoch_end

    def counted(layer, inputs):
        traces[layer.image_size] += 1  # Python runs this while it traces a step
        return call(layer, inputs)

    def count(callback, epoch, logs=None):
        after_epochs.append(dict(traces))
        end(callback, epoch, logs)

    monkeypatch.setattr(Render, "call", counted)
    monkeypatch.setattr(callbacks.HistoryFile, "on_epoch_end", count)
    tf.config.run_functions_eagerly(False)
    try:
        fit("compiled", image_size="32-48", size_count=2, epochs=4, steps=2, batch_size=2)
    finally:
        tf.config.run_functions_eagerly(True)
    first, second, third, fourth = after_epochs
    assert first == second
    assert third == fourth
    assert third == {(32, 32): 3, (48, 48): 2}  # a training step and a test step; one input check


# --- feature_views

BACKBONE = "layers/functional/"  # Keras's name in a weights file
FEATURES = {"feature_views": 2, "unfreeze": "head", "steps": 3, "head_start": "random"}


@pytest.fixture(scope="module")
def head_alone(fit) -> Answer:
    return fit("head_alone", **FEATURES, evaluated=True)


def test_kept_features_train_the_head_and_leave_the_backbone(head_alone, home):
    before, after = initial_weights(home), head_alone.weights(runs.BEST_WEIGHTS)
    assert before.keys() == after.keys()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved(before, after) == {"head"}
    assert {name for name in changed if name.startswith(BACKBONE)} == set()
    assert sum(name.startswith(BACKBONE) for name in before) == 20
    names = sorted(path.name for path in (head_alone.directory / "features").glob("*.npy"))
    assert names == ["train-0.npy", "train-1.npy", "validation.npy"]
    assert head_alone.said.count("the backbone looks at 16 train-") == 2
    assert json.loads((head_alone.directory / runs.METRICS_FILE).read_text())["val_photos"] == 8


def test_kept_features_give_what_the_photos_give(head_alone, fit):
    """Two draws are enough for two epochs: the head sees what it would see without features."""
    photos = fit("head_of_photos", unfreeze="head", steps=3, keep_features=False)
    pd.testing.assert_frame_equal(photos.history[REPEATED], head_alone.history[REPEATED], rtol=1e-4)
    for name, array in photos.weights().items():
        np.testing.assert_allclose(array, head_alone.weights()[name], atol=1e-5, err_msg=name)


def test_an_interrupted_head_ends_as_the_uninterrupted_one(head_alone, fit, monkeypatch):
    steps = []

    def sigterm_at_the_fifth(*_, **__):
        steps.append(1)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.TimingCallback, "on_train_batch_end", sigterm_at_the_fifth)
        with pytest.raises(Preempted, match=r"step 5 is saved in .*, and the same command"):
            fit("cut_off", **FEATURES)
    resumed = fit("cut_off", **FEATURES)
    assert "Resuming from step 5 (epoch 2)" in resumed.said
    assert "the backbone looks at" not in resumed.said
    assert_same_history(resumed, head_alone)
    for name, array in head_alone.weights().items():
        np.testing.assert_array_equal(array, resumed.weights()[name], err_msg=name)


def test_attentive_pooling_is_trained_on_kept_feature_maps(fit):
    answer = fit("attentive", head="attention", unfreeze="head", steps=3, learning_rate=0.01, evaluated=True)
    kept = np.load(answer.directory / "features" / "train-undrawn.npy", mmap_mode="r")
    assert kept.shape == (16, 3, 3, 192)
    assert "Head: starts from a regression on 192 features of 16 photos" in answer.said
    (queries,) = [array for name, array in answer.weights().items() if array.shape == (192, 8)]
    assert queries.any()  # they began at zero
    run = runs.load_run(answer.directory)
    classifier, _ = programs.load_classifier(run)
    assert classifier.get_layer("head_pool").kernel.shape == (192, 8)
    assert run.metrics["val_photos"] == 8


def test_a_backbone_of_keras_hub_is_trained_and_read_back(fit, tmp_path):
    """From its preset's folder, which is gone when the run is read; a stage that starts from the run needs none."""
    pytest.importorskip("keras_hub", reason="keras-hub is not installed")
    from tests.model.hub_networks import saved_preset

    saved_preset("vit", tmp_path / "preset")
    hub = {"backbone": "hub:vit", "image_size": "32", "unfreeze": "head"}
    fit("hub", **hub, weights=str(tmp_path / "preset"), evaluated=True)
    shutil.rmtree(tmp_path / "preset")
    answer = fit("hub_all", **hub | {"unfreeze": "block7"}, init_from="hub", evaluated=True)
    run = runs.load_run(answer.directory)
    assert run.stage["preset"]["arguments"]["num_layers"] == 2
    classifier, _ = programs.load_classifier(run)
    assert classifier.get_layer("backbone").output_shape == (None, 2, 2, 16)
    with pytest.raises(UserError, match="multiples of 16 pixels, not 40"):
        fit("hub_grown", **hub | {"image_size": "32-48", "unfreeze": "all"}, init_from="hub", size_count=3, epochs=3)


@pytest.mark.parametrize(
    ("steps", "changes", "momentum"),
    [
        (44, {}, 1 - 4 / 44),
        (8, {}, 0.9),
        (900, {}, 0.99),
        (44, {"init_from": ""}, 0.99),
        (44, {"head_momentum": 0.5}, 0.5),
    ],
)
def test_the_statistics_of_a_head_that_goes_on_follow_within_a_part_of_an_epoch(steps, changes, momentum):
    options = TrainOptions(**({"init_from": "parent"} | changes))
    phase = dataclasses.replace(plan_phases(TrainOptions(), train_photos=320)[0], steps_per_epoch=steps)
    fields = dict.fromkeys(field.name for field in dataclasses.fields(Stage))
    stage = Stage(**(fields | {"options": options, "phase": phase, "head_follows": bool(options.init_from)}))
    assert stage.head_momentum == pytest.approx(momentum)


def test_a_stage_that_starts_from_a_run_follows_unless_an_older_version_began_it(fit, monkeypatch, home):
    built = []
    build = stage_models.build_classifier
    monkeypatch.setattr(stage_models, "build_classifier", lambda **how: built.append(build(**how)) or built[-1])
    fit("head_first", epochs=1, evaluated=True)
    fit("head_then", epochs=1, init_from="head_first")
    assert [model.get_layer("head_norm").momentum for model in built] == [0.99, 0.9]
    stage = json.loads((home / "head_then" / runs.STAGE_FILE).read_text())
    assert stage["options"]["head_momentum"] == 0.0
    assert not stage_module._knows("head_momentum", {"options": {}})
    assert stage_module._knows("head_momentum", stage)


@pytest.mark.parametrize(
    ("unfreeze", "changes", "temperature"),
    [("head", {}, 5.0), ("0.5", {}, 1.0), ("head", {"unfreeze": "head"}, 1.0), ("0.5", {"head_temperature": 2.0}, 2.0)],
)
def test_the_head_is_softened_where_the_backbone_begins_to_learn(fit, evaluated_head, unfreeze, changes, temperature):
    """The steps are too small to matter: the last weights are the softened ones, and the parent's stay the best."""
    parent = evaluated_head(unfreeze)
    still = {"learning_rate": 1e-12, "optimizer": "sgd", "epochs": 1, "keep_features": False, "head_momentum": 1 - 1e-9}
    run = fit(f"after_{unfreeze}_{len(changes)}_{temperature}", init_from=parent.directory.name, **still | changes)
    before = logits_in(parent.directory / runs.BEST_WEIGHTS)
    assert logits_in(run.directory / runs.LAST_WEIGHTS) == pytest.approx(before / temperature, abs=1e-6)
    assert logits_in(run.directory / runs.BEST_WEIGHTS) == pytest.approx(before, abs=1e-6)


def test_a_head_without_a_parent_is_not_softened(fit):
    still = {"learning_rate": 1e-12, "optimizer": "sgd", "l2": 0.0, "epochs": 1, "steps": 1}
    plain, given = (fit(f"unsoftened_{number}", head_temperature=number, **still) for number in (0.0, 5.0))
    begun = [logits_in(run.directory / runs.LAST_WEIGHTS) for run in (plain, given)]
    assert np.abs(begun[0]).max() > 0.1
    np.testing.assert_allclose(*begun, atol=1e-6)


@pytest.fixture(scope="module")
def evaluated_head(fit):
    """Returns a function that trains a run with this part of the backbone, once."""
    return functools.cache(lambda unfreeze: fit(f"parent_{unfreeze}", epochs=1, unfreeze=unfreeze, evaluated=True))


def logits_in(path: Path) -> np.ndarray:
    """Returns kernel and bias of the last layer in a weights file, [D + 1, K]."""
    with h5py.File(path) as file:
        kernels = [group for name, group in file["layers"].items() if name.startswith("dense")]
        kernel, bias = (sorted(kernels, key=lambda group: group.name)[-1]["vars"][key][()] for key in ("0", "1"))
    return np.concatenate([kernel, bias[None]])


def test_a_head_starts_from_a_regression_which_stays_if_no_epoch_is_better(fit, monkeypatch):
    """A rate at which every step harms; the second command resumes in the first epoch."""
    bad = {"unfreeze": "head", "learning_rate": 50.0, "optimizer": "sgd", "epochs": 2, "steps": 3}
    whole = fit("from_regression", **bad, evaluated=True)
    assert "Head: starts from a regression on 192 features of 16 photos, C = " in whole.said
    start = float(re.search(r"Before the first epoch: val_accuracy (\S+)\.", whole.said)[1])
    metrics = json.loads((whole.directory / runs.METRICS_FILE).read_text())
    assert (metrics["best_epoch"], round(metrics["val_accuracy"], 4)) == (0, start)
    assert "best before the first epoch" in whole.said
    steps = []

    def sigterm_at_the_second(*_, **__):
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.TimingCallback, "on_train_batch_end", sigterm_at_the_second)
        with pytest.raises(Preempted):
            fit("from_regression_cut", **bad)
    resumed = fit("from_regression_cut", **bad)
    assert "Resuming from step 2" in resumed.said
    for name, array in whole.weights(runs.BEST_WEIGHTS).items():
        np.testing.assert_array_equal(array, resumed.weights(runs.BEST_WEIGHTS)[name], err_msg=name)


def test_kept_features_are_refused_where_they_would_not_be_the_photos(fit, home):
    with pytest.raises(UserError, match="--feature_views=1 is not possible: it needs --unfreeze=head"):
        TrainOptions(feature_views=1)
    with pytest.raises(
        UserError, match="--feature_views=1 is not possible: it does not work with --augment_validation"
    ):
        TrainOptions(feature_views=1, unfreeze="head", augment_validation=True)
    said = r"--feature_views=1 keeps features of single photos, and --augment=mixup\(0.2\) mixes photos: leave one"
    with pytest.raises(UserError, match=said):
        fit("mixed", feature_views=1, unfreeze="head", augment="mixup(0.2)")
    assert not (home / "mixed").exists()


# --- metric


def test_the_training_follows_the_metric(fit):
    """Two epochs: the history has the metric, and the best weights are those of its best epoch."""
    answer = fit("graded", metric="qwk", evaluated=True)
    metrics, scores = json.loads((answer.directory / runs.METRICS_FILE).read_text()), answer.history.val_score
    assert "Metric: qwk." in answer.said
    assert metrics["metric"] == json.loads((answer.directory / runs.STAGE_FILE).read_text())["metric"] == "qwk"
    assert metrics["val_score"] == metrics["evaluation"]["score"] == pytest.approx(scores.max(), abs=1e-6)
    assert scores[metrics["best_epoch"] - 1] == scores.max()
    assert f"Quadratic weighted kappa {metrics['val_score']:.4f} on 8 held-out photos." in answer.said


def test_the_metric_of_the_accuracy_changes_no_file(plain):
    assert list(plain.history.columns) == list(callbacks.HISTORY_COLUMNS)
    metrics = json.loads((plain.directory / runs.METRICS_FILE).read_text())
    assert (metrics["metric"], metrics["val_score"]) == ("accuracy", metrics["val_accuracy"])
    assert "Metric:" not in plain.said


def test_a_metric_that_answers_are_not_scored_by_is_refused(fit, dataset, home, monkeypatch):
    form = Form("label", ("Id", "Category"), ("Category",))
    labelled = dataclasses.replace(dataset, form=form)
    monkeypatch.setattr(train, "load_manifest", lambda directory: labelled)
    with pytest.raises(UserError, match="--metric=log_loss scores probabilities, but the sample submission asks"):
        fit("wrong_metric", metric="log_loss")
    assert not (home / "wrong_metric").exists()


# --- swa_epochs


@pytest.fixture
def compared_with(monkeypatch):
    """Returns a function that sets the accuracy that SWA must reach."""
    adopt = swa.adopt_if_better

    def compare(accuracy: float) -> None:
        monkeypatch.setattr(
            swa,
            "adopt_if_better",
            lambda *models, **arguments: adopt(*models, **(arguments | {"best_score": accuracy})),
        )

    return compare


def test_the_last_epochs_are_averaged(fit, dataset, compared_with):
    compared_with(0.0)
    answer = fit("averaged", evaluated=True, swa_epochs=2, epochs=3, steps=1)
    files = sorted((answer.directory / "epochs").glob("*.h5"))
    assert [path.name for path in files] == ["epoch-00002.weights.h5", "epoch-00003.weights.h5"]
    kept = [answer.weights(f"epochs/{path.name}") for path in files]
    best = answer.weights(runs.BEST_WEIGHTS)
    mean = {name: (kept[0][name] + kept[1][name]) / 2 for name in best}
    assert moved(kept[0], kept[1]) == {"stem", "block1", "block2", "block3", "head"}
    off = {name for name in best if not np.allclose(best[name], mean[name], rtol=1e-6, atol=1e-7)}
    (moving_mean, moving_variance) = sorted(off)  # of the head's BatchNorm; the rest is the mean
    hidden = hidden_before_norm(answer.directory / runs.BEST_WEIGHTS, dataset)
    np.testing.assert_allclose(best[moving_mean], hidden.mean(axis=1).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(best[moving_variance], hidden.var(axis=1).mean(axis=0), rtol=1e-3, atol=1e-6)
    metrics = json.loads((answer.directory / runs.METRICS_FILE).read_text())
    assert metrics["best_epoch"] is None
    assert f"Average of the last 2 epochs: val_accuracy {metrics['val_accuracy']:.4f}, and is kept." in answer.said
    assert re.search(r"Validation accuracy .* on 8 photos, of the last 2 averaged\.", answer.said)


def hidden_before_norm(weights: Path, dataset: Manifest) -> np.ndarray:
    """Returns the inputs of the head's BatchNorm in three epochs of one step each, float32 [3, 4, 128]."""
    classifier = build_classifier(backbone="tiny", weights="none", class_count=3, image_size=(SIDE, SIDE))
    classifier.load_weights(weights)
    framing = Framing(image_size=(SIDE, SIDE))
    model = build_photo_classifier(
        keras.Model(classifier.input, classifier.get_layer("head_dense").output), framing=framing, rendering=Rendering()
    )
    batches = training_batches(
        manifest=dataset, folds=[1, 2], framing=framing, recipe=parse_recipe(RECIPE), batch_size=4, epochs=3, seed=42,
        steps_per_epoch=1,
    )  # fmt: skip
    return np.stack([np.asarray(model(inputs)) for inputs, _, _ in batches])


def test_an_average_that_validates_worse_is_left(fit, compared_with):
    compared_with(1.01)
    answer = fit("left", swa_epochs=1, epochs=1, steps=1)
    assert (
        "Average of the last 1 epochs: val_accuracy does not reach that of the best epoch, which stays." in answer.said
    )
    best, last = answer.weights(runs.BEST_WEIGHTS), answer.weights()
    assert all(np.array_equal(best[name], last[name]) for name in best)


def test_a_run_that_stops_before_the_last_epochs_averages_nothing(fit):
    answer = fit("stopped", swa_epochs=2, epochs=4, steps=1, patience=2, learning_rate=1e-9)
    assert len(answer.history) == 3
    assert [path.name for path in (answer.directory / "epochs").glob("*.h5")] == ["epoch-00003.weights.h5"]
    assert "Average: the run stopped before the last 2 epochs, so nothing is averaged." in answer.said


# --- class_weights


class EnoughError(Exception):
    """Training has come as far as the test needs."""


@pytest.mark.parametrize("text", ["balanced", "class 0:3,class 2:0.5"])
def test_class_weights_reach_the_photos(fit, dataset, monkeypatch, text):
    index = read_index(dataset)
    labels = index["label"][
        [place for place, row in enumerate(index["row"]) if row >= 8 and index["label"][place] >= 0]
    ]
    counts = np.bincount(labels)
    assert counts.tolist() == [5, 5, 6]  # of folds 1 and 2
    wanted = balanced_class_weights(counts.tolist()) if text == "balanced" else np.array([3.0, 1.0, 0.5])
    original = trainer.training_data

    def look(stage, **arguments):
        for _, target, weight in original(stage, **arguments):
            np.testing.assert_allclose(weight, np.asarray(target) @ wanted, rtol=1e-6)
        raise EnoughError

    monkeypatch.setattr(trainer, "training_data", look)
    with pytest.raises(EnoughError):
        fit("weighted", class_weights=text, label_smoothing=0.1, overwrite=True)


def test_a_class_that_does_not_exist_is_one_sentence_and_begins_no_run(fit, home):
    with pytest.raises(UserError) as error_info:
        fit("misspelt", class_weights="clas 1:2")
    assert str(error_info.value) == (
        "--class_weights names the class 'clas 1': did you mean class 1? Known are class 0, class 1, class 2."
    )
    assert not (home / "misspelt").exists()


# --- advice that changes what a run is


@pytest.mark.parametrize("anew", [{"overwrite": True}, {"run": "calm"}], ids=str)
def test_a_run_whose_loss_exploded_is_trained_as_advised(fit, anew):
    steep = {"run": "steep", "optimizer": "sgd", "epochs": 1, "steps": 3, "overwrite": True}
    with pytest.raises(UserError, match=r"lower --learning_rate, .*, in another --run, or here with --overwrite; "):
        fit(**steep, learning_rate=1e30)
    assert fit(**steep | {"overwrite": False} | anew, learning_rate=1e-3).history.loss.notna().all()


# --- how it learns


def test_the_focal_loss_takes_another_step(fit, one_step):
    focal = fit("focal", **ONE_STEP, loss="focal").history
    assert focal.loss[0] == pytest.approx(one_step.history.loss[0], rel=1e-5)  # it reports the cross-entropy
    assert focal.val_loss[0] != pytest.approx(one_step.history.val_loss[0], rel=1e-3)


def test_lower_blocks_learn_more_slowly(fit, one_step, home):
    decayed = fit("decayed", **ONE_STEP, lr_decay_by_block=0.5)
    before, whole, less = (kernels(w) for w in (initial_weights(home), one_step.weights(), decayed.weights()))
    for name, share in {"head": 1.0, "block3": 0.5, "block2": 0.25, "block1": 0.125, "stem": 0.0625}.items():
        step = whole[name] - before[name]
        assert np.abs(step).max() > 1e-4
        np.testing.assert_allclose(less[name] - before[name], share * step, atol=1e-6, err_msg=name)


def test_an_update_waits_for_its_batches(fit, home):
    """Each epoch is one step, and its weights are kept."""
    answer = fit("accumulated", accumulation_steps=2, steps=1, swa_epochs=2)
    first, second = (answer.weights(f"epochs/epoch-0000{number}.weights.h5") for number in (1, 2))
    assert moved(initial_weights(home), first) == set()
    assert moved(first, second) == {"stem", "block1", "block2", "block3", "head"}


def test_blocks_begin_to_learn_one_after_the_other(fit, home):
    answer = fit("gradual", unfreeze="gradual(1)", steps=1, swa_epochs=2)
    first, second = (answer.weights(f"epochs/epoch-0000{number}.weights.h5") for number in (1, 2))
    assert moved(initial_weights(home), first) == {"head"}
    assert moved(first, second) == {"head", "block3"}
    assert "Unfreezing: the head at epoch 1, block3 at 2; not within 2 epochs: block2, block1, stem." in answer.said


def test_a_block_and_what_lies_above_it_learn(fit, home):
    answer = fit("blocks", unfreeze="block2", epochs=1, steps=1)
    assert moved(initial_weights(home), answer.weights()) == {"block2", "block3", "head"}


def test_the_rate_falls_on_a_plateau(fit, monkeypatch):
    models = []
    make_models = trainer.make_models
    monkeypatch.setattr(trainer, "make_models", lambda stage: models.append(make_models(stage)) or models[-1])
    answer = fit("plateau", schedule="plateau", lr_period=1, lr_decay=0.5, learning_rate=1e-9, epochs=3, steps=1)
    assert answer.history.val_accuracy.nunique() == 1
    np.testing.assert_allclose(answer.history.learning_rate, [1e-9, 1e-9, 5e-10])
    (_, model) = models[0]
    assert float(model.optimizer.learning_rate_scale) == 0.25


def test_they_all_fit_into_one_compiled_step(fit):
    tf.config.run_functions_eagerly(False)
    try:
        answer = fit(
            "together", loss="focal", lr_decay_by_block=0.5, accumulation_steps=2, unfreeze="gradual(1)",
            schedule="plateau", class_weights="balanced", swa_epochs=1, stretch=True, epochs=1, render="separable",
        )  # fmt: skip
    finally:
        tf.config.run_functions_eagerly(True)
    assert np.isfinite(answer.history.loss[0])
    assert "Average of the last 1 epochs: val_accuracy" in answer.said


# --- chains


def test_a_stage_tells_what_it_changes_and_distrusts_another_split(fit, plain, home):
    child = {"init_from": str(plain.directory), "val_fold": 1, "epochs": 1, "steps": 1}
    with pytest.raises(UserError, match=r"held out fold 0 of .* this stage fold 1 .* or add --allow_split_change"):
        fit("child", **child)
    assert not (home / "child").exists()
    answer = fit("child", evaluated=True, allow_split_change=True, **child)
    assert "Against plain: val_fold 0 → 1, epochs 2 → 1, steps 2 → 1." in answer.said
    assert re.search(
        r"Warning: The parent run \S+/plain held out fold 0 .*: the validation accuracy of this stage will be "
        r"too good\.",
        answer.said,
    )
    assert json.loads((answer.directory / runs.STAGE_FILE).read_text())["parent"]["stage"] == "plain"
    assert (answer.directory / runs.METRICS_FILE).is_file()


# --- images


def test_cached_photos_are_the_same_photos(fit, plain, one_step, dataset, tmp_path):
    told = r"Cache: 24 decoded photos take 0\.00 GB of the \d+\.\d GB free in"
    assert "Cache" not in plain.said
    answer = fit("cached", cache="ram")  # its second validation reads what the first one cached
    assert re.search(rf"{told} memory\.", answer.said)
    assert_same_history(answer, plain)
    for run in ("writes_a_cache", "reads_a_cache"):
        answer = fit(run, **ONE_STEP, cache=str(tmp_path / "cache"))
        assert re.search(rf"{told} {tmp_path}/cache\.", answer.said)
        assert_same_history(answer, one_step)
    sums, pixels = sorted((tmp_path / "cache").iterdir(), key=lambda path: path.suffix, reverse=True)
    index = read_index(dataset)
    assert pixels.stat().st_size == 3 * int(index["height"].astype(int) @ index["width"].astype(int))
    validating, tests = index["row"] < 8, index["label"] < 0
    kept = np.fromfile(sums, "<u8") > 0
    assert kept[validating & ~tests].all()
    assert not kept[tests].any()
    assert kept.sum() >= 8 + 4  # the photos of one step


def test_validation_may_be_augmented(fit, one_step):
    augmented = fit("augmented", **ONE_STEP, augment_validation=True).history
    assert augmented.loss[0] == pytest.approx(one_step.history.loss[0], rel=1e-6)
    assert augmented.val_loss[0] != pytest.approx(one_step.history.val_loss[0], rel=1e-4)


def test_stretched_photos_reach_training_prediction_and_the_check(fit, one_step, dataset, monkeypatch):
    measured, predicting = [], []
    monkeypatch.setattr(input_check, "check_input_contract", lambda *arguments: measured.append(arguments[-1]))
    stretched = fit("stretched", **ONE_STEP, evaluated=True, stretch=True)
    assert json.loads((stretched.directory / runs.STAGE_FILE).read_text())["options"]["stretch"] is True
    np.testing.assert_allclose(measured[0].min(axis=(1, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(measured[0].max(axis=(1, 2, 3)), 255, atol=1e-3)
    assert stretched.history.loss[0] != pytest.approx(one_step.history.loss[0], rel=1e-3)

    build = programs.build_photo_classifier
    monkeypatch.setattr(
        programs, "build_photo_classifier", lambda *a, **k: predicting.append(build(*a, **k)) or predicting[-1]
    )
    for answer, stretch in ((stretched, True), (one_step, False)):
        run = runs.load_run(answer.directory)
        (predicted,) = dataset_predictions.predict_runs(
            [run], manifest=dataset, split="train", folds=[0], views=parse_views("clean"), batch_size=4, jit=False
        )
        assert predicting[-1].get_layer("render").stretch is stretch
        chosen = predicted.probabilities[np.arange(8), np.arange(8) % 3]
        assert -np.log(chosen).mean() == pytest.approx(run.metrics["val_loss"], rel=1e-4)


def test_a_row_of_the_wrong_range_is_refused_before_the_first_step(fit, home, monkeypatch):
    row = dataclasses.replace(backbones.BACKBONES["efficientnet_b0"], input_range=backbones.PLUS_MINUS_ONE)
    monkeypatch.setitem(backbones.BACKBONES, row.name, row)
    said = (
        r"The input is scaled wrongly: what the backbone efficientnet_b0 sees after its own rescaling lies in "
        r"-0\.003\d+ to 0\.003\d+ instead of spreading over 1 or 2"
    )
    with pytest.raises(UserError, match=said):
        fit("wrong_range", backbone="efficientnet_b0")
    assert not (home / "wrong_range").exists()


# --- timing


def test_the_time_of_every_epoch_is_told(plain):
    lines = plain.said.splitlines()
    start = next(
        number for number, line in enumerate(lines) if line.split() == ["epoch", "seconds", "images/s", "input", "wait"]
    )
    *epochs, total = (line.split() for line in lines[start + 1 : start + 4])
    history = plain.history
    for words, row in zip(epochs, history.to_dict("records"), strict=True):
        assert words == [
            str(row["epoch"]), f"{row['seconds']:.1f}", f"{row['images_per_second']:.1f}",
            f"{row['waiting_fraction']:.1%}",
        ]  # fmt: skip
    assert total == ["in", "all", f"{history.seconds.sum():.1f}"]
    assert history.waiting_fraction.between(0, 1, inclusive="neither").all()


# --- pseudo_labels


@pytest.fixture(scope="module")
def pseudo(dataset, tmp_path_factory) -> str:
    """Returns the path of pseudo-labels of three test photos."""
    path = tmp_path_factory.mktemp("pseudo") / "pseudo.csv"
    write_pseudo(path, dataset, confidence=0.75)
    return str(path)


def write_pseudo(path: Path, dataset: Manifest, *, confidence: float, fold: int = 0) -> None:
    teacher = pseudo_labels.Teacher("runs/teacher", "0" * 64, dataset.fingerprint, fold)
    pseudo_labels.write_pseudo_labels(
        path,
        ids=["test000.jpg", "test002.jpg", "test004.jpg"],
        classes=["class 0", "class 2", "class 1"],
        confidences=[confidence] * 3,
        provenance=pseudo_labels.Provenance("", dataset.fingerprint, (teacher,), "clean", 0.5, 1.0),
    )


PSEUDO = {"photos": {"steps": 0, "epochs": 1}, "features": {**FEATURES, "steps": 0}}


@pytest.mark.parametrize("kind", PSEUDO)
def test_a_run_with_pseudo_labels_that_is_interrupted_ends_as_the_uninterrupted_one(fit, pseudo, monkeypatch, kind):
    steps = []

    def sigterm_at_the_third(*_, **__):
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = fit(f"pseudo_{kind}", pseudo_labels=pseudo, **PSEUDO[kind])
    assert "Data: 19 training photos, 4 steps of 4 photos per epoch" in whole.said
    assert f"Pseudo-labels: 3 test photos are trained on, too ({pseudo})." in whole.said
    assert "somewhat too good" not in whole.said
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.TimingCallback, "on_train_batch_end", sigterm_at_the_third)
        with pytest.raises(Preempted, match="step 3 is saved"):
            fit(f"pseudo_cut_{kind}", pseudo_labels=pseudo, **PSEUDO[kind])
    resumed = fit(f"pseudo_cut_{kind}", pseudo_labels=pseudo, **PSEUDO[kind])
    assert_same_history(resumed, whole)
    for name, array in whole.weights().items():
        np.testing.assert_array_equal(array, resumed.weights()[name], err_msg=name)


@pytest.mark.parametrize("function", ["training_data", "feature_data"])
def test_the_confidence_reaches_the_photos(fit, pseudo, monkeypatch, function):
    original, counted = getattr(trainer, function), []

    def look(stage, *arguments, **keywords):
        found = original(stage, *arguments, **keywords)
        batches = found if function == "training_data" else found[0]()
        counted.extend(float(weight) for _, _, weights in batches for weight in weights)
        raise EnoughError

    monkeypatch.setattr(trainer, function, look)
    changes = {"unfreeze": "head", "keep_features": function == "feature_data", "head_start": "random"}
    with pytest.raises(EnoughError):
        fit("pseudo_weighted", pseudo_labels=pseudo, overwrite=True, batch_size=19, steps=1, epochs=1, **changes)
    assert sorted(counted) == [0.75] * 3 + [1.0] * 16


def test_the_regression_of_a_head_counts_pseudo_labels_by_their_confidence(fit, pseudo, monkeypatch):
    seen = []

    def look(photos, **_):
        seen.append(photos)
        raise EnoughError

    monkeypatch.setattr(head_regression, "fit_regression", look)
    with pytest.raises(EnoughError):
        fit("pseudo_regression", pseudo_labels=pseudo, unfreeze="head", overwrite=True)
    assert seen[0].weight.tolist() == [1.0] * 16 + [0.75] * 3
    assert seen[0].labels[16:].tolist() == [0, 2, 1]


def test_pseudo_labels_belong_to_a_run(fit, dataset, tmp_path, monkeypatch):
    path = tmp_path / "pseudo.csv"
    write_pseudo(path, dataset, confidence=0.75, fold=1)
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "train", lambda *_: (_ for _ in ()).throw(EnoughError))
        with pytest.raises(EnoughError):
            fit("pseudo_begun", pseudo_labels=str(path), **ONE_STEP)
    write_pseudo(path, dataset, confidence=0.5, fold=1)
    with pytest.raises(
        UserError, match=r"started with another content of --pseudo_labels=.*pseudo.csv than it has now"
    ):
        fit("pseudo_begun", pseudo_labels=str(path), **ONE_STEP)
    with pytest.raises(
        UserError, match=r"started with --pseudo_labels=pseudo.csv and this command has --pseudo_labels="
    ):
        fit("pseudo_begun", **ONE_STEP)
    answer = fit("pseudo_begun", pseudo_labels=str(path), overwrite=True, evaluated=True, **ONE_STEP)
    assert "have trained on photos of fold 0, so the validation accuracy may be somewhat too good" in answer.said
    copy = answer.directory / runs.APPLIED_PSEUDO_LABELS
    entry = runs.load_run(answer.directory).stage["data"]["pseudo_labels"]
    again = pseudo_labels.read_pseudo_labels(copy, dataset)
    assert entry == {"sha256": again.sha256, "photos": 3}
    assert runs.load_run(answer.directory).metrics["val_photos"] == 8
