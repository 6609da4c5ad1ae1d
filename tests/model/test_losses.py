import keras
import numpy as np
import pytest

from carclf.errors import UserError
from carclf.model.losses import LOSSES, build_loss

TARGET = np.float32([[1, 0, 0], [0, 0, 1], [0.7, 0.2, 0.1], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]])
LOGITS = np.float32([[2, -1, 0.5], [1, 2, -3], [0, 0, 0], [5, -4, 1], [-1, 2, 7]])
EXTREME = np.float32([[0, 0, 90], [0, -300, 40], [1e4, 0, -1e4], [500, 500, -500], [30, 0, 0]])


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def reference(target, logits, gamma):
    """float64, by the formula step by step, with the complement as the sum of the other probabilities."""
    logits = logits.astype(np.float64)
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    p = np.exp(log_p)
    complement = np.stack([np.delete(p, k, axis=1).sum(axis=1) for k in range(p.shape[1])], axis=1)
    return -(target * complement**gamma * log_p).sum(axis=1)


@pytest.mark.parametrize("logits", [LOGITS, EXTREME], ids=["moderate", "extreme"])
@pytest.mark.parametrize(("name", "gamma"), [("cross_entropy", 2.0), ("focal", 0.0), ("focal", 0.5), ("focal", 2.0)])
def test_the_loss_of_each_photo_follows_the_formula(name, gamma, logits):
    loss = build_loss(name, focal_gamma=gamma).call(TARGET, logits)
    assert (keras.backend.standardize_dtype(loss.dtype), loss.shape) == ("float32", (5,))
    expected = reference(TARGET, logits, 0.0 if name == "cross_entropy" else gamma)
    np.testing.assert_allclose(numbers(loss), expected, rtol=2e-5, atol=1e-3 if gamma == 0.5 else 1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_equals_that_of_keras_where_keras_is_exact(gamma):
    theirs = keras.losses.categorical_focal_crossentropy(TARGET, LOGITS, alpha=1.0, gamma=gamma, from_logits=True)
    ours = build_loss("focal", focal_gamma=gamma).call(TARGET, LOGITS)
    np.testing.assert_allclose(numbers(ours), numbers(theirs), rtol=1e-4, atol=1e-6)


def test_the_mean_is_weighted_over_the_photos():
    weight = np.float32([1, 0, 2, 1, 1])
    for name in LOSSES:
        loss = build_loss(name)
        each = numbers(loss.call(TARGET, LOGITS))
        assert float(numbers(loss(TARGET, LOGITS, sample_weight=weight))) == pytest.approx((each * weight).sum() / 5)


def slope(loss, target, logits):
    """d loss / d logits, by one step of gradient descent at rate 1 on a bias."""
    bias = keras.layers.Dense(len(logits), name="bias", kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), bias])
    bias.bias.assign(logits)
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=keras.backend.backend() == "jax")
    model.train_on_batch(np.zeros((1, 1), "float32"), target[None])
    return logits - numbers(bias.bias.value)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0.0, 40.0, 0.0], [-1.0, 1.0, 0.0]),  # badly wrong: learnt at full strength, where Keras's own has slope 0
        ([200.0, 0.0, 0.0], [0.0, 0.0, 0.0]),  # certain and right: nothing to learn, and no NaN
        ([-1e4, 0.0, 1e4], [-1.0, 0.0, 1.0]),
    ],
)
def test_the_slope_is_finite_and_right_at_extreme_logits(gamma, logits, expected):
    measured = slope(build_loss("focal", focal_gamma=gamma), np.float32([1, 0, 0]), np.float32(logits))
    np.testing.assert_allclose(measured, expected, atol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_it_is_float32_in_mixed_precision(name):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        loss = build_loss(name)(TARGET, EXTREME)
    finally:
        keras.config.set_dtype_policy("float32")
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert float(numbers(loss)) == pytest.approx(float(numbers(build_loss(name)(TARGET, EXTREME))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "focl"}, "no loss 'focl': did you mean focal"),
        ({"name": "hinge"}, "Known are cross_entropy, focal"),
        ({"name": "focal", "focal_gamma": -1.0}, "--focal_gamma is -1.0"),
        ({"name": "focal", "focal_gamma": float("nan")}, "--focal_gamma is nan"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        build_loss(**arguments)
