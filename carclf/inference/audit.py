"""The effect of test-time augmentation: how many photos each view and their mean fix and break."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from carclf.inference.ensemble import softmax
from carclf.recipe import View, parse_views

CLEAN = parse_views("clean")[0]


class ViewEffect(NamedTuple):
    """The effect of predicting with `name` instead of the clean view.

    Attributes:
      name: name of a view or of the mean.
      fixed: number of photos that were wrong and become right.
      broken: number of photos that were right and become wrong.
      p_value: of McNemar's exact test: the chance of a difference at least this large if both are equally good.
    """

    name: str
    fixed: int
    broken: int
    p_value: float

    def __str__(self) -> str:
        return f"{self.name}: +{self.fixed} −{self.broken}, p={self.p_value:.2g}"


class Audit(NamedTuple):
    """The effects of each view and of the mean, compared with the clean view.

    Attributes:
      views: the effect of each view except the clean one.
      mean: the effect of the mean of all views.
      view_count: number of views in the mean.
      enough_views: the smallest n from which on the mean of the first n views predicts the same class for every photo
        as the mean of all.
    """

    views: tuple[ViewEffect, ...]
    mean: ViewEffect
    view_count: int
    enough_views: int

    def lines(self) -> list[str]:
        """Returns the lines to print: one per view, and one for the mean."""
        ending = f"{self.view_count} views = {self.enough_views} view{'s' * (self.enough_views > 1)}"
        return [*map(str, self.views), f"{self.mean}; {ending}"]


def with_clean(views: Sequence[View]) -> tuple[View, ...]:
    """Returns the views; if there is no clean one among them, a clean one with weight 0 follows them."""
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
    """Returns the audit of predictions that kept their views.

    Args:
      view_logits: of each of M runs, float [V, N, K].
      labels: int [N].
      views: V views with their weights, from `with_clean`.
      run_weights: float [M], summing to 1.
      tta_mean: 'probabilities' or 'logits': the values that the views' mean averages.
    """
    right = np.array([_predicted([logits[v : v + 1] for logits in view_logits], [1.0], run_weights, tta_mean) == labels
                      for v in range(len(views))])  # fmt: skip
    counted = [index for index, view in enumerate(views) if view.weight > 0]
    weights = np.array([views[index].weight for index in counted])
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
            _effect(view.name, clean, right[index]) for index, view in enumerate(views) if view.name != CLEAN.name
        ),
        mean=_effect(name, clean, final == labels),
        view_count=len(counted),
        enough_views=max(differing, default=0) + 1,
    )


def _predicted(
    view_logits: Sequence[np.ndarray], weights: Sequence[float] | np.ndarray, run_weights: np.ndarray, tta_mean: str
) -> np.ndarray:
    """Returns int64 [N], the classes predicted by the runs' mean of these views."""
    total = 0.0
    for logits, run_weight in zip(view_logits, run_weights, strict=True):
        values = logits.astype(np.float64) if tta_mean == "logits" else softmax(logits)
        mean = np.tensordot(np.asarray(weights) / np.sum(weights), values, axes=1)
        total = total + run_weight * (softmax(mean) if tta_mean == "logits" else mean)
    return np.asarray(total).argmax(axis=1)


def _effect(name: str, before: np.ndarray, after: np.ndarray) -> ViewEffect:
    fixed, broken = int((~before & after).sum()), int((before & ~after).sum())
    p_value = float(binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0
    return ViewEffect(name, fixed, broken, p_value)
