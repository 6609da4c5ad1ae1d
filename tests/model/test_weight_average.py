import keras
import numpy as np
import pytest

from carclf.model.classifier import build_classifier, set_trainable
from carclf.model.weight_average import recompute_batch_norm, running_average

JIT = keras.backend.backend() == "jax"  # what each backend is quick with on a CPU


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_the_average_is_the_mean_of_all_states():
    rng = np.random.default_rng(0)
    states = [[rng.normal(size=(2, 3)).astype("float32"), np.int32([count])] for count in range(7)]
    average = None
    for count, state in enumerate(states):
        average = running_average(average, state, count=count)
    expected = np.mean([state[0] for state in states], axis=0, dtype=np.float64)
    np.testing.assert_allclose(average[0], expected, rtol=1e-13)
    assert average[0].dtype == np.float64
    assert average[1] == 6  # a counter is not averaged


def test_the_mean_of_equal_states_is_exact_to_the_bit():
    state = [np.float32([0.1, 1e-30, 3e8])]
    average = None
    for count in range(100):
        average = running_average(average, state, count=count)
    np.testing.assert_array_equal(average[0].astype("float32"), state[0])


@pytest.mark.parametrize(
    ("average", "weights", "count", "message"),
    [
        (None, [np.zeros(2)], 1, "None goes with a count of 0"),
        ([np.zeros(2)], [np.zeros(2)], 0, "None goes with a count of 0"),
        ([np.zeros(2)], [np.zeros(3)], 1, "not have the same shapes"),
        ([np.zeros(2)], [np.zeros(2), np.zeros(2)], 1, "not have the same shapes"),
    ],
)
def test_mismatched_states_are_refused(average, weights, count, message):
    with pytest.raises(ValueError, match=message):
        running_average(average, weights, count=count)


@pytest.fixture(scope="module")
def built():
    keras.utils.set_random_seed(1)
    return build_classifier(backbone="tiny", weights="none", class_count=3, image_size=(16, 16))


@pytest.fixture
def model(built):
    built.get_layer("head_norm").trainable = True
    set_trainable(built, unfreeze="block2", train_batch_norm=True)
    return built


def batches():
    rng = np.random.default_rng(2)
    return [rng.uniform(0, 255, (4, 16, 16, 3)).astype("float32") * scale for scale in (1.0, 0.25, 0.5)]


def state(model):
    return {v.path: numbers(v.value).copy() for v in model.variables if "seed" not in v.path}


def test_statistics_are_the_means_over_the_batches(model):
    """block1_bn is the lowest layer that is not frozen: its input does not depend on any other."""
    before = state(model)
    assert recompute_batch_norm(model, iter(batches()), jit=JIT) == 4
    after = state(model)
    changed = {path for path, values in after.items() if (values != before[path]).any()}
    norms = ("block1_bn", "block2_bn", "block3_bn", "head_norm")
    assert changed == {f"{norm}/moving_{kind}" for norm in norms for kind in ("mean", "variance")}
    backbone = model.get_layer("backbone")
    entrance = keras.Model(backbone.input, backbone.get_layer("block2_pool").output)
    entrance.compile(jit_compile=JIT)
    seen = [entrance.predict_on_batch(batch / np.float32(127.5) - 1) for batch in batches()]
    means, variances = (np.mean([of(x, axis=(0, 1, 2)) for x in seen], axis=0) for of in (np.mean, np.var))
    np.testing.assert_allclose(after["block1_bn/moving_mean"], means, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after["block1_bn/moving_variance"], variances, rtol=1e-4, atol=1e-7)
    assert backbone.get_layer("block1_bn").momentum == 0.9


def test_frozen_statistics_stay(model):
    set_trainable(model, unfreeze="all", train_batch_norm=False)
    model.get_layer("head_norm").trainable = False
    before = state(model)
    assert recompute_batch_norm(model, batches()) == 0
    assert all((values == before[path]).all() for path, values in state(model).items())


def ending_in_an_error():
    yield batches()[0]
    raise OSError("the photo is gone")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [([], ValueError, "at least one batch"), (ending_in_an_error(), OSError, "the photo is gone")],
)
def test_after_an_error_nothing_has_changed(model, given, error, message):
    before = state(model)
    with pytest.raises(error, match=message):
        recompute_batch_norm(model, given, jit=JIT)
    assert all((values == before[path]).all() for path, values in state(model).items())
    assert model.get_layer("head_norm").momentum == 0.99
