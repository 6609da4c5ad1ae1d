"""What test-time augmentation is worth: photos that each view and their mean fix and break."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from carclf.inference.ensemble import softmax
from carclf.recipe import View, parse_views

CLEAN = parse_views("clean")[0]


class Effect(NamedTuple):
    """What judging by `name` instead of the clean view changes.

    Attributes:
      name: of a view, or what the mean is called.
      fixed: photos that were wrong and are right.
      broken: photos that were right and are wrong.
      p_value: of McNemar's exact test, the chance of a difference at least as large between two that are equally good.
    """

    name: str
    fixed: int
    broken: int
    p_value: float

    def __str__(self) -> str:
        return f"{self.name}: +{self.fixed} −{self.broken}, p={self.p_value:.2g}"


class Audit(NamedTuple):
    """What each view and the mean change against the clean view.

    Attributes:
      views: one effect a view, the clean one left out.
      mean: the effect of the mean of all views.
      view_count: how many views the mean has.
      enough_views: the least n for which the mean of the first n views, and of every further number, predicts the same
        class for every photo as the mean of all.
    """

    views: tuple[Effect, ...]
    mean: Effect
    view_count: int
    enough_views: int

    def lines(self) -> list[str]:
        """What people read: a line a view, and one for the mean."""
        ending = f"{self.view_count} views = {self.enough_views} view{'s' * (self.enough_views > 1)}"
        return [*map(str, self.views), f"{self.mean}; {ending}"]


def with_clean(views: Sequence[View]) -> tuple[View, ...]:
    """The views, and behind them a clean one that does not count in the mean where there is none among them."""
    if any(view.name == CLEAN.name for view in views):
        return tuple(views)
    return (*views, dataclasses.replace(CLEAN, weight=0.0))


def audit_views(
    view_logits: Sequence[np.ndarray],
    labels: np.ndarray,
    *,
    views: Sequence[View],
    run_weights: np.ndarray,
    tta_mean: str,
) -> Audit:
    """The audit of predictions that kept their views.

    Args:
      view_logits: of each of M runs, float [V, N, K].
      labels: int [N].
      views: V views with their weights, as `with_clean` gives them.
      run_weights: float [M], adding up to 1.
      tta_mean: 'probabilities' or 'logits', what the views' mean is taken of.
    """
    right = np.array([_predicted([logits[v : v + 1] for logits in view_logits], [1.0], run_weights, tta_mean) == labels
                      for v in range(len(views))])  # fmt: skip
    counted = [place for place, view in enumerate(views) if view.weight > 0]
    weights = np.array([views[place].weight for place in counted])
    by_count = [
        _predicted([logits[counted[:n]] for logits in view_logits], weights[:n], run_weights, tta_mean)
        for n in range(1, len(counted) + 1)
    ]
    final = by_count[-1]
    differing = [n for n, predicted in enumerate(by_count, start=1) if (predicted != final).any()]
    clean = right[[view.name for view in views].index(CLEAN.name)]
    name = f"mean of {len(counted)} views" if len(counted) > 1 else "the view"
    return Audit(
        views=tuple(
            _effect(view.name, clean, right[place]) for place, view in enumerate(views) if view.name != CLEAN.name
        ),
        mean=_effect(name, clean, final == labels),
        view_count=len(counted),
        enough_views=max(differing, default=0) + 1,
    )


def _predicted(
    view_logits: Sequence[np.ndarray], weights: Sequence[float] | np.ndarray, run_weights: np.ndarray, tta_mean: str
) -> np.ndarray:
    """int64 [N], the class that the runs' mean of some views predicts."""
    total = 0.0
    for logits, run_weight in zip(view_logits, run_weights, strict=True):
        values = logits.astype(np.float64) if tta_mean == "logits" else softmax(logits)
        mean = np.tensordot(np.asarray(weights) / np.sum(weights), values, axes=1)
        total = total + run_weight * (softmax(mean) if tta_mean == "logits" else mean)
    return np.asarray(total).argmax(axis=1)


def _effect(name: str, before: np.ndarray, after: np.ndarray) -> Effect:
    fixed, broken = int((~before & after).sum()), int((before & ~after).sum())
    p_value = float(binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0
    return Effect(name, fixed, broken, p_value)
