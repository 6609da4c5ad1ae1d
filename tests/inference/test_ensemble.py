"""Means over views and runs, and their weights."""

import numpy as np
import pytest

from carclf.errors import UserError
from carclf.inference.ensemble import ViewMean, fit_run_weights, parse_run_weights, softmax
from carclf.metrics import find_metric
from carclf.recipe import parse_views

LOGITS = np.random.default_rng(0).normal(size=(3, 6, 4)) * 3  # views, photos, classes


def mean_of(views: str, kind: str, batches=((0, 1, 2, 3), (4, 5))) -> np.ndarray:
    mean = ViewMean(6, 4, views=parse_views(views), kind=kind)
    for photos in batches:
        for view, logits in enumerate(LOGITS):
            mean.add(view, np.array(photos), logits[list(photos)])
    return mean.probabilities()


def test_the_mean_is_of_probabilities_or_of_logits():
    np.testing.assert_allclose(mean_of("clean|flip|vflip", "probabilities"), softmax(LOGITS).mean(axis=0))
    np.testing.assert_allclose(mean_of("clean|flip|vflip", "logits"), softmax(LOGITS.mean(axis=0)))


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_views_count_by_their_weights(kind):
    values = softmax(LOGITS) if kind == "probabilities" else LOGITS
    expected = np.average(values, axis=0, weights=[2, 1, 0.5])
    expected = expected if kind == "probabilities" else softmax(expected)
    np.testing.assert_allclose(mean_of("clean*2|flip|vflip*0.5", kind), expected)


def test_a_photo_that_lacks_a_view_or_has_one_twice_is_an_error():
    for batches in (((0, 1, 2, 3, 4),), ((0, 1, 2, 3, 4, 5), (5,)), ((0, 0, 1, 2, 3, 4, 5),)):
        with pytest.raises(RuntimeError, match="1 photos were not predicted once in each of 3 views"):
            mean_of("clean|flip|vflip", "probabilities", batches)


def test_weights_of_runs_are_numbers_or_fitted():
    np.testing.assert_allclose(parse_run_weights("", count=2), [0.5, 0.5])
    np.testing.assert_allclose(parse_run_weights("3,1,0", count=3), [0.75, 0.25, 0])
    assert parse_run_weights("fitted", count=3) is None


@pytest.mark.parametrize("text", ["1", "1,2,3", "0,0", "1,-1", "1,nan", "1,inf", "1,x", "1,,2"])
def test_the_error_for_impossible_weights_is_one_sentence(text):
    with pytest.raises(UserError, match=rf"--run_weights={text} is not possible: give 2 numbers"):
        parse_run_weights(text, count=2)


def test_fitted_weights_minimise_the_loss():
    rng = np.random.default_rng(1)
    labels = rng.integers(4, size=300)
    good, fair = (softmax(2 * rng.normal(size=(300, 4)) + size * np.eye(4)[labels]) for size in (4, 2))
    noise = softmax(4 * rng.normal(size=(300, 4)))
    weights = fit_run_weights([good, fair, noise], labels)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > weights[1] > weights[2] - 1e-6

    def loss(weights):
        mean = weights[0] * good + weights[1] * fair + weights[2] * noise
        return -np.log(mean[np.arange(300), labels]).mean()

    grid = [(a, b, 1 - a - b) for a in np.linspace(0, 1, 21) for b in np.linspace(0, 1 - a, 21)]
    assert loss(weights) <= min(map(loss, grid)) + 1e-6


def test_a_run_with_confident_mistakes_gets_no_weight():
    labels = np.zeros(10, np.int64)
    right, wrong = np.tile([0.9, 0.1], (10, 1)), np.tile([0.0, 1.0], (10, 1))
    np.testing.assert_allclose(fit_run_weights([wrong, right], labels), [0, 1], atol=1e-6)


def test_weights_follow_a_metric_without_a_slope():
    """One run is right by a little everywhere, the other has the smaller loss: the labels want the first."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 300)
    truth = np.eye(3)[labels]
    modest = 0.34 * truth + 0.33 * (1 - truth)
    confident = np.where(rng.random(300)[:, None] < 0.7, 0.9 * truth + 0.05 * (1 - truth), 1 / 3 + 0 * truth)
    confident[:60] = np.roll(truth[:60], 1, axis=1) * 0.5 + 0.25 * (1 - np.roll(truth[:60], 1, axis=1))
    runs = [modest, confident]
    plain, followed = (fit_run_weights(runs, labels, metric=find_metric(name)) for name in ("log_loss", "qwk"))
    scores = [find_metric("qwk").compute(np.average(runs, axis=0, weights=w), labels) for w in (plain, followed)]
    assert scores[1] > scores[0]
    assert followed.sum() == pytest.approx(1.0)
    assert followed.min() >= 0
    np.testing.assert_array_equal(plain, fit_run_weights(runs, labels))
