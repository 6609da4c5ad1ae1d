"""Whatever of carclf lies in a saved Keras model is found, with its settings and its state, by `load_model` alone."""

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import carclf.model
from carclf.model.batch_norm import _TrainingPass
from carclf.model.clipping import ClippedSum, clipping_the_sum
from carclf.model.fused_adam import FusedStep
from carclf.model.grad_cam import _Evidence
from carclf.model.layer_rates import LayerRates, with_layer_rates
from carclf.model.learning_rate import LearningRate
from carclf.model.losses import FocalCrossEntropy
from carclf.model.optimizers import OPTIMIZERS, build_optimizer
from carclf.model.pooling import AttentionPooling
from carclf.model.render import Render
from carclf.model.schedules import SCHEDULES, Factor, build_schedule
from carclf.model.score import Score
from carclf.model.tokens import PatchTokens, TokenMap
from carclf.model.whole_photo import WholePhoto

ROOT = Path(__file__).parent.parent.parent
# Bases of the registered classes, two that see a model from outside and are in none, and the step of the model that
# carclf.train never saves.
NEVER_SAVED = {LayerRates, ClippedSum, FusedStep, _Evidence, _TrainingPass}
SAVEABLE = (
    keras.layers.Layer,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.regularizers.Regularizer,
    keras.initializers.Initializer,
)
CONFIGURED = {
    "Render": Render(
        image_size=(8, 12), fill="constant", fill_value=7, mixing=False, erasing=True, stretch=True, method="separable",
        jit=False, branching=False,
    ),
    "WholePhoto": WholePhoto(image_size=(8, 12), fit="pad", least_side=80, fill="reflect", stretch=True),
    "AttentionPooling": AttentionPooling(queries=3),
    "FocalCrossEntropy": FocalCrossEntropy(1.5),
    "Score": Score("map@3", class_count=7, name="map"),
    "PatchTokens": PatchTokens(patch=(4, 2), grid=(3, 5), width=6, prefix=1),
    "TokenMap": TokenMap(grid=(3, 5), prefix=1, with_first=True),
    "LearningRate": LearningRate(
        build_schedule(
            "step", learning_rate=0.3, steps_per_epoch=7, epochs=9, warmup_epochs=0.5, decay=0.4, period_epochs=3,
            lowest_fraction=0.1, ahead_steps=2,
        )
    ),
}  # fmt: skip
STOCK = [getattr(keras.optimizers, row.builder) for row in OPTIMIZERS.values()]
OPTIMIZER_CLASSES = [
    make(optimizer)
    for optimizer in STOCK
    for make in (with_layer_rates, clipping_the_sum, lambda optimizer: clipping_the_sum(with_layer_rates(optimizer)))
]


def registered() -> dict[str, type]:
    names = keras.saving.get_custom_objects()
    return {name.removeprefix("carclf>"): names[name] for name in names if name.startswith("carclf>")}


def test_every_class_that_a_model_can_hold_is_registered():
    for module in pkgutil.iter_modules(carclf.model.__path__):
        importlib.import_module(f"carclf.model.{module.name}")
    found = {
        one
        for name, module in list(sys.modules.items())
        if name.startswith("carclf.model.")
        for _, one in inspect.getmembers(module, inspect.isclass)
        if one.__module__ == name and issubclass(one, SAVEABLE)
    }
    assert {Render, WholePhoto, FocalCrossEntropy, LearningRate} <= found
    assert found - NEVER_SAVED <= set(registered().values())


def test_every_registered_class_is_tested_here():
    assert registered().keys() == CONFIGURED.keys() | {made.__name__ for made in OPTIMIZER_CLASSES}


@pytest.mark.parametrize("name", CONFIGURED)
def test_a_class_comes_back_from_its_configuration_with_every_setting(name):
    one = CONFIGURED[name]
    serialized = keras.saving.serialize_keras_object(one)
    assert serialized["registered_name"] == f"carclf>{name}"
    again = keras.saving.deserialize_keras_object(serialized, safe_mode=True)
    assert type(again) is type(one)
    assert again.get_config() == one.get_config()


def test_a_saved_render_gives_the_same_images(tmp_path):
    rng = np.random.default_rng(3)
    inputs = {
        "canvas": rng.integers(0, 256, (2, 16, 16, 3), np.uint8),
        "extent": np.array([[16, 12], [9, 16]], np.float32),
        "geometry": np.tile(np.diag([0.8, -1.2, 1]).astype(np.float32), (2, 1, 1)),
        "colour": np.tile(np.eye(3, 4, dtype=np.float32) * 1.1, (2, 1, 1)),
    }
    symbolic = {name: keras.Input(array.shape[1:], dtype=str(array.dtype), name=name) for name, array in inputs.items()}
    layer = Render(image_size=(8, 12), fill="constant", fill_value=9, jit=False)
    keras.Model(symbolic, layer(symbolic)).save(tmp_path / "render.keras")
    again = keras.models.load_model(tmp_path / "render.keras")
    np.testing.assert_array_equal(np.asarray(again(inputs)), np.asarray(layer(inputs)))


def test_a_saved_whole_photo_gives_the_same_images(tmp_path):
    photo = np.random.default_rng(3).integers(0, 256, (1, 30, 20, 3), np.uint8)
    pixels = keras.Input((30, 20, 3), dtype="uint8")
    layer = WholePhoto(image_size=(8, 12), fit="pad", least_side=8, fill="constant", stretch=True)
    keras.Model(pixels, layer(pixels)).save(tmp_path / "whole.keras")
    again = keras.models.load_model(tmp_path / "whole.keras")
    np.testing.assert_array_equal(np.asarray(again(photo)), np.asarray(layer(photo)))


def small_model(optimizer) -> keras.Model:
    keras.utils.set_random_seed(4)
    layers = [keras.Input((3,)), keras.layers.Dense(2, name="first"), keras.layers.Dense(2, name="last")]
    model = keras.Sequential(layers, name="small")
    model.compile(optimizer=optimizer, loss=FocalCrossEntropy(1.5), jit_compile=False)
    return model


def step(model: keras.Model) -> list[np.ndarray]:
    gradients = [keras.ops.full(variable.shape, 0.5) for variable in model.trainable_variables]
    model.optimizer.apply(gradients, model.trainable_variables)
    return [np.asarray(weight) for weight in model.get_weights()]


@pytest.mark.parametrize("optimizer_class", OPTIMIZER_CLASSES, ids=lambda made: made.__name__)
def test_a_saved_model_trains_on_as_if_it_had_never_been_saved(optimizer_class, tmp_path):
    schedule = build_schedule("exponential", learning_rate=0.1, steps_per_epoch=1, epochs=5, decay=0.5)
    rates = {"factors": {"small/first/kernel": Factor(0.5, 2)}} if issubclass(optimizer_class, LayerRates) else {}
    optimizer = optimizer_class(
        learning_rate=LearningRate(schedule), weight_decay=0.1, global_clipnorm=0.7, use_ema=True, **rates
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])  # as `build_optimizer` does
    model = small_model(optimizer)
    step(model)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is optimizer_class
    assert again.optimizer.get_config() == model.optimizer.get_config()
    assert again.loss.get_config() == model.loss.get_config()
    for _ in range(2):
        for ours, theirs in zip(step(model), step(again), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_saved_schedule_gives_the_same_rates(schedule):
    made = LearningRate(build_schedule(schedule, learning_rate=0.1, steps_per_epoch=3, epochs=8))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert [again.schedule.at(step) for step in range(24)] == [made.schedule.at(step) for step in range(24)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A model with a layer, a schedule, a loss and an optimizer of carclf in it."""
    inputs = {
        name: keras.Input(shape, dtype=dtype, name=name)
        for name, shape, dtype in (
            ("canvas", (8, 8, 3), "uint8"), ("extent", (2,), "float32"), ("geometry", (3, 3), "float32"),
            ("colour", (3, 4), "float32"),
        )
    }  # fmt: skip
    images = Render(image_size=8, jit=False)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(images)))
    schedule = build_schedule("plateau", learning_rate=0.1, steps_per_epoch=1, epochs=5)
    model.compile(build_optimizer("adam", schedule=schedule), FocalCrossEntropy(1.0))
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return path


@pytest.mark.parametrize("imports", ["import carclf, keras", "import keras, carclf"])
def test_importing_carclf_is_all_that_loading_takes_in_a_fresh_process(imports, saved):
    program = (
        f"{imports}; model = keras.models.load_model({str(saved)!r});"
        "print(*sorted(type(one).__name__ for one in"
        " (model.layers[-3], model.loss, model.optimizer, model.optimizer._learning_rate)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax"},
        timeout=300,
    )
    assert answer.stdout.split() == ["FocalCrossEntropy", "LearningRate", "PacedAdam", "Render"], answer.stderr


def test_a_keras_that_is_too_old_is_imported_all_the_same(tmp_path):
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.py").write_text("version = 2")
    program = "import importlib.util, carclf; importlib.util.find_spec('keras'); import keras; print(keras.version)"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert answer.stdout.strip() == "2", answer.stderr
