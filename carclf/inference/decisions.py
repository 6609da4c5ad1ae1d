"""Decisions that are fitted on held-out photos, where a metric rewards more than the likeliest class: no framework."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.forms import Form, kind_of
from carclf.inference.compatibility import held_out_folds
from carclf.inference.decision_kinds import DECISIONS, GAIN, DecisionKind
from carclf.metrics import Metric, find_metric
from carclf.runs import Member

AUTO, PLAIN = "auto", "plain"
PARTS = 5  # of the held-out photos: each is decided on with parameters from the other four
LEAST_PHOTOS = 20  # below, nothing is fitted
LEAST_PHOTOS_FOR_OFFSETS = 200  # of one fold: with fewer, a parameter for each class fits noise


@dataclasses.dataclass(frozen=True)
class Decision:
    """A fitted decision, or none.

    Attributes:
      kind: a key of `DECISIONS`, or 'plain'.
      parameters: float64 [P].
      summary: what was fitted and how much it gains, in a sentence; '' if nothing was fitted.
    """

    kind: str = PLAIN
    parameters: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    summary: str = ""

    def apply(self, probabilities: np.ndarray, *, prior_rows: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Returns (probabilities float64 [N, K], labels int64 [N]) to answer with, from probabilities [N, K].

        Args:
          probabilities: [N, K].
          prior_rows: rows whose probabilities are the frequencies of the classes, which no calibration improves; their
            label is the most frequent class, unless the decision also covers such rows.
        """
        likeliest = probabilities.argmax(axis=1)
        if self.kind == PLAIN:
            return probabilities, likeliest
        row = DECISIONS[self.kind]
        decided, labels = row.apply(probabilities, self.parameters)
        rows = list(prior_rows)
        if rows:
            decided = decided.copy()
            decided[rows] = probabilities[rows]
            if not row.on_prior:
                labels[rows] = likeliest[rows]
        return decided, labels


class WantedDecision(NamedTuple):
    """What to fit on held-out photos.

    Attributes:
      kind: a key of `DECISIONS`, or 'plain'.
      metric: what answers are scored by.
      folds: of the held-out photos.
      notes: one sentence each.
    """

    kind: str
    metric: Metric
    folds: Sequence[int] = ()
    notes: tuple[str, ...] = ()


def check_decision(text: str) -> None:
    """Checks the value of `--decision`.

    Raises:
      UserError: there is no such decision.
    """
    known = (AUTO, PLAIN, *DECISIONS)
    if text not in known:
        raise UserError(f"--decision={text} is not possible: choose one of {', '.join(known)}.")


def plan_decision(
    asked: str, *, members: Sequence[Member], manifest: Manifest, metric: Metric, form: Form
) -> WantedDecision:
    """Returns the decision to fit, and the folds whose photos are new to all members.

    Args:
      asked: the value of `--decision`.
      members: the runs.
      manifest: the data set.
      metric: what answers are scored by.
      form: of the answers.

    Raises:
      UserError: the decision asked for does not suit metric and form, or no photos are new to all members.
    """
    kind = wanted_decision(asked, metric=metric, form=form)
    if kind == PLAIN:
        return WantedDecision(PLAIN, metric)
    try:
        return WantedDecision(kind, metric, held_out_folds(members, manifest))
    except UserError as error:
        if asked != AUTO:
            raise
        summary = DECISIONS[kind].summary
        return WantedDecision(PLAIN, metric, notes=(f"Not fitted: {summary}. {error}",))


def wanted_decision(asked: str, *, metric: Metric, form: Form) -> str:
    """Returns the key of the decision to fit, or 'plain'.

    Args:
      asked: the value of `--decision`.
      metric: what answers are scored by.
      form: of the answers.

    Raises:
      UserError: the decision asked for does not suit metric and form.
    """
    if asked == PLAIN:
        return PLAIN
    if asked == AUTO:
        return next((name for name, row in DECISIONS.items() if row.automatic and row.suits(metric, form)), PLAIN)
    if not DECISIONS[asked].suits(metric, form):
        row = DECISIONS[asked]
        what = "labels" if row.on_labels else "probabilities"
        suiting = [name for name in sorted(row.metrics) if row.suits(find_metric(name), form)]
        instead = f", or give --metric={suiting[0]}" if suiting else ""
        raise UserError(
            f"--decision={asked} is for {what} that are scored by {' or '.join(sorted(row.metrics))}, but these "
            f"answers are {kind_of(form).summary} and scored by {metric.name}: leave it out{instead}."
        )
    return asked


def fit_decision(kind: str, probabilities: np.ndarray, labels: np.ndarray, *, metric: Metric, folds: int) -> Decision:
    """Returns a decision of that kind if it is better than none on photos that it was not fitted on; else a plain one.

    Args:
      kind: a key of `DECISIONS`, or 'plain'.
      probabilities: float64 [N, K] of held-out photos.
      labels: int64 [N].
      metric: what answers are scored by.
      folds: how many folds the photos are from.

    Raises:
      UserError: one fold has too few photos for offsets.
    """
    if kind == PLAIN:
        return Decision()
    photos, row = len(labels), DECISIONS[kind]
    if kind == "offsets" and folds < 2 and photos < LEAST_PHOTOS_FOR_OFFSETS:
        raise UserError(
            f"--decision=offsets needs {LEAST_PHOTOS_FOR_OFFSETS} held-out photos or several folds, but there are "
            f"{photos} of one: train with --val_fold=all, or leave it out."
        )
    title = f"{row.summary[0].upper()}{row.summary[1:]}"
    if photos < LEAST_PHOTOS:
        return Decision(summary=f"{title}: not fitted, since only {photos} photos were held out.")
    before = metric.compute(probabilities, labels)
    after = _cross_fitted(row, probabilities, labels, metric=metric)
    figures = f"{metric.title} {before:.4f} → {after:.4f} on {photos} held-out photos"
    if metric.rank(after) <= metric.rank(before) + GAIN:
        return Decision(summary=f"{title}: {figures}, which is no better, so it is left out.")
    parameters = row.fit(probabilities, labels, metric)
    return Decision(kind, parameters, f"{title} ({row.describe(parameters)}): {figures}.")


def _cross_fitted(row: DecisionKind, probabilities: np.ndarray, labels: np.ndarray, *, metric: Metric) -> float:
    """Returns the metric if each part of the photos is decided on with parameters from the others."""
    part = np.random.default_rng(0).permutation(len(labels)) % PARTS
    changed, decided = np.zeros_like(probabilities), np.zeros_like(labels)
    for number in range(PARTS):
        own = part == number
        parameters = row.fit(probabilities[~own], labels[~own], metric)
        changed[own], decided[own] = row.apply(probabilities[own], parameters)
    if row.on_labels:
        return metric.of_labels(decided, labels, classes=probabilities.shape[1])
    return metric.compute(changed, labels)
