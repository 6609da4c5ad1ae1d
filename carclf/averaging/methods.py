"""Which mean of the ingredients becomes the soup: a row for each method. NumPy only."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from carclf.errors import UserError
from carclf.metrics import Metric
from carclf.model.weight_average import interpolate, running_average

Weights = list[np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class WeightedMean:
    """A weighted mean of the ingredients.

    Attributes:
      shares: of each ingredient, 0..1, summing to 1.
      weights: the classifier's, with the BatchNorm statistics that belong to them.
      score: the metric on the held-out photos; None if there are none.
      log_loss: on the same photos.
      probabilities: of the same photos, float64 [N, K].
    """

    shares: tuple[float, ...]
    weights: Weights
    score: float | None = None
    log_loss: float | None = None
    probabilities: np.ndarray | None = None


class Measuring(Protocol):
    """What the methods need of `carclf.averaging.averager.Averager`."""

    count: int
    metric: Metric

    def weights_of(self, number: int) -> Weights:
        """Returns the weights of an ingredient."""

    def measured(self, weights: Weights, *, shares: Sequence[float]) -> WeightedMean:
        """Returns the mean with its statistics and, where photos are held out, its score."""


def average_all(averager: Measuring) -> list[WeightedMean]:
    """Returns the mean of all ingredients, in equal shares."""
    mean = None
    for number in range(averager.count):
        mean = running_average(mean, averager.weights_of(number), count=number)
    assert mean is not None
    return [averager.measured(mean, shares=_equal(range(averager.count), averager.count))]


def add_greedily(averager: Measuring) -> list[WeightedMean]:
    """Returns the means that were tried, the soup last: an ingredient stays if the score does not fall with it.

    Args:
      averager: of ingredients in falling order of their own scores.

    Source: Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy
      without increasing inference time", recipe 1.
    """
    taken, mean = [0], averager.weights_of(0)
    tried = [averager.measured(mean, shares=_equal(taken, averager.count))]
    best = tried[0]
    for number in range(1, averager.count):
        wider = running_average(mean, averager.weights_of(number), count=len(taken))
        trial = averager.measured(wider, shares=_equal([*taken, number], averager.count))
        tried.append(trial)
        if _rank(averager.metric, trial) >= _rank(averager.metric, best):
            taken, mean, best = [*taken, number], wider, trial
    return [*(trial for trial in tried if trial is not best), best]


def interpolate_pair(averager: Measuring, alphas: Sequence[float]) -> list[WeightedMean]:
    """Returns the means of a parent and its child that were tried, the one with the best score last.

    Of equal scores the lower log loss decides, then the lower alpha.

    Args:
      averager: of the parent and the child.
      alphas: shares of the child.

    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3.
    """
    parent, child = averager.weights_of(0), averager.weights_of(1)
    tried = [averager.measured(interpolate(parent, child, alpha=alpha), shares=(1 - alpha, alpha)) for alpha in alphas]
    best = max(tried, key=lambda trial: (_rank(averager.metric, trial), -(trial.log_loss or 0.0)))
    return [*(trial for trial in tried if trial is not best), best]


def parse_alphas(text: str) -> list[float]:
    """Returns the numbers of a text such as '0,0.5,1', ascending, each once.

    Raises:
      UserError: there are none, or one is no number in 0..1.
    """
    try:
        alphas = sorted({float(part) for part in text.split(",")})
    except ValueError:
        alphas = []
    if not alphas or not all(0 <= alpha <= 1 for alpha in alphas):
        raise UserError("write the shares of the child from 0 to 1, separated by commas, such as 0,0.25,0.5,0.75,1.")
    return alphas


def _equal(taken: Sequence[int], count: int) -> tuple[float, ...]:
    return tuple(1 / len(taken) if number in taken else 0.0 for number in range(count))


def _rank(metric: Metric, mean: WeightedMean) -> float:
    assert mean.score is not None
    return metric.rank(mean.score)


@dataclasses.dataclass(frozen=True)
class Method:
    """One row of `METHODS`.

    Attributes:
      summary: what it averages.
      chooses: whether it needs photos that no ingredient has trained on.
      average: from the averager and the alphas to the means that were tried, the soup last.
    """

    summary: str
    chooses: bool
    average: Callable[[Measuring, Sequence[float]], list[WeightedMean]]


METHODS: dict[str, Method] = {
    "greedy": Method(
        "the runs that do not lower the score, the best first",
        chooses=True,
        average=lambda averager, alphas: add_greedily(averager),
    ),
    "uniform": Method("all runs", chooses=False, average=lambda averager, alphas: average_all(averager)),
    "wise": Method("a run and its parent (WiSE-FT)", chooses=True, average=interpolate_pair),
}
