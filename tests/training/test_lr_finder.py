"""The range test of the learning rate; the lane without TensorFlow runs it on JAX, too."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest

from carclf.training.lr_finder import HIGHEST, LOWEST, Sweep, sweep_learning_rates


def regression(learning_rate: float = 0.1) -> keras.Model:
    """Returns a model of one weight, whose loss (w − 1)² · 100 is easy to compute by hand: rates above 0.01 diverge."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(learning_rate), "mse", jit_compile=False)
    return model


def batches(steps: int, *, second: float = 10.0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches; every other one has a different target if `second` is not 10, so the loss never becomes 0."""
    for number in range(steps):
        yield np.full((4, 1), 10.0, np.float32), np.full((4, 1), (10.0, second)[number % 2], np.float32)


def test_rates_rise_and_losses_are_those_of_single_steps():
    sweep = sweep_learning_rates(regression(), batches(60), steps=60)
    assert sweep.learning_rate[0] == pytest.approx(LOWEST)
    ratios = sweep.learning_rate[1:] / sweep.learning_rate[:-1]
    np.testing.assert_allclose(ratios, (HIGHEST / LOWEST) ** (1 / 59), rtol=1e-4)
    weight = 0.0
    for rate, loss in zip(sweep.learning_rate, sweep.loss, strict=True):
        assert loss == pytest.approx(100 * (weight - 1) ** 2, rel=1e-3, abs=1e-3)
        weight -= rate * 200 * (weight - 1)


def test_the_sweep_ends_when_the_loss_diverges():
    sweep = sweep_learning_rates(regression(), batches(200, second=9.0), steps=200)
    assert len(sweep.loss) < 200
    assert sweep.learning_rate[-1] < 0.5


def test_the_suggestion_lies_where_the_loss_falls_most_steeply():
    rates = np.geomspace(LOWEST, HIGHEST, 300)
    loss = 2 - 1.5 / (1 + np.exp(-4 * (np.log10(rates) + 3))) + np.where(rates > 0.05, 100 * rates, 0)
    suggestion = Sweep(rates, loss).suggestion()
    assert 4e-4 < suggestion < 1e-2  # the inflection is at 1e-3; smoothing moves it up a little


EARLY = np.concatenate([np.linspace(2, 1, 12), np.full(188, 50.0)])  # it falls within the first half decade alone


@pytest.mark.parametrize("loss", [np.linspace(1, 5, 100), np.ones(100), np.linspace(5, 1, 10), EARLY])
def test_no_fall_no_suggestion(loss):
    assert Sweep(np.geomspace(LOWEST, HIGHEST, len(loss)), loss).suggestion() is None
