"""Engines give the probabilities of Keras, or Keras answers: networks, heads, batches, views, runs, and what fails."""

import configparser
import dataclasses
import functools
from pathlib import Path

import keras
import numpy as np
import pytest

from carclf.data.photos import read_photos
from carclf.device import Device
from carclf.engines import choice, switch
from carclf.engines.agreement import TOLERANCE, feature_difference, probability_difference
from carclf.engines.choice import EngineChoice, Engines, Work, fastest, plan_engines
from carclf.engines.frozen import FrozenGraph, freeze
from carclf.engines.table import ENGINES, Engine, Forward
from carclf.errors import UserError
from carclf.inference.dataset_predictions import predict_runs
from carclf.inference.photo_predictor import PhotoPredictor
from carclf.model.classifier import batch_norm_layers, build_classifier
from carclf.model.heads import HEADS
from carclf.probing.extractors import Extractor
from carclf.probing.kept import keep_features
from carclf.recipe import parse_views
from carclf.runs import Member
from carclf.serving import model as serving_model
from carclf.serving.model import ServedModel, Task
from tests.inference.made_runs import make_run, render_not_compiled

CPU = Device(kind="cpu", backend="tensorflow", replicas=1, precision="float32", jit=False)
OTHERS = [name for name, row in ENGINES.items() if row.load is not None]
VIEWS = parse_views("clean|flip*2")
HOW = {"split": "test", "views": VIEWS, "batch_size": 2, "jit": False}  # two batches and a remainder


@pytest.fixture(scope="module", autouse=True)
def quick_render():
    with render_not_compiled():
        yield


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "one", dataset)


@pytest.fixture(scope="module")
def other(dataset, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "two", dataset, seed=2)


@pytest.fixture(scope="module")
def by_keras(dataset, run, other):
    return [predicted.probabilities for predicted in predict_runs([run, other], manifest=dataset, **HOW)]


def needs(name: str) -> None:
    if ENGINES[name].missing:
        pytest.skip(f"extra {name} is not installed")


def lively(network: keras.Model, images: np.ndarray) -> keras.Model:
    """The network with statistics that fit its random weights, so that its outputs depend on the images."""
    for norm in batch_norm_layers(network):
        norm.momentum = 0.0
    network(images, training=True)
    return network


@functools.cache
def frozen(backbone: str, side: int, head: str) -> tuple[keras.Model, np.ndarray, FrozenGraph]:
    keras.utils.set_random_seed(0)
    classifier = build_classifier(
        backbone=backbone, weights="none", class_count=5, image_size=(side, side), head=head, head_width=8
    )
    images = np.random.default_rng(0).uniform(0, 255, (6, side, side, 3)).astype(np.float32)
    for variable in classifier.trainable_variables:
        if variable.name == "queries":
            variable.assign(keras.random.normal(variable.shape, stddev=3.0, seed=1))
    # Over few images some variances are tiny, which multiplies the rounding.
    lively(classifier, np.random.default_rng(1).uniform(0, 255, (64, side, side, 3)).astype(np.float32))
    return classifier, images, freeze(classifier)


NETWORKS = [
    *(("tiny", 32, head) for head in HEADS),
    ("mobilenet_v2", 32, "notebook"),
    pytest.param("efficientnet_b0", 32, "linear", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("backbone", "side", "head"), NETWORKS)
@pytest.mark.parametrize("name", OTHERS)
def test_every_engine_gives_the_probabilities_of_keras_for_any_batch(name, backbone, side, head):
    needs(name)
    classifier, images, graph = frozen(backbone, side, head)
    forward = ENGINES[name].load(graph, 1)
    for count in (6, 1):
        expected = np.asarray(graph.by_keras(images[:count]))
        found = forward(images[:count])
        assert found.dtype == np.float32
        assert probability_difference(found, expected) <= TOLERANCE
    assert np.asarray(classifier(images)).std(axis=0).max() > 0.1  # else the comparison would mean nothing


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_grouped_convolutions_and_gelu_are_loaded(name):
    needs(name)
    keras.utils.set_random_seed(0)
    classifier = build_classifier(backbone="convnext_tiny", weights="none", class_count=5, image_size=(32, 32))
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    found = ENGINES[name].load(freeze(classifier), 1)(images)
    np.testing.assert_allclose(found, np.asarray(classifier(images)), atol=1e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_an_engine_that_is_asked_for_answers_every_photo_in_every_view_of_every_run(
    name, dataset, run, other, by_keras
):
    needs(name)
    engines = plan_engines(name, CPU)
    found = predict_runs([run, other], manifest=dataset, engines=engines, **HOW)
    assert engines.used == [name]
    for ours, expected in zip(found, by_keras, strict=True):
        assert ours.rows.tolist() == list(range(5))
        np.testing.assert_allclose(ours.probabilities, expected, atol=TOLERANCE)


def test_photos_of_no_data_set_are_answered_by_an_engine(dataset, run, by_keras):
    photos = [encoded for _, encoded in sorted(read_photos(dataset, split="test", rows=range(5)).items())]
    engines = Engines("fake", {"fake": FAKES["right"]})
    found = PhotoPredictor([run], views=VIEWS, batch_size=2, engines=engines, photos=5).predict(photos)
    assert engines.used == ["fake"]
    np.testing.assert_allclose(found, by_keras[0], atol=TOLERANCE)


# Engines that need no package: Keras itself, but wrong or broken.
FAKES = {
    "right": Engine(title="Fake", load=lambda graph, threads: graph.by_keras),
    "wrong": Engine(title="Fake", load=lambda graph, threads: lambda images: graph.by_keras(images) * 1.01),
    "nan": Engine(title="Fake", load=lambda graph, threads: lambda images: graph.by_keras(images) * np.nan),
    "broken": Engine(title="Fake", load=lambda graph, threads: [][threads]),
}
SAID = {
    "wrong": "Warning: Fake and Keras differ by 0.",
    "nan": "Warning: Fake and Keras differ by nan on the first photos, more than 0.0001, so Keras answers.",
    "unfrozen": "Warning: Fake cannot run this network (no graph), so Keras does.",
    "broken": "Warning: Fake cannot run this network (list index out of range), so Keras does.",
}


@pytest.mark.parametrize("fault", SAID)
def test_keras_answers_and_says_so_where_an_engine_disagrees_or_fails(
    fault, dataset, run, by_keras, capsys, monkeypatch
):
    def freeze_nothing(network):
        raise ValueError("no graph")

    if fault == "unfrozen":
        monkeypatch.setattr(choice, "freeze", freeze_nothing)
    engines = Engines("fake", {"fake": FAKES.get(fault, FAKES["right"])})
    (found,) = predict_runs([run], manifest=dataset, engines=engines, **HOW)
    np.testing.assert_array_equal(found.probabilities, by_keras[0])
    assert engines.used == ["keras"]
    assert SAID[fault] in capsys.readouterr().err


@pytest.fixture
def ticking(monkeypatch):
    """Returns a network's forward pass that moves the clock, which nothing else moves, by so many seconds."""
    now = [0.0]
    monkeypatch.setattr(choice.time, "perf_counter", lambda: now[0])

    def ticks(forward: Forward, seconds: float) -> Forward:
        def timed(images: np.ndarray) -> np.ndarray:
            now[0] += seconds
            return forward(images)

        return timed

    return ticks


def trial(ticking, **seconds: float) -> EngineChoice:
    _, images, graph = frozen("tiny", 32, "linear")
    forwards = {name: ticking(graph.by_keras, each) for name, each in seconds.items()}
    timed = dataclasses.replace(graph, by_keras=forwards.pop("keras"))
    return fastest(timed, forwards, {"onnxruntime": 3.0, "openvino": 1.0}, images=images)


def test_a_trial_takes_the_fastest_and_prints_the_rate_of_each(ticking, capsys):
    chosen = trial(ticking, keras=0.6, onnxruntime=0.3, openvino=0.24)  # for 6 images
    assert (chosen.name, chosen.cost_seconds) == ("openvino", 1.0)
    assert chosen.saved_seconds == pytest.approx(0.06)
    assert capsys.readouterr().out == "Engine: OpenVINO, 25 images/s (Keras 10, ONNX Runtime 20).\n"


def test_an_engine_that_is_hardly_faster_does_not_take_over(ticking, capsys):
    assert trial(ticking, keras=0.6, openvino=0.57) == EngineChoice("keras", 0.0, 0.0)
    assert capsys.readouterr().out == "Engine: Keras, 10 images/s (OpenVINO 11).\n"


def test_nothing_is_loaded_for_few_photos_and_costly_engines_only_for_many(monkeypatch):
    loaded = []

    def loading(name: str) -> Engine:
        def load(graph, threads):
            loaded.append(name)
            return graph.by_keras

        return Engine(title=name, load=load, conversion={"cheap": 1.0, "costly": 5.0}[name])

    candidates = {name: loading(name) for name in ("costly", "cheap")}
    classifier, images, graph = frozen("tiny", 32, "linear")
    monkeypatch.setattr(choice, "freeze", lambda network: graph)
    monkeypatch.setattr(choice, "fastest", lambda *_, **__: EngineChoice("keras"))
    for left, expected in ((100, []), (1000, ["cheap"]), (10_000, ["cheap", "costly"])):
        loaded.clear()
        work = Work(
            left=left,
            first_seconds=2.0,
            image_seconds=0.02,  # Keras needs 2, 20 and 200 seconds
            images=lambda: images,
            expected=graph.by_keras(images),
        )
        Engines("auto", candidates).load(classifier, work, difference=probability_difference)
        assert loaded == expected


def test_auto_takes_over_after_a_trial_which_serves_all_networks_that_are_alike(
    dataset, run, other, by_keras, monkeypatch
):
    trials = []
    monkeypatch.setattr(choice, "EXPECTED_SAVING", 1e9)
    monkeypatch.setattr(choice, "fastest", lambda *_, **__: trials.append(1) or EngineChoice("fake", 1e9, 0.0))
    monkeypatch.setattr(switch, "TIMED_BATCHES", 2)
    engines = Engines("auto", {"fake": FAKES["right"]})
    found = predict_runs([run, other], manifest=dataset, engines=engines, **HOW)
    assert trials == [1]
    assert engines.used == ["keras", "fake"]
    for ours, expected in zip(found, by_keras, strict=True):
        np.testing.assert_allclose(ours.probabilities, expected, atol=TOLERANCE)


def tiring(graph: FrozenGraph, threads: int) -> Forward:
    """Returns a network that fails in its fourth batch."""
    calls = iter([graph.by_keras] * 3)
    return lambda images: next(calls)(images)


def test_where_an_engine_fails_later_keras_goes_on(dataset, run, by_keras, capsys):
    engines = Engines("fake", {"fake": Engine(title="Fake", load=tiring)})
    (found,) = predict_runs([run], manifest=dataset, engines=engines, **HOW)
    np.testing.assert_allclose(found.probabilities, by_keras[0], atol=1e-6)
    assert engines.used == ["fake", "keras"]
    assert capsys.readouterr().err.count("Warning: Fake cannot run this network (StopIteration), so Keras does.") == 1


# Agrees on the blank images of a rehearsal alone.
DECEITFUL = Engine(
    title="Fake",
    load=lambda graph, threads: lambda images: graph.by_keras(images) + np.float32([images.std() > 1, 0, 0]),
)


@pytest.mark.parametrize("engine", ["right", "deceitful"])
def test_a_server_answers_by_an_engine_if_that_agrees_on_its_first_photos_too(
    engine, dataset, run, monkeypatch, capsys
):
    monkeypatch.setattr(serving_model, "BATCH_SIZES", (1, 2))
    engines = Engines("fake", {"fake": FAKES["right"] if engine == "right" else DECEITFUL})
    model = ServedModel([Member(run.name, run.directory, (run,))], jit=False, engines=engines)
    model.warm_up()
    assert engines.used == ["fake"]
    photos = [model.prepare(raw) for raw in read_photos(dataset, split="test", rows=range(4)).values()]
    expected = PhotoPredictor([run], batch_size=2).predict_prepared(photos)
    found = [answer.probabilities for photo in photos for answer in model.answer([Task(photo, with_heat=False)])]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert engines.used == (["fake"] if engine == "right" else ["fake", "keras"])
    assert ("Fake and Keras differ by" in capsys.readouterr().err) == (engine == "deceitful")


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ({"kind": "gpu"}, "on a GPU, where Keras is the fastest"),
        ({"kind": "tpu", "backend": "jax"}, "on a TPU, where Keras is the fastest"),
        ({"backend": "jax"}, "with Keras on jax, whose networks it cannot read"),
        ({"precision": "mixed_bfloat16"}, "for a run in mixed_bfloat16, since it computes in float32"),
        ({"replicas": 2}, "on a CPU that is split into several devices"),
    ],
)
def test_where_only_keras_can_compute_others_are_refused_and_auto_is_keras(device, reason, monkeypatch):
    monkeypatch.setitem(ENGINES, "openvino", FAKES["right"])
    where = dataclasses.replace(CPU, **device)
    with pytest.raises(UserError) as raised:
        plan_engines("openvino", where)
    assert str(raised.value) == f"--engine=openvino is not possible {reason}: leave it out, or use --engine=keras."
    assert plan_engines("auto", where).candidates == plan_engines("keras", where).candidates == {}


def test_where_an_extra_is_missing_auto_does_without_and_asking_for_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(ENGINES, "openvino", dataclasses.replace(FAKES["right"], packages={"not_there": "not-there"}))
    monkeypatch.setitem(ENGINES, "onnxruntime", FAKES["right"])
    assert list(plan_engines("auto", CPU).candidates) == ["onnxruntime"]
    with pytest.raises(
        UserError, match=r"--engine=openvino needs not-there, which is not installed: pip install .*openvino\]"
    ):
        plan_engines("openvino", CPU)


@pytest.mark.parametrize("engine", ["right", "wrong"])
def test_kept_features_are_those_of_keras_and_say_what_computed_them(engine, dataset, tmp_path, capsys):
    how = {
        "manifest": dataset,
        "views": ["undrawn", "mirrored"],
        "fit": "squash",
        "batch_size": 16,  # 24 photos
        "jit": False,
    }
    extractor = Extractor("tiny", (32, 32), "none")
    engines = Engines("fake", {"fake": FAKES[engine]})
    found = keep_features(extractor, engines=engines, directory=tmp_path / "fake", **how)
    expected = keep_features(extractor, engines=Engines(), directory=tmp_path / "keras", **how)
    assert (found.engines, expected.engines) == (("fake",) if engine == "right" else ("keras",), ("keras",))
    for ours, theirs in zip(found.views, expected.views, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    assert expected.views[0].std(axis=0).max() > 1e-3
    assert ("Fake and Keras differ by 0.01" in capsys.readouterr().err) == (engine == "wrong")
    again = keep_features(extractor, engines=Engines(), directory=tmp_path / "fake", **how)
    assert again.engines == found.engines


@pytest.mark.parametrize("name", OTHERS)
def test_every_engine_has_an_extra_of_its_name_that_brings_its_packages(name):
    metadata = configparser.ConfigParser()
    metadata.read(Path(__file__).parent.parent.parent / "setup.cfg")
    brought = {line.split(">=")[0] for line in metadata["options.extras_require"][name].split()}
    assert set(ENGINES[name].packages.values()) <= brought


def test_features_are_compared_with_the_largest():
    expected = np.array([[100.0, 1.0]], np.float32)
    assert feature_difference(expected + np.float32(0.005), expected) == pytest.approx(5e-5, rel=0.01)
    assert not feature_difference(expected * np.nan, expected) <= TOLERANCE
