"""Predictions in one compiled program: the same as Keras's own, with the current weights."""

import keras
import numpy as np
import pytest

from carclf.model.compile import compiled_prediction


@pytest.fixture(scope="module")
def model():
    """Sums of products, and a BatchNorm that would change its input if it were training."""
    image = keras.Input((2,))
    return keras.Model(image, keras.layers.BatchNormalization()(keras.layers.Dense(3)(image)))


def of_view(images, view):
    return images[:, view]


@pytest.mark.parametrize("jit", [False, True])
def test_it_predicts_as_the_model_does_and_never_trains(model, jit):
    images = np.random.default_rng(0).standard_normal((4, 5, 2)).astype(np.float32)
    predict = compiled_prediction(model, of_view, jit=jit)
    before = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    for view in range(5):
        logits = keras.ops.convert_to_numpy(predict(keras.ops.convert_to_tensor(images), np.int32(view)))
        expected = keras.ops.convert_to_numpy(model(images[:, view], training=False))
        np.testing.assert_allclose(logits, expected, atol=1e-6)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)


def test_it_uses_weights_that_are_set_later(model):
    predict = compiled_prediction(model, lambda images: images)
    images = keras.ops.ones((2, 2))
    predict(images)
    weights = model.get_weights()
    model.set_weights([np.zeros_like(weight) for weight in weights])
    assert not np.any(keras.ops.convert_to_numpy(predict(images)))
    model.set_weights(weights)
    assert np.any(keras.ops.convert_to_numpy(predict(images)))
