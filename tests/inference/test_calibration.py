"""Calibration of probabilities."""

import numpy as np
import pytest

from carclf.inference.calibration import BINS, calibrate
from carclf.inference.ensemble import softmax


def drawn(*, photos=20000, temperature=1.0, seed=0):
    """Returns probabilities and labels drawn from them; `temperature` then makes them overconfident."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(photos, 5))
    labels = (softmax(logits).cumsum(axis=1) < rng.random((photos, 1))).sum(axis=1)
    return softmax(logits * temperature), labels


def test_calibrated_probabilities_have_no_error_and_temperature_one():
    calibration = calibrate(*drawn())
    assert calibration.expected_error < 0.02
    assert calibration.temperature == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 4.0])
def test_the_temperature_undoes_the_overconfidence(temperature):
    probabilities, labels = drawn(temperature=temperature)
    calibration = calibrate(probabilities, labels)
    assert calibration.temperature == pytest.approx(temperature, rel=0.05)
    assert calibration.expected_error_after < 0.02 < calibration.expected_error
    assert calibration.log_loss_after < -np.log(probabilities[np.arange(len(labels)), labels]).mean()


def test_every_photo_is_in_the_bin_of_its_top_probability():
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.61, 0.39], [0.0, 1.0]])
    calibration = calibrate(probabilities, np.array([0, 1, 0, 0]))
    assert len(calibration.bins) == BINS
    filled = {
        round(each.low, 3): (each.photos, each.confidence, each.accuracy) for each in calibration.bins if each.photos
    }
    assert filled == {0.467: (1, 0.5, 0.0), 0.6: (1, 0.61, 1.0), 0.933: (2, 1.0, 0.5)}
    assert calibration.expected_error == pytest.approx((0.5 + 0.39 + 2 * 0.5) / 4)


def test_a_mistake_with_certainty_has_a_finite_loss():
    calibration = calibrate(np.array([[1.0, 0.0]] * 3), np.array([1, 1, 1]))
    assert np.isfinite(calibration.log_loss_after)
    assert calibration.expected_error == 1
