"""Closes a run's folder with the scores of its best weights on photos that they never saw."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from carclf import hashed_json
from carclf.runs.run import BEST_WEIGHTS, HISTORY_FILE, LAST_WEIGHTS, METRICS_FILE, Run
from carclf.runs.weights_files import verified_sha256

CLEAN = "clean"  # the name of the view that leaves a photo unchanged


def with_evaluation(
    run: Run,
    evaluation: Mapping[str, Any],
    *,
    views: str,
    fit: Mapping[str, Any] | None = None,
    engines: Sequence[str] = ("keras",),
) -> Run:
    """Returns the run with the metrics that `close_run` writes.

    `val_accuracy` and `val_score`, the metric that counts, always belong to the clean view; the scores of several views
    are in `tta`.

    Args:
      run: the evaluated run.
      evaluation: on its validation fold (`carclf.inference.metrics.Evaluation.to_dict`).
      views: names of the views, joined by '|'.
      fit: how the training ended, if it has just ended: best_epoch, epochs and train_seconds.
      engines: the ones that computed the evaluated probabilities, by their names in `carclf.engines.table.ENGINES`.
    """
    metrics = dict(fit or run.metrics or {})
    if views == CLEAN:
        metrics |= {
            "metric": evaluation["metric"],
            "val_score": evaluation["score"],
            "val_accuracy": evaluation["accuracy"],
            "val_loss": evaluation["log_loss"],
            "val_photos": evaluation["photos"],
            "engines": list(engines),
            "evaluation": evaluation,
        }
    else:
        metrics["tta"] = {"views": views, "engines": list(engines), "evaluation": evaluation}
    return dataclasses.replace(run, metrics=metrics)


def close_run(run: Run) -> None:
    """Writes metrics.json with the hashes of weights and history; as the last file it marks the run as finished.

    Raises:
      UserError: a file is not the one that was written.
    """
    assert run.metrics is not None
    known = run.metrics.get("files_sha256") or {}
    files = [run.directory / name for name in (BEST_WEIGHTS, LAST_WEIGHTS, HISTORY_FILE)]
    hashes = {path.name: verified_sha256(path, recorded=known) for path in files if path.is_file()}
    hashed_json.write(run.directory / METRICS_FILE, {**run.metrics, "files_sha256": hashes})
