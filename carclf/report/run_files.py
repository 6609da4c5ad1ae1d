"""The files of a run that people and later commands read: metrics.json, the pictures, report.html."""

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from carclf import runs
from carclf.data.manifest import Manifest
from carclf.data.photos import read_photos
from carclf.inference.metrics import Evaluation
from carclf.report.page import write_page
from carclf.report.pictures import draw_confusion, draw_history

CLEAN = "clean"
THUMBNAIL_PX = 160
MISTAKES_SHOWN = 24


def write_evaluation(
    run: runs.Run,
    *,
    evaluation: Evaluation,
    manifest: Manifest,
    tta: str,
    runs_folder: str,
    fit: Mapping[str, Any] | None = None,
) -> Path:
    """The path of report.html, after writing it, history.png, confusion.png and, last, metrics.json.

    `val_accuracy` in metrics.json is always that of the clean view; what TTA reaches stands beside it under `tta`.

    Args:
      run: the run that was evaluated.
      evaluation: on its held-out fold.
      manifest: its data set.
      tta: names of the views, joined by '|'.
      runs_folder: where parents are looked up.
      fit: best_epoch, epochs and train_seconds when the run has just been trained.
    """
    metrics = dict(fit or run.metrics or {})
    if tta == CLEAN:
        metrics |= {
            "val_accuracy": evaluation.accuracy,
            "val_loss": evaluation.log_loss,
            "val_photos": evaluation.photos,
            "evaluation": evaluation.to_dict(),
        }
    else:
        metrics["tta"] = {"views": tta, "evaluation": evaluation.to_dict()}
    run = dataclasses.replace(run, metrics=metrics)
    history = pd.read_csv(run.directory / runs.HISTORY_FILE)
    draw_history(history, path=run.directory / "history.png", title=run.name)
    draw_confusion(
        np.asarray(evaluation.confusion),
        class_names=manifest.class_names,
        path=run.directory / "confusion.png",
        title=f"{run.name}, {evaluation.photos} held-out photos",
    )
    page = run.directory / "report.html"
    write_page(
        run=run,
        history=history,
        evaluation=evaluation,
        tta=tta,
        parents=runs.parent_runs(run, runs=runs_folder),
        thumbnails=_thumbnails(evaluation, manifest, val_fold=run.options.val_fold),
        path=page,
    )
    runs.write_json(run.directory / runs.METRICS_FILE, metrics)
    return page


def _thumbnails(evaluation: Evaluation, manifest: Manifest, *, val_fold: int) -> dict[str, bytes]:
    shown = {mistake.id for mistake in evaluation.mistakes[:MISTAKES_SHOWN]}
    photos = manifest.read_ids("train")
    rows = {row: name for row, name in enumerate(photos["id"]) if name in shown}
    found = read_photos(manifest, split="train", folds=[val_fold], rows=rows)
    return {rows[row]: _thumbnail(encoded) for row, encoded in found.items()}


def _thumbnail(encoded: bytes) -> bytes:
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
