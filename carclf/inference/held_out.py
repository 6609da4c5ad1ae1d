"""The held-out photos, by which the confidence in other photos is judged."""

from typing import NamedTuple

import numpy as np

from carclf.errors import UserError
from carclf.inference.calibration import fit_temperature
from carclf.inference.decisions import LEAST_PHOTOS


class HeldOut(NamedTuple):
    """Predictions of photos whose labels are known and which no run has trained on.

    Attributes:
      probabilities: float64 [N, K], each row sums to 1.
      labels: int64 [N].
      temperature: calibrates the probabilities.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    temperature: float


def calibrate_on(probabilities: np.ndarray, labels: np.ndarray, *, asked_by: str) -> HeldOut:
    """Returns held-out photos with the temperature that fits them.

    Args:
      probabilities: float64 [N, K], each row sums to 1.
      labels: int64 [N].
      asked_by: the option that needs the temperature, such as '--pseudo_labels'.

    Raises:
      UserError: there are too few photos.
    """
    if len(labels) < LEAST_PHOTOS:
        raise UserError(
            f"{asked_by} calibrates the confidence on held-out photos and needs {LEAST_PHOTOS} of them, but there are "
            f"{len(labels)}: train with larger folds, or with --val_fold=all."
        )
    return HeldOut(probabilities, labels, fit_temperature(probabilities, labels))
