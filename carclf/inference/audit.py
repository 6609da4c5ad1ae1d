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
        ending = f"{self.view_count} views = {self.enough_views} view{'s' if self.enough_views > 1 else ''}"
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
    photos, classes = view_logits[0].shape[1:]
    sums = np.zeros((len(view_logits), photos, classes))  # of the values of each run, views weighted
    right, by_count = [], []
    total = 0.0
    for index, view in enumerate(views):  # one at a time: all views of many photos fill the memory
        alone = np.zeros((photos, classes))
        for run, logits in enumerate(view_logits):
            values = logits[index].astype(np.float64) if tta_mean == "logits" else softmax(logits[index])
            alone += run_weights[run] * _probabilities(values, tta_mean)
            sums[run] += view.weight * values
        right.append(alone.argmax(axis=1) == labels)
        if view.weight > 0:
            total += view.weight
            mean = np.zeros((photos, classes))
            for run_sum, run_weight in zip(sums, run_weights, strict=True):
                mean += run_weight * _probabilities(run_sum / total, tta_mean)
            by_count.append(mean.argmax(axis=1))
    final = by_count[-1]
    differing = [n for n, predicted in enumerate(by_count, start=1) if (predicted != final).any()]
    clean = right[[view.name for view in views].index(CLEAN.name)]
    name = f"mean of {len(by_count)} views" if len(by_count) > 1 else "the view"
    return Audit(
        views=tuple(
            _effect(view.name, clean, right[index]) for index, view in enumerate(views) if view.name != CLEAN.name
        ),
        mean=_effect(name, clean, final == labels),
        view_count=len(by_count),
        enough_views=max(differing, default=0) + 1,
    )


def _probabilities(values: np.ndarray, tta_mean: str) -> np.ndarray:
    """Returns the probabilities float64 [N, K] of what the views' mean averages."""
    return softmax(values) if tta_mean == "logits" else values


def _effect(name: str, before: np.ndarray, after: np.ndarray) -> ViewEffect:
    fixed, broken = int((~before & after).sum()), int((before & ~after).sum())
    p_value = float(binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0
    return ViewEffect(name, fixed, broken, p_value)
