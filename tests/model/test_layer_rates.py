import math
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from carclf.errors import UserError
from carclf.model.optimizers import OPTIMIZERS, build_optimizer, scaled_learning_rate, set_learning_rate_scale
from carclf.model.schedules import Factor, build_schedule
from tests import commands

ROOT = Path(__file__).parents[2]
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
JIT = not ON_TENSORFLOW  # what each backend is quick with on a CPU
EVERYTHING = {"clip_norm": 0.5, "ema_momentum": 0.75, "weight_decay": 0.125}


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def gradient(number, step):
    """float32 [3], another for every variable and step, of either sign."""
    return np.float32([0.3, -0.2, 0.7]) * np.float32(math.cos(1.3 * step + number) + 0.1)


class Bench:
    """Three variables of an optimizer, two of which decay, and the slots of each."""

    NAMES = ("kernel_a", "kernel_b", "bias_c")

    def __init__(self, name, *, factors=None, only=(0, 1, 2), schedule=0.1, **options):
        self.optimizer = build_optimizer(name, schedule=schedule, factors=factors, **options)
        self.only = only
        self.variables = [keras.Variable(np.full(3, 1.0 + i, "float32"), name=self.NAMES[i]) for i in only]
        self.optimizer.build(self.variables)

    def step(self, step):
        self.optimizer.apply([keras.ops.convert_to_tensor(gradient(i, step)) for i in self.only], self.variables)

    def values(self, name):
        return numbers(next(v for v in self.variables if v.name == name).value).copy()

    def slots(self, name):
        own = [v for v in self.optimizer.variables if name in v.name and "accumulator" not in v.name]
        return {v.name.split(name)[1]: numbers(v.value).copy() for v in own}


def paths(optimizer):
    """The paths of its variables without the numbers that Keras appends to repeated names."""
    return [re.sub(r"_\d+(?=/)", "", variable.path) for variable in optimizer.variables]


def assert_same(one, two, name, **tolerance):
    tolerance = tolerance or {"rtol": 0.0, "atol": 0.0}
    np.testing.assert_allclose(one.values(name), two.values(name), **tolerance)
    theirs = two.slots(name)
    assert one.slots(name).keys() == theirs.keys()
    for slot, values in one.slots(name).items():
        np.testing.assert_allclose(values, theirs[slot], **tolerance)


# The fused step -------------------------------------------------------------------------------------------------------

FACTORS = {"kernel_a": Factor(0.5), "kernel_b": Factor(1.0, 2), "bias_c": Factor(0.0)}


@pytest.mark.skipif(not ON_TENSORFLOW, reason="the kernel is TensorFlow's")
@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize(
    "options",
    [{}, {"amsgrad": True}, EVERYTHING, {"factors": FACTORS} | EVERYTHING, {"accumulation_steps": 2}],
    ids=["plain", "amsgrad", "everything", "layer rates", "accumulated"],
)
def test_the_fused_step_equals_that_of_keras(name, options):
    keras_own, fused = Bench(name, **options), Bench(name, fused=True, **options)
    for step in range(6):
        keras_own.step(step)
        fused.step(step)
    for variable in Bench.NAMES:
        assert_same(keras_own, fused, variable, rtol=1e-5, atol=1e-7)
    assert paths(fused.optimizer) == paths(keras_own.optimizer)


@pytest.mark.skipif(not ON_TENSORFLOW, reason="the kernel is TensorFlow's")
def test_a_fused_step_is_one_operation_for_each_variable():
    import tensorflow as tf

    for amsgrad, kernel in ((False, "ResourceApplyAdam"), (True, "ResourceApplyAdamWithAmsgrad")):
        bench = Bench("adam", fused=True, amsgrad=amsgrad)
        graph = tf.function(lambda bench=bench: bench.step(0)).get_concrete_function().graph
        kinds = [operation.type for operation in graph.get_operations()]
        assert kinds.count(kernel) == 3
        assert kinds.count("Pow") == 2, "the betas' powers are shared"


# Layer-wise learning rates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_factor_of_one_equals_keras_own_optimizer_to_the_bit(name):
    options = EVERYTHING | {"amsgrad": OPTIMIZERS[name].has_amsgrad}
    plain, extended = Bench(name, **options), Bench(name, factors={"kernel_a": Factor(1.0)}, **options)
    assert type(plain.optimizer).__module__.startswith("keras.")
    for step in range(4):
        plain.step(step)
        extended.step(step)
    for variable in Bench.NAMES:
        assert_same(plain, extended, variable)


def test_a_scaled_rate_equals_sgd_by_hand():
    bench = Bench("sgd", factors={"kernel_b": Factor(0.25), "bias_c": Factor(0.5)}, weight_decay=0.125)
    for step in range(3):
        bench.step(step)
    rows = [("kernel_a", 1.0, 0.125), ("kernel_b", 0.25, 0.125), ("bias_c", 0.5, 0.0)]
    for number, (name, scale, decay) in enumerate(rows):
        value, momentum, rate = np.full(3, 1.0 + number), np.zeros(3), 0.1 * scale
        for step in range(3):
            value -= value * decay * rate
            momentum = 0.9 * momentum - rate * gradient(number, step)
            value += 0.9 * momentum - rate * gradient(number, step)
        np.testing.assert_allclose(bench.values(name), value, rtol=1e-6)


def test_a_scaled_rate_equals_adam_by_hand():
    bench = Bench("adam", factors={"kernel_b": Factor(0.25)}, weight_decay=0.125, amsgrad=True)
    value, first, second, highest, rate = np.full(3, 2.0), 0.0, 0.0, 0.0, 0.1 * 0.25
    for step in range(4):
        bench.step(step)
        value -= value * 0.125 * rate
        first = 0.9 * first + 0.1 * gradient(1, step)
        second = 0.999 * second + 0.001 * gradient(1, step).astype("float64") ** 2
        highest = np.maximum(highest, second)
        corrected = rate * math.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        value -= corrected * first / (np.sqrt(highest) + 1e-7)
    np.testing.assert_allclose(bench.values("kernel_b"), value, rtol=2e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_scale_of_zero_changes_nothing(name):
    frozen = Bench(name, factors={"kernel_b": Factor(0.0)}, **EVERYTHING)
    without = Bench(name, only=(0, 2), **EVERYTHING)
    slots = frozen.slots("kernel_b")
    for step in range(3):
        frozen.step(step)
        without.step(step)
    np.testing.assert_array_equal(frozen.values("kernel_b"), np.full(3, 2.0, "float32"))
    average = frozen.slots("kernel_b").pop("_average")
    np.testing.assert_array_equal(average, np.full(3, 2.0, "float32"))  # so that swapping it in changes nothing
    for slot, values in frozen.slots("kernel_b").items():
        if slot != "_average":
            np.testing.assert_array_equal(values, slots[slot])
    for variable in ("kernel_a", "bias_c"):  # nor does it count in the norm of the gradient
        assert_same(frozen, without, variable)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_waiting_variable_is_later_updated_as_by_a_new_optimizer(name):
    options = {"ema_momentum": 0.75, "weight_decay": 0.0 if name == "nadam" else 0.125}
    waiting = Bench(name, factors={"kernel_b": Factor(0.5, first_step=3)}, **options)
    slots = waiting.slots("kernel_b")
    for step in range(3):
        waiting.step(step)
    np.testing.assert_array_equal(waiting.values("kernel_b"), np.full(3, 2.0, "float32"))
    waited = waiting.slots("kernel_b")
    assert all((waited[slot] == values).all() for slot, values in slots.items() if slot != "_average")
    new = Bench(name, factors={"kernel_b": Factor(0.5)}, only=(1,), **options)
    for step in range(3, 4 if name == "nadam" else 7):
        waiting.step(step)
        new.step(step)
    if name == "nadam":  # all variables share its product of momenta, so the first steps are shorter
        moved, whole = (abs(bench.values("kernel_b") - 2.0) for bench in (waiting, new))
        assert (moved < whole).all()
        assert (moved > 0.5 * whole).all()
    else:
        assert_same(waiting, new, "kernel_b", rtol=1e-6, atol=1e-7)


def test_a_waiting_variable_does_not_shorten_the_steps_of_the_others():
    waiting = Bench("sgd", factors={"kernel_b": Factor(1.0, first_step=2)}, clip_norm=0.1)
    without = Bench("sgd", only=(0, 2), clip_norm=0.1)
    for step in range(2):
        waiting.step(step)
        without.step(step)
    assert_same(waiting, without, "kernel_a")
    before = waiting.values("kernel_a")
    waiting.step(2)
    without.step(2)
    assert (abs(waiting.values("kernel_a") - before) < abs(without.values("kernel_a") - before)).all()


def test_a_factor_for_an_unknown_variable_is_refused():
    with pytest.raises(ValueError, match=r"no variable has. Received: \['kernel_x'\]"):
        Bench("adam", factors={"kernel_x": Factor(0.5), "kernel_a": Factor(0.5)})


def test_the_factors_survive_the_config():
    factors = {"kernel_b": Factor(0.5, first_step=3)}
    optimizer = build_optimizer("adam", schedule=0.1, factors=factors)
    config = optimizer.get_config()
    assert config["factors"] == {"kernel_b": (0.5, 3)}
    assert type(optimizer).from_config(config).get_config() == config


# Inside a train step --------------------------------------------------------------------------------------------------


def network():
    keras.utils.set_random_seed(7)
    inputs = keras.Input((2,))
    low = keras.layers.Dense(3, activation="tanh", name="low")
    return keras.Model(inputs, keras.layers.Dense(1, name="high")(low(inputs)))


def examples(count=24):
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, 2)).astype("float32"), rng.normal(size=(count, 1)).astype("float32")


def values_of(model):
    return [numbers(variable.value).copy() for variable in model.variables]


@pytest.mark.parametrize("jit", [False, True] if ON_TENSORFLOW else [True])
def test_a_waiting_layer_resumes_from_the_optimizers_variables(jit):
    factors = {"low/kernel": Factor(0.5, first_step=4), "low/bias": Factor(0.5, first_step=4)}
    x, y = examples()

    def started():
        model = network()
        optimizer = build_optimizer("adamw", schedule=0.05, factors=factors, **EVERYTHING)
        model.compile(optimizer, loss="mse", jit_compile=jit)
        optimizer.build(model.trainable_variables)
        return model

    whole, before = started(), started()
    start = values_of(whole)
    for step in range(6):
        whole.train_on_batch(x[4 * step : 4 * step + 4], y[4 * step : 4 * step + 4])
        if step == 2:
            assert [(a == b).all() for a, b in zip(start, values_of(whole), strict=True)] == [True, True, False, False]
            kept = values_of(whole), [numbers(v.value).copy() for v in whole.optimizer.variables]
    assert not any((a == b).all() for a, b in zip(start, values_of(whole), strict=True))
    for variable, values in zip([*before.variables, *before.optimizer.variables], [*kept[0], *kept[1]], strict=True):
        variable.assign(values)
    for step in range(3, 6):
        before.train_on_batch(x[4 * step : 4 * step + 4], y[4 * step : 4 * step + 4])
    for one, two in zip(values_of(whole), values_of(before), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_scale_of_the_plateau_schedule_is_set_between_epochs():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    schedule = build_schedule("plateau", learning_rate=1.0, steps_per_epoch=2, epochs=3)
    optimizer = build_optimizer("sgd", schedule=schedule)
    optimizer.momentum = 0.0
    model.compile(optimizer, loss=lambda target, output: -keras.ops.mean(output), jit_compile=JIT)
    positions, rates = [0.0], []

    class Drop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            positions.append(float(model.get_weights()[0][0, 0]))
            rates.append(float(numbers(model.optimizer.learning_rate)))
            set_learning_rate_scale(model.optimizer, 0.5 ** (epoch + 1))

    one = np.ones((6, 1), "float32")
    model.fit(one, one, batch_size=1, epochs=3, steps_per_epoch=2, callbacks=[Drop()], verbose=0)
    np.testing.assert_allclose(np.diff(positions), [2.0, 1.0, 0.5])  # the gradient is −1 everywhere
    assert rates == [1.0, 0.5, 0.25]
    assert [v.name for v in optimizer.variables].count("learning_rate_scale") == 1


def test_the_scale_is_set_through_a_loss_scale_and_missing_for_other_schedules():
    schedule = build_schedule("plateau", learning_rate=1.0, steps_per_epoch=2, epochs=3)
    wrapped = keras.optimizers.LossScaleOptimizer(build_optimizer("sgd", schedule=schedule))
    set_learning_rate_scale(wrapped, 0.25)
    assert float(numbers(wrapped.learning_rate)) == 0.25
    with pytest.raises(AttributeError, match="learning_rate_scale"):
        set_learning_rate_scale(build_optimizer("sgd", schedule=1.0), 0.5)


def test_a_loss_scale_can_wrap_it():
    model = network()
    factors = {"low/kernel": Factor(0.0), "high/bias": Factor(1.0, first_step=9)}
    optimizer = keras.optimizers.LossScaleOptimizer(build_optimizer("adam", schedule=0.1, factors=factors))
    model.compile(optimizer, loss="mse", jit_compile=JIT)
    before = values_of(model)
    model.train_on_batch(*examples(4))
    same = {v.path: (a == b).all() for v, a, b in zip(model.variables, before, values_of(model), strict=True)}
    assert same == {"low/kernel": True, "low/bias": False, "high/kernel": False, "high/bias": True}


MIRRORED = """
import numpy as np, keras, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from carclf.model.optimizers import build_optimizer
from carclf.model.schedules import Factor

def weights(strategy):
    keras.utils.set_random_seed(7)
    with strategy.scope():
        inputs = keras.Input((2,))
        low = keras.layers.Dense(3, activation="tanh", name="low")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(1, name="high")(low))
        factors = {"low/kernel": Factor(0.5, 2), "low/bias": Factor(0.0), "high/kernel": Factor(0.25)}
        optimizer = build_optimizer(
            "adamw", schedule=0.05, factors=factors, ema_momentum=0.75, weight_decay=0.125, replicas=2
        )
        model.compile(optimizer, loss="mse", jit_compile=False)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(16, 2)).astype("float32"), rng.normal(size=(16, 1)).astype("float32")
    start = model.get_weights()
    model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    return start, model.get_weights()

start, two = weights(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
_, one = weights(tf.distribute.get_strategy())
for a, b in zip(one, two):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
assert [bool((a == b).all()) for a, b in zip(start, two)] == [False, True, False, False], (start, two)
print("equal")
"""


@pytest.mark.skipif(not ON_TENSORFLOW, reason="MirroredStrategy is TensorFlow's")
def test_two_mirrored_devices_do_what_one_does():
    """`fit` swaps the EMA in at its end, so this compares the EMA too. (Keras clips on each device.)"""
    done = commands.run_program(MIRRORED, folder=ROOT)
    assert done.stdout.endswith("equal\n"), done.stderr


# Gradient accumulation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"ema_momentum": 0.5}], ids=["plain", "ema"])
def test_several_small_batches_equal_one_large_one(options):
    x, y = examples(24)
    model, small = network(), network()
    model.compile(build_optimizer("sgd", schedule=0.1, **options), loss="mse", jit_compile=JIT)
    accumulating = build_optimizer("sgd", schedule=0.1, accumulation_steps=4, **options)
    small.compile(accumulating, loss="mse", jit_compile=JIT)
    start = values_of(small)
    for step in range(3):
        for part in range(4):
            if part == 3 and step == 0:  # no update so far
                assert all((a == b).all() for a, b in zip(start, values_of(small), strict=True))
            first = 8 * step + 2 * part
            small.train_on_batch(x[first : first + 2], y[first : first + 2])
        model.train_on_batch(x[8 * step : 8 * step + 8], y[8 * step : 8 * step + 8])
    for one, two in zip(values_of(model), values_of(small), strict=True):
        np.testing.assert_allclose(one, two, rtol=0.0, atol=1e-6)
    if options:
        for each in (model, small):
            each.optimizer.finalize_variable_values(each.trainable_variables)
        for one, two in zip(values_of(model), values_of(small), strict=True):
            np.testing.assert_allclose(one, two, rtol=0.0, atol=1e-6)


def test_a_waiting_variable_starts_with_the_update_after_its_first_step():
    bench = Bench("adam", factors={"kernel_b": Factor(1.0, first_step=4)}, accumulation_steps=2)
    new = Bench("adam", only=(1,), accumulation_steps=2)
    for step in range(8):
        bench.step(step)
        if step == 3:
            np.testing.assert_array_equal(bench.values("kernel_b"), np.full(3, 2.0, "float32"))
        if step >= 4:
            new.step(step)
    assert_same(bench, new, "kernel_b", rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulation_steps": 0}, "--accumulation_steps is 0: give the number of batches"),
        ({"accumulation_steps": 2, "replicas": 2}, "--accumulation_steps=2 does not work on 2 devices"),
    ],
)
def test_impossible_accumulation_is_refused(options, message):
    if "replicas" in options and not ON_TENSORFLOW:
        assert build_optimizer("sgd", schedule=0.1, **options).gradient_accumulation_steps == 2
        return
    with pytest.raises(UserError, match=message):
        build_optimizer("sgd", schedule=0.1, **options)


# Scaling with the batch size ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "expected"), [("sgd", 0.4), ("adam", 0.2), ("nadam", 0.2), ("adamax", 0.2), ("adamw", 0.2)]
)
def test_the_rate_grows_with_the_batch(optimizer, expected):
    larger = scaled_learning_rate(0.1, batch_size=128, reference_batch_size=32, optimizer=optimizer)
    assert larger == pytest.approx(expected)
    back = scaled_learning_rate(larger, batch_size=32, reference_batch_size=128, optimizer=optimizer)
    assert back == pytest.approx(0.1)


def test_every_optimizer_has_a_scaling_rule():
    mark = next(mark for mark in test_the_rate_grows_with_the_batch.pytestmark if mark.name == "parametrize")
    assert {row[0] for row in mark.args[1]} == set(OPTIMIZERS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "--batch_size is 0"),
        ({"reference_batch_size": -1}, "--reference_batch_size is -1"),
        ({"optimizer": "adm"}, "no optimizer 'adm': did you mean adam"),
    ],
)
def test_bad_arguments_for_scaling_the_rate_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        scaled_learning_rate(0.1, **{"batch_size": 8, "reference_batch_size": 8, "optimizer": "adam"} | change)
