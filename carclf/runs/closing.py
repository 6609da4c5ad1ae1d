"""How a run's folder is closed: with what its best weights reach on the photos that they never saw."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from carclf.files import write_json
from carclf.runs.run import METRICS_FILE, Run

CLEAN = "clean"  # the name of the view in which a photo is as it is


def with_evaluation(
    run: Run, evaluation: Mapping[str, Any], *, views: str, fit: Mapping[str, Any] | None = None
) -> Run:
    """The run with the metrics that `close_run` is to write.

    `val_accuracy` is always that of the clean view; what several views reach stands beside it under `tta`.

    Args:
      run: that was evaluated.
      evaluation: on its held-out fold (`carclf.inference.metrics.Evaluation.to_dict`).
      views: their names, joined by '|'.
      fit: how the training ended, when it just has: best_epoch, epochs and train_seconds.
    """
    metrics = dict(fit or run.metrics or {})
    if views == CLEAN:
        metrics |= {
            "val_accuracy": evaluation["accuracy"],
            "val_loss": evaluation["log_loss"],
            "val_photos": evaluation["photos"],
            "evaluation": evaluation,
        }
    else:
        metrics["tta"] = {"views": views, "evaluation": evaluation}
    return dataclasses.replace(run, metrics=metrics)


def close_run(run: Run) -> None:
    """Writes metrics.json, the last of a run's files: a run that has it is finished."""
    assert run.metrics is not None
    write_json(run.directory / METRICS_FILE, run.metrics)
