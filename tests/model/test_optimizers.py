import keras
import numpy as np
import pytest

from carclf.errors import UserError
from carclf.model.optimizers import OPTIMIZERS, build_optimizer
from carclf.model.schedules import build_schedule

SCHEDULE = build_schedule("exponential", learning_rate=0.1, steps_per_epoch=1, epochs=4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_row_takes_a_step_and_follows_the_schedule(name):
    optimizer = build_optimizer(name, schedule=SCHEDULE, clip_norm=1.0, ema_momentum=0.9)
    kernel = keras.Variable(np.ones((2, 2), "float32"), name="kernel")
    optimizer.build([kernel])
    optimizer.apply([keras.ops.ones((2, 2))], [kernel])
    assert np.all(keras.ops.convert_to_numpy(kernel) < 1.0)
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == pytest.approx(0.09)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("adam", {"amsgrad": True, "weight_decay": None, "use_ema": False, "global_clipnorm": None}),
        ("adamw", {"amsgrad": True, "weight_decay": 0.004}),
    ],
)
def test_amsgrad_and_defaults(name, attributes):
    optimizer = build_optimizer(name, schedule=SCHEDULE, amsgrad=True)
    assert {key: getattr(optimizer, key) for key in attributes} == attributes


def test_sgd_has_nesterov_momentum():
    optimizer = build_optimizer("sgd", schedule=0.5)
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == 0.5


@pytest.mark.parametrize(("clip_norm", "length"), [(0.0, 20.0), (1.0, 1.0)])
def test_the_gradient_is_clipped_by_its_global_norm(clip_norm, length):
    optimizer = build_optimizer("sgd", schedule=1.0, clip_norm=clip_norm)
    optimizer.momentum = 0.0
    pair = [keras.Variable(np.zeros((2, 2), "float32"), name=name) for name in ("kernel", "kernel_2")]
    optimizer.build(pair)
    gradient = keras.ops.full((2, 2), np.float32(20.0 / np.sqrt(8)))  # two of these: global norm 20
    optimizer.apply([gradient, gradient], pair)
    moved = np.concatenate([keras.ops.convert_to_numpy(variable).ravel() for variable in pair])
    assert np.linalg.norm(moved) == pytest.approx(length, rel=1e-5)


def test_weight_decay_spares_bias_and_batch_norm():
    optimizer = build_optimizer("adam", schedule=0.1, weight_decay=0.5)
    names = ("kernel", "bias", "gamma", "beta")
    variables = [keras.Variable(np.ones(2, "float32"), name=name) for name in names]
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros(2) for _ in names], variables)
    values = {v.name: float(keras.ops.convert_to_numpy(v)[0]) for v in variables}
    assert values == {"kernel": pytest.approx(0.95), "bias": 1.0, "gamma": 1.0, "beta": 1.0}


def test_the_ema_of_the_weights_is_stored_next_to_them():
    optimizer = build_optimizer("sgd", schedule=1.0, ema_momentum=0.75)
    optimizer.momentum = 0.0
    kernel = keras.Variable(np.zeros(1, "float32"), name="kernel")
    optimizer.build([kernel])
    for _ in range(2):
        optimizer.apply([keras.ops.ones(1)], [kernel])
    assert float(keras.ops.convert_to_numpy(kernel.value)[0]) == -2.0
    optimizer.finalize_variable_values([kernel])  # the first step copies: −1, then 0.75·(−1) + 0.25·(−2)
    assert float(keras.ops.convert_to_numpy(kernel.value)[0]) == pytest.approx(-1.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "adamm"}, "no optimizer 'adamm': did you mean adam"),
        ({"name": "lion"}, "Known are adam, nadam, adamax, adamw, sgd"),
        ({"name": "nadam", "amsgrad": True}, "nadam has no AMSGrad variant: leave out --amsgrad, or use adam or adamw"),
        ({"name": "sgd", "amsgrad": True}, "sgd has no AMSGrad variant"),
        ({"name": "adam", "clip_norm": -1.0}, "--clip_norm is -1.0"),
        ({"name": "adam", "weight_decay": float("nan")}, "--weight_decay is nan"),
        ({"name": "adam", "ema_momentum": 1.0}, "--ema_momentum is 1.0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        build_optimizer(schedule=SCHEDULE, **arguments)
