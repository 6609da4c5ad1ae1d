"""Writes a soup as a run that every command takes like a trained one."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from carclf import runs
from carclf.averaging.averager import Averager
from carclf.averaging.methods import WeightedMean
from carclf.averaging.plan import SoupPlan
from carclf.device import Device
from carclf.files import write_atomically
from carclf.flags import to_dict
from carclf.inference.dataset_predictions import Predictions
from carclf.inference.evaluation import evaluate_predictions
from carclf.inference.metrics import Evaluation
from carclf.runs import Run
from carclf.runs.closing import CLEAN, with_evaluation
from carclf.runs.emptying import empty_folder
from carclf.runs.machine import describe_machine
from carclf.runs.opening import begin_run
from carclf.runs.weights_files import verified_sha256
from carclf.storage import copies
from carclf.train_options import ALL_FOLDS

HISTORY_HEADER = b"epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds\n"  # no epoch follows


def begin_soup(
    averager: Averager, tried: Sequence[WeightedMean], *, device: Device, data: str, command: Sequence[str]
) -> Run:
    """Writes the weights of the last mean that was tried, with all that a run has before its scores; returns the run.

    Args:
      averager: measured the means; this process holds the folder of its plan.
      tried: the means, the soup last.
      device: where they were computed.
      data: the value of `--data`.
      command: the arguments of `carclf.soup`.
    """
    plan = averager.plan
    empty_folder(plan.directory)
    write_atomically(plan.directory / runs.HISTORY_FILE, HISTORY_HEADER)
    averager.save(tried[-1], plan.directory / runs.BEST_WEIGHTS)
    stage = _stage(plan, tried, data=data, command=command) | describe_machine(device)
    return begin_run(plan.directory, stage, data=plan.manifest)


def with_scores(run: Run, averager: Averager, soup: WeightedMean, *, seconds: float) -> tuple[Run, Evaluation | None]:
    """Returns the run with the metrics that `close_run` writes, and its evaluation; None without held-out photos."""
    plan = averager.plan
    fit = {"best_epoch": None, "epochs": 0, "train_seconds": round(seconds, 3)}
    if soup.probabilities is None:
        metrics = {"metric": plan.metric.name, "val_accuracy": None, **fit}
        return dataclasses.replace(run, metrics=metrics), None
    predictions = Predictions(averager.rows, soup.probabilities)
    evaluation = evaluate_predictions(predictions, plan.manifest, metric=plan.metric)
    return with_evaluation(run, evaluation.to_dict(), views=CLEAN, fit=fit), evaluation


def _stage(plan: SoupPlan, tried: Sequence[WeightedMean], *, data: str, command: Sequence[str]) -> dict[str, Any]:
    """Returns the content of stage.json but for the machine: the leader's settings, and what was averaged."""
    leader, manifest, patch = plan.leader, plan.manifest, plan.manifest.label_patch
    options = dataclasses.replace(
        leader.options,
        data=data,
        run=copies.place_of(plan.directory),
        runs=plan.runs_folder,
        init_from=copies.place_of(leader.directory),
        val_fold=ALL_FOLDS if plan.fold is None else plan.fold,
    )
    val_photos = 0 if plan.fold is None else manifest.photos("train", [plan.fold])
    return {
        "format_version": runs.FORMAT_VERSION,
        "stage": runs.run_name(plan.directory),
        "options": to_dict(options),
        "data": {
            **leader.stage["data"],
            "directory": str(manifest.directory),
            "train_photos": manifest.photos("train") + manifest.photos("extra") - val_photos,
            "val_photos": val_photos,
            "label_patch": {"sha256": patch.sha256, "photos": len(patch.labels)} if patch else None,
            "pseudo_labels": next(
                (known for run in plan.ingredients if (known := run.stage["data"].get("pseudo_labels"))), None
            ),
        },
        "metric": plan.metric.name,
        **({"preset": leader.stage["preset"]} if "preset" in leader.stage else {}),
        "parent": {
            "run": copies.place_of(leader.directory),
            "stage": leader.stage.get("stage", leader.name),
            "val_accuracy": (leader.metrics or {}).get("val_accuracy"),
        },
        "soup": _soup(plan, tried, command=command),
    }


def _soup(plan: SoupPlan, tried: Sequence[WeightedMean], *, command: Sequence[str]) -> dict[str, Any]:
    """Returns what stage.json says about the ingredients and the means that were tried."""
    return {
        "method": plan.method,
        "command": list(command),
        "ingredients": [
            {
                "run": copies.place_of(run.directory),
                "weights_sha256": verified_sha256(run.best_weights, recorded=run.recorded_hashes),
                "val_fold": run.options.val_fold,
                "share": share,
                "val_score": plan.scores[number] if plan.scores else None,
            }
            for number, (run, share) in enumerate(zip(plan.ingredients, tried[-1].shares, strict=True))
        ],
        "trials": [
            {"shares": list(trial.shares), "val_score": trial.score} for trial in tried if trial.score is not None
        ],
    }
