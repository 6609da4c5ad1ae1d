"""The held-out photos that calibrate a confidence."""

import numpy as np
import pytest

from carclf.errors import UserError
from carclf.inference.held_out import calibrate_on


def test_a_temperature_needs_photos():
    with pytest.raises(UserError, match=r"--uncertain calibrates .* needs 20 of them, but there are 19: train with"):
        calibrate_on(np.full((19, 2), 0.5), np.zeros(19, int), asked_by="--uncertain")
    half_right = calibrate_on(np.tile([0.9, 0.1], (20, 1)), np.arange(20) % 2, asked_by="--pseudo_labels")
    assert half_right.temperature > 5
