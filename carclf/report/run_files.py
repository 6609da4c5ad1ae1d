"""Writes the files of a run for people: report.html and its pictures."""

from pathlib import Path

import numpy as np
import pandas as pd

from carclf import runs
from carclf.data.manifest import Manifest
from carclf.data.photos import read_photos
from carclf.errors import UserError
from carclf.inference.attention import photo_heat
from carclf.inference.metrics import MATRIX_CLASSES, Evaluation
from carclf.inference.programs import load_classifier
from carclf.metrics import find_metric
from carclf.progress import Progress
from carclf.report.charts import draw_history
from carclf.report.confusion import draw_confusion, draw_pairs
from carclf.report.heat import overlay
from carclf.report.page import MistakePictures, write_page
from carclf.report.thumbnails import decode_small, to_jpeg

MISTAKES_SHOWN = 24


def write_report(run: runs.Run, *, evaluation: Evaluation, manifest: Manifest, views: str, runs_folder: str) -> Path:
    """Writes history.png, confusion.png and report.html, and returns the path of report.html.

    Args:
      run: the run that was evaluated, with its metrics (`carclf.runs.closing.with_evaluation`).
      evaluation: on its held-out fold.
      manifest: its data set.
      views: their names, joined by '|'.
      runs_folder: where parents are looked up.
    """
    history = read_history(run)
    with Progress("Drawing history and confusion"):
        metric = find_metric(run.followed_metric).title
        draw_history(history, path=run.directory / "history.png", title=run.name, metric=metric)
        _draw_mistaken(evaluation, path=run.directory / "confusion.png", name=run.name)
    page = run.directory / "report.html"
    write_page(
        run=run,
        history=history,
        evaluation=evaluation,
        tta=views,
        parents=runs.parent_runs(run, runs=runs_folder),
        pictures=mistake_pictures(run, evaluation, manifest),
        path=page,
    )
    return page


def read_history(run: runs.Run) -> pd.DataFrame:
    """Returns the figures of a run's epochs, one row each, all numbers.

    Raises:
      UserError: the file is missing or damaged.
    """
    path = run.history
    try:
        return pd.read_csv(path).astype("float64").astype({"epoch": "int64"})
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} is damaged ({reason}): copy the run again, or train it again with --overwrite."
        ) from None


def _draw_mistaken(evaluation: Evaluation, *, path: Path, name: str) -> None:
    """Writes the confusion matrix, or the most confused pairs of very many classes."""
    title = f"{name}, {evaluation.photos} held-out photos"
    if len(evaluation.per_class) > MATRIX_CLASSES:
        draw_pairs(evaluation.most_confused, path=path, title=title)
        return
    names = [score.name for score in evaluation.per_class]
    draw_confusion(evaluation.confusion.matrix(), class_names=names, path=path, title=title)


def mistake_pictures(run: runs.Run, evaluation: Evaluation, manifest: Manifest) -> dict[str, MistakePictures]:
    """Returns the pictures of the most confident mistakes by photo id, from the run's best weights."""
    shown = evaluation.mistakes[:MISTAKES_SHOWN]
    if not shown:
        return {}
    row_of = {name: row for row, name in enumerate(manifest.read_ids("train")["id"])}
    label_of = {name: label for label, name in enumerate(manifest.class_names)}
    folds = [run.options.val_fold]
    classifier, framing = load_classifier(run)
    heat = photo_heat(
        classifier,
        framing=framing,
        rendering=run.rendering,
        manifest=manifest,
        split="train",
        folds=folds,
        labels={row_of[m.id]: (label_of[m.predicted], label_of[m.true]) for m in shown},
    )
    encoded = read_photos(manifest, split="train", folds=folds, rows=list(heat))
    return {mistake.id: _pictures(encoded[row_of[mistake.id]], *heat[row_of[mistake.id]]) for mistake in shown}


def _pictures(encoded: bytes, heat: np.ndarray, geometry: np.ndarray) -> MistakePictures:
    small = decode_small(encoded)
    overlays = [to_jpeg(overlay(small, heat[..., label], geometry=geometry)) for label in range(2)]
    return MistakePictures(photo=to_jpeg(small), predicted=overlays[0], true=overlays[1])
