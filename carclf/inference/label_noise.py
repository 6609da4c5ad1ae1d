"""Which labels are likely wrong: NumPy and SciPy only.

A mistake of a good model may be a wrong label; one of a poor model is just a mistake, however sure it is of it. A label
is called likely wrong where all of this holds:

1. *Calibrated confidence.* Labels are taken to come from the probabilities at some temperature, or, with a small
   chance, from a draw among all classes. Temperature and chance are fitted together to the photos' labels, since a
   temperature alone would call a good model unsure because of the very labels that are looked for. By this mixture the
   label is more likely such a draw than the model's own, and the class predicted more likely than all others together.
2. *Confidence that is earned.* There is a level of confidence, no higher than the photo's, above which the model is
   right on at least `LEAST_ACCURACY` of all photos (lower end of the 95 % interval): what a poor model is sure of is no
   evidence.
3. *Several views.* At least `LEAST_VIEWS` views predict one and the same class, and none another: what one look sees
   may depend on how a photo happens to be cropped.

Source of the mixture: the symmetric noise channel of Patrini et al., "Making Deep Neural Networks Robust to Label
Noise", CVPR 2017; of the second rule: confident learning, Northcutt et al., JAIR 70 (2021), which also compares a
photo's confidence with what is usual.
"""

import dataclasses

import numpy as np
from scipy.optimize import minimize_scalar

from carclf.inference.calibration import LEAST_PROBABILITY, TEMPERATURES, tempered
from carclf.inference.metrics import wilson_interval

LEAST_VIEWS = 2
LEAST_ACCURACY = 0.75
LEAST_POSTERIOR = 0.5  # of a wrong label
LEAST_CONFIDENCE = 0.5  # in the class predicted, at the fitted temperature
LARGEST_NOISE = 0.5  # share of labels that are drawn, at the most


@dataclasses.dataclass(frozen=True)
class LabelNoise:
    """The mixture that fits the labels best.

    Attributes:
      temperature: T of the probabilities ∝ p^(1/T) that labels come from.
      noise: share of labels that are a draw among all classes instead, 0..LARGEST_NOISE.
    """

    temperature: float
    noise: float


def fit_label_noise(probabilities: np.ndarray, labels: np.ndarray) -> LabelNoise:
    """The temperature and the share of drawn labels with the least log loss.

    Args:
      probabilities: float [N, K], N at least 1, each row adding up to 1.
      labels: int [N].
    """
    photos, classes = np.arange(len(labels)), probabilities.shape[1]

    def noise_at(log_temperature: float) -> tuple[float, float]:
        of_label = tempered(probabilities, float(np.exp(log_temperature)))[photos, labels]

        def loss(noise: float) -> float:
            mixed = (1 - noise) * of_label + noise / classes
            return -float(np.log(np.maximum(mixed, LEAST_PROBABILITY)).mean())

        found = minimize_scalar(loss, bounds=(0.0, LARGEST_NOISE), method="bounded", options={"xatol": 1e-5})
        return float(found.x), float(found.fun)

    found = minimize_scalar(
        lambda log_temperature: noise_at(log_temperature)[1],
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return LabelNoise(temperature=float(np.exp(found.x)), noise=noise_at(found.x)[0])


def likely_mislabels(
    probabilities: np.ndarray, labels: np.ndarray, *, view_probabilities: np.ndarray | None
) -> np.ndarray:
    """bool [N], whether a photo's label is likely wrong, by the rule of this module.

    Args:
      probabilities: float [N, K], the mean of the views, each row adding up to 1.
      labels: int [N].
      view_probabilities: float [V, N, K], of each view; None or fewer than `LEAST_VIEWS` call no label wrong.
    """
    if view_probabilities is None or len(view_probabilities) < LEAST_VIEWS:
        return np.zeros(len(labels), bool)
    fitted = fit_label_noise(probabilities, labels)
    calibrated = tempered(probabilities, fitted.temperature)
    photos, predicted, confidence = np.arange(len(labels)), calibrated.argmax(axis=1), calibrated.max(axis=1)
    drawn = fitted.noise / probabilities.shape[1]
    posterior = drawn / np.maximum(drawn + (1 - fitted.noise) * calibrated[photos, labels], LEAST_PROBABILITY)
    agreed = (view_probabilities.argmax(axis=2) == predicted).all(axis=0)
    suspected = (predicted != labels) & agreed & (posterior > LEAST_POSTERIOR) & (confidence > LEAST_CONFIDENCE)
    earned = _earned_accuracy(confidence, predicted == labels) >= LEAST_ACCURACY
    return np.asarray(suspected & earned)


def _earned_accuracy(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float64 [N], the best accuracy above any level of confidence that is no higher than the photo's own.

    It is the lower end of the 95 % interval; the accuracy above the photo's own level alone would rest on a few photos
    where it is the surest of all.
    """
    order = np.argsort(-confidence, kind="stable")
    correct = np.cumsum(right[order])
    low = np.array([wilson_interval(int(hits), count)[0] for count, hits in enumerate(correct, start=1)])
    result = np.empty(len(order))
    result[order] = np.maximum.accumulate(low[::-1])[::-1]
    return result
