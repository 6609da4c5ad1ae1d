"""Which mean each method chooses, on states of two numbers and a score that is a formula of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carclf.averaging.methods import METHODS, WeightedMean, parse_alphas
from carclf.errors import UserError
from carclf.metrics import find_metric


class Formula:
    """Scores a state by its distance from a goal; counts as the Averager does."""

    def __init__(self, states, *, goal, metric="accuracy", losses=None):
        self.states, self.goal, self.metric, self.losses = states, np.asarray(goal), find_metric(metric), losses
        self.count = len(states)

    def weights_of(self, number):
        return [np.asarray(self.states[number], np.float32)]

    def score(self, state):
        return float(-np.abs(np.asarray(state) - self.goal).sum()) * (1 if self.metric.higher else -1)

    def measured(self, weights, *, shares):
        loss = self.losses(shares) if self.losses else 0.0
        return WeightedMean(tuple(shares), weights, score=self.score(weights[0]), log_loss=loss)


def soup_of(method, averager, alphas=(0.0, 0.5, 1.0)):
    return METHODS[method].average(averager, alphas)[-1]


def test_a_greedy_soup_leaves_out_what_lowers_the_score():
    averager = Formula([[0.5, 0], [-0.6, 0], [9, 9]], goal=[0, 0])
    tried = METHODS["greedy"].average(averager, ())
    assert tried[-1].shares == (0.5, 0.5, 0.0)
    np.testing.assert_allclose(tried[-1].weights[0], [-0.05, 0], rtol=1e-6)
    assert sorted(trial.shares for trial in tried) == [(1 / 3, 1 / 3, 1 / 3), (0.5, 0.5, 0.0), (1.0, 0.0, 0.0)]


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
@given(
    states=st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=6),
    goal=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
def test_a_greedy_soup_is_never_worse_than_its_best_ingredient(metric, states, goal):
    averager = Formula(states, goal=goal, metric=metric)
    rank = averager.metric.rank
    states.sort(key=lambda state: rank(averager.score(np.float32(state))), reverse=True)
    soup = soup_of("greedy", averager)
    assert rank(soup.score) >= rank(averager.score(np.float32(states[0])))
    assert sum(soup.shares) == pytest.approx(1)
    np.testing.assert_allclose(soup.weights[0], np.average(np.float32(states), axis=0, weights=soup.shares), atol=1e-5)


def test_a_uniform_soup_is_the_mean_of_all():
    states = [[1, 2], [3, 5], [8, 2]]
    soup = soup_of("uniform", Formula(states, goal=[0, 0]))
    assert soup.shares == (1 / 3, 1 / 3, 1 / 3)
    np.testing.assert_allclose(soup.weights[0], [4, 3], rtol=1e-12)


@pytest.mark.parametrize(("goal", "alpha"), [(-2, 0.0), (9, 1.0), (1.9, 0.5), (0.6, 0.25)])
def test_wise_takes_the_alpha_with_the_best_score(goal, alpha):
    averager = Formula([[0.0], [4.0]], goal=[goal])
    soup = soup_of("wise", averager, alphas=(0.0, 0.25, 0.5, 1.0))
    assert soup.shares == (1 - alpha, alpha)
    np.testing.assert_allclose(soup.weights[0], [4 * alpha], rtol=1e-12)


def test_of_alphas_with_equal_scores_the_lower_log_loss_decides():
    averager = Formula([[1.0], [1.0]], goal=[0], losses=lambda shares: abs(shares[1] - 0.5))
    assert soup_of("wise", averager).shares == (0.5, 0.5)


def test_alphas_are_numbers_from_0_to_1():
    assert parse_alphas("1,0,0.5,0.5") == [0.0, 0.5, 1.0]
    for text in ("", "0,1.1", "-0.1", "0;1", "nan"):
        with pytest.raises(UserError, match="write the shares of the child from 0 to 1"):
            parse_alphas(text)
