import keras
import numpy as np
import pytest

from carclf.model.batch_norm import STATISTICS_BATCHES, StatisticsPass, recompute_batch_norm
from carclf.model.classifier import build_classifier, set_trainable

JIT = keras.backend.backend() == "jax"  # what each backend is quick with on a CPU


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


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


def test_no_more_batches_are_read_than_the_statistics_need(model):
    read = iter([batches()[0]] * (STATISTICS_BATCHES + 2))
    recompute_batch_norm(model, read, jit=JIT)
    assert len(list(read)) == 2


def test_a_pass_is_compiled_once_for_any_weights(model, monkeypatch):
    statistics = StatisticsPass(model, jit=JIT)
    statistics.renew(batches())
    kernel = model.get_layer("backbone").get_layer("block1_conv").kernel
    kernel.assign(2.0 * kernel)
    found = state(model)
    statistics.renew(batches())
    again = state(model)
    recompute_batch_norm(model, batches(), jit=JIT)
    fresh = state(model)
    assert (again["block1_bn/moving_mean"] != found["block1_bn/moving_mean"]).any()
    for path, values in fresh.items():
        np.testing.assert_allclose(again[path], values, rtol=1e-6, err_msg=path)
