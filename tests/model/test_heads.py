"""Every head learns, starts from a regression, and shows by its evidence where its logits come from."""

import keras
import numpy as np
import pytest

from carclf.errors import UserError
from carclf.model.classifier import build_classifier
from carclf.model.grad_cam import build_grad_cam
from carclf.model.head_start import start_head
from carclf.model.heads import HEADS, find_head
from carclf.model.pooling import AttentionPooling
from carclf.model.regression import FeatureSet, Regression

CLASSES, SIZE = 3, (32, 48)


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def build(head, **changes):
    keras.utils.set_random_seed(0)
    arguments = {"backbone": "tiny", "weights": "none", "class_count": CLASSES, "image_size": SIZE} | changes
    return build_classifier(head=head, **arguments)


def images(count=3):
    return np.random.default_rng(0).uniform(0, 255, (count, *SIZE, 3)).astype("float32")


def with_queries(classifier, scale=1.0):
    """Gives attentive pooling weights as if it were trained; any other head stays as it is."""
    pool = classifier.get_layer("head_pool")
    if isinstance(pool, AttentionPooling):
        pool.kernel.assign(scale * np.random.default_rng(2).normal(size=pool.kernel.shape))
    return classifier


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("linear", ["head_pool", "head_dropout", "logits"]),
        ("attention", ["head_pool", "head_dropout", "logits"]),
    ],
)
def test_a_head_without_a_hidden_layer_is_pooling_dropout_and_logits(head, names):
    model = build(head, dropout=0.5)
    assert [layer.name for layer in model.layers] == ["image", "input_range", "backbone", *names]
    assert model.get_layer("head_dropout").rate == 0.5
    assert model.losses == []


def test_an_unknown_head_is_told_with_the_nearest():
    with pytest.raises(UserError, match="no head 'atention': did you mean attention"):
        find_head("atention")


@pytest.mark.parametrize("head", HEADS)
def test_it_learns_in_every_layer(head):
    model = with_queries(build(head))
    model.get_layer("backbone").trainable = False
    model.compile(keras.optimizers.SGD(0.5), keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    before = [numbers(variable.value).copy() for variable in model.trainable_variables]
    model.train_on_batch(images(), np.eye(CLASSES, dtype="float32"))
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert (numbers(variable.value) != old).any(), variable.path


@pytest.mark.parametrize("head", HEADS)
def test_it_begins_where_a_regression_ends(head):
    model = with_queries(build(head))
    features = numbers(keras.Model(model.input, model.get_layer("head_pool").input)(images()))
    means = features.mean(axis=(1, 2))
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(means.shape[1], CLASSES))
    wanted = Regression(kernel - kernel.mean(axis=1, keepdims=True), rng.normal(size=CLASSES), 0.1)
    start_head(model, wanted, FeatureSet([means], np.arange(CLASSES), CLASSES, np.ones(3, np.float32)))
    np.testing.assert_allclose(numbers(model(images())), wanted.logits(means), atol=1e-3)


@pytest.mark.parametrize("head", HEADS)
def test_its_evidence_adds_up_to_the_logits(head):
    model = with_queries(build(head))
    found = build_grad_cam(model)(images())
    logits, evidence = numbers(found["logits"]), numbers(found["evidence"])
    assert evidence.shape == (3, 2, 3, CLASSES)
    np.testing.assert_allclose(logits, numbers(model(images())), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(evidence.mean(axis=(1, 2)), logits, rtol=1e-3, atol=1e-5)  # new biases are 0
    assert np.ptp(evidence, axis=(1, 2)).min() > 0


def test_attention_without_queries_is_the_mean():
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 16)).astype("float32")
    np.testing.assert_allclose(numbers(AttentionPooling()(features)), features.mean(axis=(1, 2)), atol=1e-6)


def test_attention_finds_the_position_that_a_query_asks_for():
    """Two groups of two channels: the first looks for a direction of the features, the second for its opposite."""
    layer = AttentionPooling(queries=2)
    features = np.zeros((1, 2, 2, 4), "float32")
    features[0, 0, 1] = [3, 1, -1, -3]
    features[0, 1, 0] = [-3, -1, 1, 3]
    layer.build(features.shape)
    layer.kernel.assign(np.array([[90, -90], [0, 0], [0, 0], [-90, 90]]))
    np.testing.assert_allclose(numbers(layer(features)), [[3, 1, 1, 3]], atol=1e-4)
    weighted = numbers(layer.weighted(features))[0]
    np.testing.assert_allclose(weighted[0, 1], [12, 4, 0, 0], atol=1e-3)  # four positions: times 4
    np.testing.assert_allclose(weighted[1, 0], [0, 0, 4, 12], atol=1e-3)


@pytest.mark.parametrize(("width", "queries"), [(1280, 8), (12, 6), (7, 7), (13, 1)])
def test_the_queries_divide_the_channels(width, queries):
    layer = AttentionPooling()
    layer.build((None, 2, 2, width))
    assert tuple(layer.kernel.shape) == (width, queries)
    assert layer.count_params() < 1_500_000


def test_it_is_the_same_size_for_any_image(tmp_path):
    small = with_queries(build("attention"))
    small.save_weights(tmp_path / "small.weights.h5")
    large = build("attention", image_size=(64, 64))
    large.load_weights(tmp_path / "small.weights.h5")
    np.testing.assert_array_equal(
        numbers(large.get_layer("head_pool").kernel.value), numbers(small.get_layer("head_pool").kernel.value)
    )


@pytest.mark.parametrize("head", HEADS)
def test_a_saved_model_is_the_same(head, tmp_path):
    model = with_queries(build(head))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(numbers(again(images())), numbers(model(images())), atol=1e-5)
