import dataclasses
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carclf.errors import UserError
from carclf.model.learning_rate import LearningRate
from carclf.model.schedules import SCHEDULES, SELF_WARMING, build_schedule, plateau_scale
from carclf.train_options import SCHEDULED

STAGE = {"learning_rate": 1e-3, "steps_per_epoch": 10, "epochs": 10}
FIRST, WARM_END, MIDDLE, LAST = 0, 20, 50, 99  # with two epochs of warm-up; the last is the last step of the stage


@pytest.mark.parametrize(
    ("name", "without_warmup", "with_warmup"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0], [0.05, 1.0, 1.0, 1.0]),
        ("plateau", [1.0, 1.0, 1.0, 1.0], [0.05, 1.0, 1.0, 1.0]),
        ("exponential", [1.0, 0.81, 0.59049, 0.387420489], [0.05, 1.0, 0.729, 0.4782969]),
        ("published", [1.0, 1.0, 0.951229425, 0.778800783], [0.05, 1.0, 1.0, 0.860707976]),
        ("step", [1.0, 0.9, 0.81, 0.6561], [0.05, 1.0, 0.9, 0.729]),
        ("cosine", [1.0, 0.904508497, 0.5, 0.000246720], [0.05, 1.0, 0.691341716, 0.000385482]),
        ("one_cycle", [0.040000000, 0.789369791, 0.793893451, 4e-6], None),
        ("cyclic_triangular", [0.0, 1.0, 0.5, 0.95], None),
        ("cyclic_triangular2", [0.0, 1.0, 0.25, 0.2375], None),
        ("cyclic_exp_range", [0.0, 0.81, 0.295245, 0.334752978], None),
    ],
)
def test_golden_values(name, without_warmup, with_warmup):
    plain = build_schedule(name, **STAGE)
    measured = [plain.at(step) / 1e-3 for step in (FIRST, WARM_END, MIDDLE, LAST)]
    np.testing.assert_allclose(measured, without_warmup, rtol=1e-5, atol=1e-8)
    if with_warmup:
        warm = build_schedule(name, **STAGE, warmup_epochs=2)
        measured = [warm.at(step) / 1e-3 for step in (FIRST, WARM_END, MIDDLE, LAST)]
        np.testing.assert_allclose(measured, with_warmup, rtol=1e-5)
        assert warm.at(19) == 1e-3  # the last step of the warm-up reaches the full rate


def test_every_schedule_has_golden_values():
    table = next(mark for mark in test_golden_values.pytestmark if mark.name == "parametrize")
    assert {row[0] for row in table.args[1]} == set(SCHEDULES)


@pytest.mark.parametrize("name", SCHEDULES)
def test_an_option_counts_for_the_schedules_that_depend_on_it(name):
    def rates(**changes: float) -> list[float]:
        schedule = build_schedule(name, **STAGE, **changes)
        scale = plateau_scale(
            [0.5] * 9, factor=schedule.decay, patience=schedule.period_epochs, min_scale=schedule.lowest_fraction
        )
        return [schedule.at(step) * (scale if schedule.follows_metric else 1.0) for step in range(100)]

    changes = {"lr_decay": {"decay": 0.5}, "lr_period": {"period_epochs": 3.0}, "lr_floor": {"lowest_fraction": 0.7}}
    counted = {option for option, changed in changes.items() if rates(**changed) != rates()}
    assert counted == {option for option, names in SCHEDULED.items() if name in names}


def test_exponential_is_the_notebooks_log():
    schedule = build_schedule("exponential", **STAGE)
    by_epoch = [schedule.at(epoch * 10) for epoch in range(10)]
    np.testing.assert_allclose(by_epoch, [1e-3 * 0.9**epoch for epoch in range(10)])
    assert schedule.at(9) == schedule.at(0) > schedule.at(10)  # a staircase


def test_published_is_the_notebooks_recurrence():
    schedule, rate = build_schedule("published", **STAGE), 1e-3
    for epoch in range(10):
        rate = rate if epoch < 5 else rate * math.exp(-0.05)
        assert schedule.at(epoch * 10 + 7) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("name", ["cosine", "cyclic_triangular", "cyclic_triangular2", "cyclic_exp_range"])
def test_lowest_fraction_is_the_low_end(name):
    schedule = build_schedule(name, **STAGE, lowest_fraction=0.25)
    rates = [schedule.at(step) for step in range(101)]
    assert min(rates) == pytest.approx(2.5e-4)


def test_one_cycle_follows_the_reference_formula():
    """Source: torch.optim.lr_scheduler.OneCycleLR, anneal_strategy "cos", default divisors."""

    def anneal(start, end, fraction):
        return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * fraction))

    schedule = build_schedule("one_cycle", learning_rate=1.0, steps_per_epoch=10, epochs=1)
    rise_end, fall_end = 0.3 * 10 - 1, 10 - 1
    expected = [
        anneal(1 / 25, 1.0, step / rise_end)
        if step <= rise_end
        else anneal(1.0, 1 / 25e4, (step - rise_end) / (fall_end - rise_end))
        for step in range(10)
    ]
    np.testing.assert_allclose([schedule.at(step) for step in range(10)], expected, rtol=1e-9)


def test_only_the_plateau_follows_the_metric():
    assert [name for name in SCHEDULES if build_schedule(name, **STAGE).follows_metric] == ["plateau"]


@pytest.mark.parametrize(
    ("history", "options", "expected"),
    [
        ([], {}, 1.0),
        ([0.5, 0.5], {}, 1.0),  # one epoch without improvement
        ([0.5, 0.5, 0.5], {}, 0.5),
        ([0.5, 0.4, 0.6, 0.6], {}, 1.0),  # an improvement restarts the count
        ([0.5, 0.50009, 0.50005], {}, 0.5),  # less than min_delta is no improvement
        ([0.5, 0.5, 0.5, 0.5], {}, 0.5),  # a drop restarts the count
        ([0.5] * 5, {}, 0.25),
        ([0.5] * 99, {"min_scale": 0.2}, 0.2),
        ([0.5, 0.4, 0.3], {"larger_is_better": False}, 1.0),
        ([0.5, 0.6, 0.7], {"larger_is_better": False}, 0.5),
        ([0.5, math.nan, 0.6], {}, 1.0),
        ([math.nan, math.nan], {}, 0.5),
    ],
)
def test_the_scale_drops_when_the_metric_stops_improving(history, options, expected):
    assert plateau_scale(history, factor=0.5, patience=2, **options) == expected


@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(st.integers(0, 12).map(lambda n: n / 12), max_size=20),
    patience=st.integers(1, 4),
    larger_is_better=st.booleans(),
)
def test_the_scale_equals_that_of_keras(history, patience, larger_is_better):
    model = SimpleNamespace(optimizer=SimpleNamespace(learning_rate=1.0))
    callback = keras.callbacks.ReduceLROnPlateau(
        "metric", factor=0.5, patience=patience, mode="max" if larger_is_better else "min", min_lr=0.03125
    )
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, metric in enumerate(history):
        callback.on_epoch_end(epoch, {"metric": metric})
    ours = plateau_scale(history, factor=0.5, patience=patience, min_scale=0.03125, larger_is_better=larger_is_better)
    assert ours == model.optimizer.learning_rate


@pytest.mark.parametrize("name", SCHEDULES)
def test_keras_sees_the_same_rate_at_every_step(name):
    warmup = 0.0 if name in SELF_WARMING else 1.5
    schedule = build_schedule(name, learning_rate=1e-3, steps_per_epoch=7, epochs=6, warmup_epochs=warmup)
    rate = LearningRate(schedule)
    in_keras = [float(keras.ops.convert_to_numpy(rate(step))) for step in range(45)]
    np.testing.assert_allclose(in_keras, [schedule.at(step) for step in range(45)], rtol=2e-6, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    steps_per_epoch=st.integers(1, 3000),
    epochs=st.integers(1, 200),
    fraction=st.floats(0, 1),
)
def test_a_rate_lies_between_zero_and_the_given_one(name, steps_per_epoch, epochs, fraction):
    schedule = build_schedule(name, learning_rate=0.5, steps_per_epoch=steps_per_epoch, epochs=epochs)
    rate = schedule.at(int(fraction * (steps_per_epoch * epochs - 1)))
    assert 0.0 <= rate <= 0.5 * (1 + 1e-12)


def test_the_compiled_train_step_follows_the_schedule():
    schedule = build_schedule("exponential", learning_rate=1.0, steps_per_epoch=2, epochs=3, warmup_epochs=1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(LearningRate(schedule)), loss=_minus_mean, jit_compile=False)
    one = np.ones((1, 1), "float32")
    positions = [0.0]
    for _ in range(6):  # the gradient is −1 everywhere: every step moves the weight by the rate
        model.train_on_batch(one, one)
        positions.append(float(model.get_weights()[0][0, 0]))
    np.testing.assert_allclose(np.diff(positions), [schedule.at(step) for step in range(6)], rtol=1e-5)
    assert schedule.at(5) == pytest.approx(0.9)


def _minus_mean(target, prediction):
    return -keras.ops.mean(prediction)


def test_the_schedule_survives_its_config():
    schedule = build_schedule("cosine", **STAGE, warmup_epochs=1, lowest_fraction=0.1)
    rate = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(LearningRate(schedule)))
    assert rate.schedule == schedule


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "cosin"}, "no schedule 'cosin': did you mean cosine"),
        ({"name": "zzz"}, "Known are constant, plateau, exponential"),
        ({"learning_rate": 0.0}, "learning rate is 0.0"),
        ({"learning_rate": math.nan}, "learning rate is nan"),
        ({"steps_per_epoch": 0}, "lower --batch_size"),
        ({"epochs": 0}, "0 epochs"),
        ({"warmup_epochs": 10}, "warm-up takes 10 of 10 epochs"),
        ({"warmup_epochs": -1}, "warm-up takes -1"),
        ({"decay": 1.5}, "decay is 1.5"),
        ({"period_epochs": 0.0}, "period is 0.0"),
        ({"lowest_fraction": 2.0}, "lowest fraction is 2.0"),
        ({"name": "one_cycle", "warmup_epochs": 1}, "rises by itself"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        build_schedule(**{"name": "cosine", **STAGE, **change})


def test_a_schedule_is_a_plain_dataclass():
    schedule = build_schedule("constant", **STAGE)
    assert dataclasses.replace(schedule, learning_rate=1.0).at(3) == 1.0
