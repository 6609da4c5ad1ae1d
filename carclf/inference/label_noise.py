"""Which labels are likely wrong: NumPy and SciPy only.

A mistake of a good model may be a wrong label; a mistake of a poor model is just a mistake, however confident. A label
is likely wrong if all three conditions hold:

1. *Calibrated confidence.* The rule assumes that labels follow the probabilities at some temperature or, with a small
   chance, are random among all classes. It fits temperature and chance together to the photos' labels: a temperature
   alone would make a good model look unsure because of the wrong labels to be found. Under this mixture, the label is
   more likely random than drawn from the model, and the predicted class is likelier than all others together.
2. *Earned confidence.* There is a level of confidence, no higher than the photo's, above which the model is
   right on at least `MIN_ACCURACY` of all photos (lower end of the 95 % interval): a poor model's confidence is no
   evidence.
3. *Several views.* At least `MIN_VIEWS` views predict the same class and none predicts another: a single view
   may depend on the crop of the photo.

Source: for the mixture, the symmetric noise channel of Patrini et al., "Making Deep Neural Networks Robust to Label
Noise", CVPR 2017; for condition 2, confident learning, Northcutt et al., JAIR 70 (2021), which also compares a photo's
confidence with a typical one.
"""

import dataclasses

import numpy as np
from scipy.optimize import minimize_scalar

from carclf.inference.calibration import TEMPERATURES, tempered
from carclf.inference.metrics import wilson_interval
from carclf.metrics.tallies import MIN_PROBABILITY

MIN_VIEWS = 2
MIN_ACCURACY = 0.75
MIN_POSTERIOR = 0.5  # of a wrong label
MIN_CONFIDENCE = 0.5  # in the class predicted, at the fitted temperature
MAX_NOISE = 0.5  # fraction of random labels


@dataclasses.dataclass(frozen=True)
class LabelNoise:
    """The mixture with the best fit to the labels.

    Attributes:
      temperature: T of the probabilities ∝ p^(1/T) that labels come from.
      noise: fraction of labels that are random among all classes instead, 0..MAX_NOISE.
    """

    temperature: float
    noise: float


def fit_label_noise(probabilities: np.ndarray, labels: np.ndarray) -> LabelNoise:
    """Returns the temperature and the fraction of random labels with the lowest log loss.

    Args:
      probabilities: float [N, K], N at least 1, each row summing to 1.
      labels: int [N].
    """
    photos, classes = np.arange(len(labels)), probabilities.shape[1]

    def noise_at(log_temperature: float) -> tuple[float, float]:
        of_label = tempered(probabilities, float(np.exp(log_temperature)))[photos, labels]

        def loss(noise: float) -> float:
            mixed = (1 - noise) * of_label + noise / classes
            return -float(np.log(np.maximum(mixed, MIN_PROBABILITY)).mean())

        found = minimize_scalar(loss, bounds=(0.0, MAX_NOISE), method="bounded", options={"xatol": 1e-5})
        return float(found.x), float(found.fun)

    found = minimize_scalar(
        lambda log_temperature: noise_at(log_temperature)[1],
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return LabelNoise(temperature=float(np.exp(found.x)), noise=noise_at(found.x)[0])


def likely_mislabels(probabilities: np.ndarray, labels: np.ndarray, *, view_scores: np.ndarray | None) -> np.ndarray:
    """Returns bool [N]: whether each photo's label is likely wrong, by the rule of this module.

    Args:
      probabilities: float [N, K], the mean of the views, each row summing to 1.
      labels: int [N].
      view_scores: float [V, N, K], of each view; with None or fewer than `MIN_VIEWS` no label is likely wrong.
    """
    if view_scores is None or len(view_scores) < MIN_VIEWS:
        return np.zeros(len(labels), bool)
    fitted = fit_label_noise(probabilities, labels)
    calibrated = tempered(probabilities, fitted.temperature)
    photos, predicted, confidence = np.arange(len(labels)), calibrated.argmax(axis=1), calibrated.max(axis=1)
    drawn = fitted.noise / probabilities.shape[1]
    posterior = drawn / np.maximum(drawn + (1 - fitted.noise) * calibrated[photos, labels], MIN_PROBABILITY)
    agreed = (view_scores.argmax(axis=2) == predicted).all(axis=0)
    suspected = (predicted != labels) & agreed & (posterior > MIN_POSTERIOR) & (confidence > MIN_CONFIDENCE)
    earned = _earned_accuracy(confidence, predicted == labels) >= MIN_ACCURACY
    return np.asarray(suspected & earned)


def _earned_accuracy(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns float64 [N]: the best accuracy above any level of confidence up to the photo's own.

    It is the lower end of the 95 % interval. The accuracy above the photo's own level alone would rest on a few photos
    for the most confident ones.
    """
    order = np.argsort(-confidence, kind="stable")
    correct = np.cumsum(right[order])
    low = np.array([wilson_interval(int(hits), count)[0] for count, hits in enumerate(correct, start=1)])
    result = np.empty(len(order))
    result[order] = np.maximum.accumulate(low[::-1])[::-1]
    return result
