import hashlib
import math
import os
from pathlib import Path

import keras
import numpy as np
import pytest

from carclf.errors import UserError
from carclf.model.classifier import build_classifier, set_trainable, synchronize_batch_norm

SEVERAL = ("efficientnet_b0", "convnext_tiny", "mobilenet_v2")
# These tests do not depend on the backend, and JAX compiles the initialiser of every shape separately (30 s).
slow_on_jax = pytest.mark.slow if keras.backend.backend() == "jax" else lambda test: test
SHARED = Path(os.environ.get("CARCLF_SHARED", Path(__file__).parents[3] / "shared"))
REAL_WEIGHTS = SHARED / "data" / "weights" / "mobilenet_v2_1.0_224_notop.weights.h5"


def tiny(**changes):
    return build_classifier(
        **{"backbone": "tiny", "weights": "none", "class_count": 4, "image_size": (32, 48)} | changes
    )


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, shape).astype("float32")


def test_the_head_is_the_notebooks():
    model = tiny()
    head = ["head_pool", "head_dense", "head_norm", "head_relu", "head_dropout", "logits"]
    assert [layer.name for layer in model.layers] == ["image", "input_range", "backbone", *head]
    dense = model.get_layer("head_dense")
    assert (dense.units, dense.use_bias, float(dense.kernel_regularizer.l2)) == (128, False, pytest.approx(0.01))
    assert model.get_layer("head_dropout").rate == 0.25
    logits = model.get_layer("logits")
    assert (logits.units, logits.activation) == (4, keras.activations.linear)
    assert model.input_shape == (None, 32, 48, 3)


def test_the_penalty_is_in_the_loss():
    model = tiny(l2=0.5)
    kernel = numbers(model.get_layer("head_dense").kernel.value)
    model(images(2, 32, 48, 3))
    assert [float(numbers(loss)) for loss in model.losses] == [pytest.approx(0.5 * float((kernel**2).sum()), rel=1e-5)]
    assert tiny(l2=0.0).losses == []


def test_the_backbone_sees_its_own_range():
    model = tiny()
    entrance = keras.Model(model.input, model.get_layer("input_range").output)
    seen = numbers(entrance(np.stack([np.zeros((32, 48, 3)), np.full((32, 48, 3), 255.0)]).astype("float32")))
    assert (seen.min(), seen.max()) == pytest.approx((-1.0, 1.0))


@slow_on_jax
def test_a_backbone_that_rescales_inside_gets_raw_values_and_normalises_once():
    model = build_classifier(backbone="b0", weights="none", class_count=2, image_size=(32, 32))
    assert "input_range" not in [layer.name for layer in model.layers]
    backbone = model.get_layer("backbone")
    entrance = keras.Model(backbone.input, backbone.get_layer("stem_conv_pad").input)
    white = numbers(entrance(np.full((1, 32, 32, 3), 255.0, "float32")))[0, 0, 0]
    np.testing.assert_allclose(white, [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_logits_are_float32_in_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = tiny()
        output = model(images(2, 32, 48, 3))
    finally:
        keras.config.set_dtype_policy("float32")
    assert keras.backend.standardize_dtype(output.dtype) == "float32"
    assert model.get_layer("head_dense").compute_dtype == policy.removeprefix("mixed_")
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in model.weights} == {"float32"}


@pytest.mark.parametrize("backbone", ["tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in SEVERAL)])
def test_the_weights_file_does_not_depend_on_the_networks_built_before(tmp_path, backbone):
    hashes = set()
    for number in range(3):
        keras.utils.set_random_seed(0)
        model = build_classifier(backbone=backbone, weights="none", class_count=3, image_size=(32, 32))
        names = [layer.name for layer in model._flatten_layers()]
        assert len(set(names)) == len(names)
        model.save_weights(tmp_path / f"{number}.weights.h5")
        hashes.add(hashlib.sha256((tmp_path / f"{number}.weights.h5").read_bytes()).hexdigest())
        keras.layers.Input((3,))
        keras.layers.Rescaling(2.0)
    assert len(hashes) == 1


@pytest.mark.parametrize("backbone", ["tiny", pytest.param("efficientnet_b0", marks=pytest.mark.slow)])
def test_weights_carry_over_to_another_image_size(tmp_path, backbone):
    small = tiny(backbone=backbone, image_size=(64, 64))
    small.save_weights(tmp_path / "small.weights.h5")
    large = tiny(backbone=backbone, image_size=(96, 128))
    large.load_weights(tmp_path / "small.weights.h5")
    for one, two in zip(small.get_weights(), large.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    again = tiny(backbone=backbone, image_size=(64, 64))
    again.load_weights(tmp_path / "small.weights.h5")
    batch = images(2, 64, 64, 3)
    np.testing.assert_array_equal(numbers(again(batch)), numbers(small(batch)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_count": 1}, "at least 2 classes, and the data set has 1"),
        ({"dropout": 1.0}, "Dropout is 1.0"),
        ({"backbone": "tyni"}, "did you mean tiny"),
        ({"image_size": (8, 64)}, "at least 16x16 pixels, not 8x64"),
        ({"weights": "missing.h5"}, "no weights file missing.h5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        tiny(**arguments)


# Trainable layers -----------------------------------------------------------------------------------------------------


def changed_by_one_step(model):
    """Returns the names of the layers whose values or statistics one training step changed."""
    model.compile(keras.optimizers.SGD(0.5), keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    every = [*model.get_layer("backbone").layers, *model.layers[3:]]
    before = {layer.name: [numbers(w.value).copy() for w in layer.weights] for layer in every}
    model.train_on_batch(images(4, 32, 48, 3), np.eye(4, dtype="float32"))
    return {
        layer.name
        for layer in every
        if any((numbers(w.value) != old).any() for w, old in zip(layer.weights, before[layer.name], strict=True))
    }


HEAD = {"head_dense", "head_norm", "logits"}
BLOCKS = ("stem", "block1", "block2", "block3")


@pytest.mark.parametrize(
    ("unfreeze", "train_batch_norm", "expected"),
    [
        ("head", False, HEAD),
        ("head", True, HEAD),
        ("all", False, HEAD | {f"{block}_conv" for block in BLOCKS}),
        ("all", True, HEAD | {f"{block}_{kind}" for block in BLOCKS for kind in ("conv", "bn")}),
        ("0.5", False, HEAD | {"block2_conv", "block3_conv"}),
        (
            "0.6875",
            False,
            HEAD | {"block1_conv", "block2_conv", "block3_conv"},
        ),  # 11 of 16 layers: block1_conv is the first
        ("0.625", False, HEAD | {"block2_conv", "block3_conv"}),
        ("0.5", True, HEAD | {"block2_conv", "block2_bn", "block3_conv", "block3_bn"}),
    ],
)
def test_one_step_changes_exactly_what_is_unfrozen(unfreeze, train_batch_norm, expected):
    model = tiny()
    set_trainable(model, unfreeze="all", train_batch_norm=True)  # an earlier stage must leave no trace
    set_trainable(model, unfreeze=unfreeze, train_batch_norm=train_batch_norm)
    assert changed_by_one_step(model) == expected


def test_the_summary_counts():
    model = tiny()
    summary = set_trainable(model, unfreeze="0.5", train_batch_norm=True)
    assert (summary.backbone_layers, summary.unfrozen_backbone_layers) == (16, 8)
    assert (summary.batch_norm_layers, summary.trainable_batch_norm_layers) == (4, 2)
    assert summary.weight_count == model.count_params()
    head = 192 * 128 + 2 * 128 + 128 * 4 + 4
    assert summary.trainable_weight_count == head + 9 * (64 * 128 + 128 * 192) + 2 * (128 + 192)
    assert str(summary) == (
        f"trainable: the head and the last 8 of 16 backbone layers, with 2 of the backbone's 4 BatchNorm layers: "
        f"{summary.trainable_weight_count:,} of {summary.weight_count:,} weights"
    )


@pytest.mark.slow
def test_half_of_b3_is_the_notebooks_192_of_384():
    model = build_classifier(backbone="b3", weights="none", class_count=10, image_size=(64, 64))
    summary = set_trainable(model, unfreeze="0.5", train_batch_norm=False)
    assert (summary.unfrozen_backbone_layers, summary.backbone_layers) == (192, 384)
    assert summary.trainable_batch_norm_layers == 0 < summary.batch_norm_layers


@pytest.mark.parametrize("unfreeze", ["", "0", "1.5", "-0.5", "nan", "half", "body"])
def test_an_unknown_unfreeze_is_refused(unfreeze):
    with pytest.raises(UserError, match="give head, all, a fraction"):
        set_trainable(tiny(), unfreeze=unfreeze, train_batch_norm=False)


def test_a_fraction_that_is_no_layer_is_refused_with_the_least_that_is_one():
    model = tiny()
    with pytest.raises(
        UserError, match=r"^--unfreeze=0.001 is none of the \d+ layers of tiny: give head, or a"
    ) as error:
        set_trainable(model, unfreeze="0.001", train_batch_norm=False)
    least = str(error.value).rpartition("at least ")[2].rstrip(".")
    assert set_trainable(model, unfreeze=least, train_batch_norm=False).unfrozen_backbone_layers == 1
    assert set_trainable(model, unfreeze="head", train_batch_norm=False).unfrozen_backbone_layers == 0


def test_batch_norm_is_synchronised_over_replicas():
    model = tiny()
    count = synchronize_batch_norm(model)
    norms = [layer for layer in [*model.get_layer("backbone").layers, *model.layers] if "_bn" in layer.name]
    norms.append(model.get_layer("head_norm"))
    on_tensorflow = keras.backend.backend() == "tensorflow"
    assert count == (5 if on_tensorflow else 0)
    assert all(norm.synchronized == on_tensorflow for norm in norms)


@slow_on_jax
def test_tiny_learns_shapes_from_scratch():
    """Rings against crosses of any colour, position and brightness; chance is 0.5."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 224)
    pictures = np.stack([_drawing(rng, label) for label in labels])
    model = tiny(class_count=2, image_size=(24, 24), dropout=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, jit_compile=False)
    for _ in range(6):
        for start in range(0, 160, 32):
            model.train_on_batch(pictures[start : start + 32], labels[start : start + 32])
    answers = numbers(model(pictures[160:])).argmax(axis=1)
    assert (answers == labels[160:]).mean() >= 0.85


def _drawing(rng, label):
    picture = np.full((24, 24, 3), rng.uniform(0, 120, 3), "float32")
    y, x = rng.integers(1, 9, 2)
    colour = rng.uniform(135, 255, 3)
    if label:
        picture[y : y + 14, x + 5 : x + 9] = picture[y + 5 : y + 9, x : x + 14] = colour
    else:
        picture[y : y + 14, x : x + 14] = colour
        picture[y + 3 : y + 11, x + 3 : x + 11] = picture[0, 0]
    return picture + rng.normal(0, 5, picture.shape).astype("float32")


@pytest.mark.skipif(not REAL_WEIGHTS.is_file(), reason="the real MobileNetV2 weights are not here")
def test_real_weights_load_to_the_last_tensor():
    """ImageNet features are far from random: loading changes every tensor, and the output depends on the photo."""
    options = {"backbone": "mobilenet_v2", "class_count": 8, "image_size": (64, 96)}
    untrained = build_classifier(weights="none", **options).get_layer("backbone")
    model = build_classifier(weights=str(REAL_WEIGHTS), **options)
    loaded = model.get_layer("backbone")
    kernels = [(a, b) for a, b in zip(loaded.weights, untrained.weights, strict=True) if a.name == "kernel"]
    assert len(kernels) == 52
    assert all((numbers(a.value) != numbers(b.value)).mean() > 0.5 for a, b in kernels)
    features = numbers(loaded(images(2, 64, 96, 3) / 127.5 - 1.0))
    assert features.shape == (2, 2, 3, 1280)
    assert np.isfinite(features).all()
    assert 0.0 <= features.min() < features.max() <= 6.0
    assert math.isfinite(float(numbers(model(images(2, 64, 96, 3))).sum()))
