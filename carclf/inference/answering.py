"""From runs to answers: the weighted mean of their probabilities, and the decision fitted for the metric."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from carclf.data.manifest import Manifest
from carclf.device import Device
from carclf.engines.choice import Engines
from carclf.inference.compatibility import load_labels
from carclf.inference.dataset_predictions import Predictions, mean_predictions, predict_held_out, predict_members
from carclf.inference.decisions import PLAIN, Decision, WantedDecision, fit_decision
from carclf.inference.ensemble import fit_run_weights
from carclf.inference.evaluation import labels_of
from carclf.inference.held_out import HeldOut, calibrate_on
from carclf.recipe import View
from carclf.runs import Member


class Answered(NamedTuple):
    """The answers.

    Attributes:
      predictions: the members' weighted mean.
      decision: fitted for the metric.
      held_out: photos that calibrate the confidence; None if none were asked for.
    """

    predictions: Predictions
    decision: Decision
    held_out: HeldOut | None


def predict_answers(
    members: Sequence[Member],
    *,
    manifest: Manifest,
    folds: Sequence[int],
    held_out: bool,
    views: Sequence[View],
    tta_mean: str,
    weights: np.ndarray | None,
    wanted: WantedDecision,
    calibrated_for: str = "",
    batch_size: int,
    device: Device,
    engines: Engines,
) -> Answered:
    """Returns the members' weighted mean, and the values fitted on held-out photos, which it prints.

    Args:
      members: the runs.
      manifest: the data set.
      folds: held out by every member; may be empty if nothing is fitted and `held_out` is false.
      held_out: whether to predict these folds instead of the test photos.
      views: of each photo.
      tta_mean: what the mean over the views is taken of.
      weights: of the members, float64 [M]; None fits them.
      wanted: the decision to fit.
      calibrated_for: the option that needs calibrated confidences, such as '--pseudo_labels'; "" for none.
      batch_size: photos per step.
      device: where to predict.
      engines: the ones that may compute the networks there.

    Raises:
      UserError: weights are missing, too few photos are held out to calibrate on, or as for `fit_decision`.
    """
    how = prediction_settings(views=views, tta_mean=tta_mean, batch_size=batch_size, device=device, engines=engines)
    decision, calibration = Decision(), None
    with device.scope():
        if held_out or weights is None or wanted.kind != PLAIN or calibrated_for:
            predictions, weights, decision = fit_on_held_out(
                members, manifest=manifest, folds=folds, weights=weights, wanted=wanted, how=how
            )
            mean = mean_predictions(predictions, weights=weights)
            if calibrated_for:
                labels = labels_of(mean, load_labels("", members=members, manifest=manifest))
                calibration = calibrate_on(mean.probabilities, labels, asked_by=calibrated_for)
        if not held_out:
            mean = mean_predictions(predict_members(members, manifest=manifest, split="test", **how), weights=weights)
    return Answered(mean, decision, calibration)


def prediction_settings(
    *, views: Sequence[View], tta_mean: str, batch_size: int, device: Device, engines: Engines
) -> dict[str, Any]:
    """Returns the arguments that `predict_members` and `predict_held_out` share."""
    return {
        "views": views,
        "tta_mean": tta_mean,
        "batch_size": device.padded_batch_size(batch_size),
        "jit": device.jit,
        "engines": engines,
    }


def fit_on_held_out(
    members: Sequence[Member],
    *,
    manifest: Manifest,
    folds: Sequence[int],
    weights: np.ndarray | None,
    wanted: WantedDecision,
    how: Mapping[str, Any],
) -> tuple[list[Predictions], np.ndarray, Decision]:
    """Returns the members' predictions of the held-out photos, their weights, and the decision; prints what was fitted.

    Call it inside `Device.scope()`. The arguments are those of `predict_answers`; `how` is from `prediction_settings`.

    Raises:
      UserError: as for `predict_answers`.
    """
    predictions = predict_held_out(members, manifest=manifest, folds=folds, **how)
    labels = labels_of(predictions[0], load_labels("", members=members, manifest=manifest))
    weights = _weights(predictions, labels, weights=weights, wanted=wanted)
    mean = mean_predictions(predictions, weights=weights).probabilities
    decision = fit_decision(wanted.kind, mean, labels, metric=wanted.metric, folds=len(folds))
    if decision.summary:
        print(decision.summary, flush=True)
    return predictions, weights, decision


def _weights(
    predictions: Sequence[Predictions], labels: np.ndarray, *, weights: np.ndarray | None, wanted: WantedDecision
) -> np.ndarray:
    """Returns the weights, fitted on held-out photos if there are none."""
    if weights is not None:
        return weights
    fitted = fit_run_weights([p.probabilities for p in predictions], labels, metric=wanted.metric)
    shown = ",".join(f"{weight:.3f}" for weight in fitted)
    print(f"Weights of the runs: {shown}, fitted on {len(labels)} held-out photos.", flush=True)
    return fitted
