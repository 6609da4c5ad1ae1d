import numpy as np
import pytest

from carclf.model.weight_average import interpolate, running_average


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


def test_alpha_0_is_the_start_and_alpha_1_the_end_to_the_bit():
    rng = np.random.default_rng(0)
    start, end = ([rng.normal(size=50).astype("float32"), np.int32([seed])] for seed in (3, 4))
    for alpha, expected in ((0.0, start), (1.0, end)):
        np.testing.assert_array_equal(interpolate(start, end, alpha=alpha)[0].astype("float32"), expected[0])
    between = interpolate(start, end, alpha=0.25)
    np.testing.assert_allclose(between[0], 0.75 * start[0].astype("float64") + 0.25 * end[0], rtol=1e-12)
    assert (between[0].dtype, between[1]) == (np.float64, 4)  # a counter is not averaged
    same = interpolate(start, start, alpha=0.3)
    np.testing.assert_array_equal(same[0].astype("float32"), start[0])
