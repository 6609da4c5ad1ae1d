"""A network built at once has the initial values that Keras gives, and the values that its builder assigns."""

import keras
import numpy as np
from keras import layers

from carclf.model.compile import built_at_once


def network() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out")),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(2),
        ]
    )


def values(model: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in model.variables]


def test_the_values_equal_those_that_keras_gives_one_by_one():
    keras.utils.set_random_seed(3)
    expected = values(network())
    keras.utils.set_random_seed(3)
    actual = values(built_at_once(network))
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_values_assigned_by_the_builder_are_kept():
    def with_bias() -> keras.Model:
        model = network()
        model.layers[-1].bias.assign([3.0, 4.0])
        return model

    np.testing.assert_array_equal(values(built_at_once(with_bias))[-1], [3.0, 4.0])


def test_the_network_learns_and_keeps_values_assigned_later():
    model = built_at_once(network)
    kernel = model.layers[0].kernel
    before = keras.ops.convert_to_numpy(kernel)
    model.compile(optimizer="sgd", loss="mse")
    model.fit(np.ones((4, 8, 8, 3), np.float32), np.ones((4, 2), np.float32), verbose=0)
    assert not np.array_equal(keras.ops.convert_to_numpy(kernel), before)
    kernel.assign(before)
    built_at_once(network)  # Keras initialises all pending variables; none of the first network may be among them
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel), before)


def test_on_jax_every_value_is_computed_inside_a_program():
    traced = []

    def initializer(shape, dtype=None):
        value = keras.ops.ones(shape, dtype)
        traced.append("Tracer" in type(value).__name__)
        return value

    built_at_once(
        lambda: keras.Sequential([keras.Input((4,)), layers.Dense(2, kernel_initializer=initializer, use_bias=False)])
    )
    assert traced
    assert all(traced) == (keras.backend.backend() == "jax")
