"""What a probe becomes: a run, the flag file of a head stage, and a list of photos that nothing gets right."""

import io
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from carclf import runs
from carclf.data.manifest import Manifest
from carclf.device import Device
from carclf.files import write_atomically
from carclf.flags import changed_options
from carclf.inference.metrics import evaluate
from carclf.metrics import Metric
from carclf.model.head_start import start_head
from carclf.probing.extractors import Extractor
from carclf.probing.kept import KeptFeatures
from carclf.probing.photos import TrainingPhotos
from carclf.probing.probes import Probe, labelled, mean_of, missed_by_all
from carclf.runs.closing import CLEAN, close_run, with_evaluation
from carclf.runs.opening import begin_run, open_run, prepare_folder
from carclf.train_options import TrainOptions
from carclf.training.callbacks import HISTORY_COLUMNS, save_weights
from carclf.training.description import describe_stage
from carclf.training.stage import plan_stage
from carclf.training.stage_models import make_models

EPOCHS, LEARNING_RATE = 20, 1e-4  # of the head stage, which stops when it gains nothing
LEAST_WIDTH, LARGEST_BATCH = 128, 32
MISSED_COLUMNS = ("id", "class", "predicted", "probability")


def head_options(
    extractor: Extractor,
    *,
    data: str,
    run: Path,
    val_fold: int,
    directions: int,
    train_photos: int,
    fit: str,
    replicas: int = 1,
) -> TrainOptions:
    """Returns the options of a head stage on the extractor's backbone, whose head can say all that a regression says.

    Args:
      extractor: the backbone.
      data: the data set's folder.
      run: the run's folder.
      val_fold: the fold that it holds out.
      directions: of the features that the regression tells apart, no more than classes or features; two hidden units
        carry each.
      train_photos: photos outside the fold; a batch has no more.
      fit: the resize mode.
      replicas: devices that share a batch evenly.
    """
    return TrainOptions(
        data=data,
        run=str(run),
        val_fold=val_fold,
        backbone=extractor.backbone,
        weights=extractor.weights_path,
        image_size=extractor.size,
        fit=fit,
        augment="flip",
        unfreeze="head",
        head_width=max(LEAST_WIDTH, 2 * directions),
        batch_size=max(min(LARGEST_BATCH, train_photos) // replicas, 1) * replicas,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        overwrite=True,
    )


def make_run(
    probe: Probe,
    features: KeptFeatures,
    *,
    options: TrainOptions,
    manifest: Manifest,
    photos: TrainingPhotos,
    device: Device,
) -> runs.Run:
    """Writes and returns a finished run: the backbone, and a head that says what the regression of its fold says."""
    directory, fold, started = Path(options.run), options.val_fold, time.perf_counter()
    with open_run(directory, options=options, data=manifest) as opened:
        stage = plan_stage(options, opened=opened, manifest=manifest, device=device)
        with device.scope():
            classifier, _ = make_models(stage)
            start_head(classifier, probe.regressions[fold], labelled(features, photos).rows(photos.folds != fold))
        prepare_folder(opened)
        run = begin_run(directory, describe_stage(stage), data=manifest)
        for name in (runs.BEST_WEIGHTS, runs.LAST_WEIGHTS):
            save_weights(classifier, directory / name)
        write_atomically(directory / runs.HISTORY_FILE, (",".join(HISTORY_COLUMNS) + "\n").encode())  # no epoch
        rows = photos.folds == fold
        evaluation = evaluate(
            probabilities=probe.undrawn[rows],
            labels=photos.labels[rows],
            ids=[photos.ids[row] for row in np.flatnonzero(rows).tolist()],
            class_names=manifest.class_names,
            metric=stage.metric,
        )
        seconds = round(probe.seconds + time.perf_counter() - started, 3)
        fit = {"best_epoch": 0, "epochs": 0, "train_seconds": seconds}
        run = with_evaluation(run, evaluation.to_dict(), views=CLEAN, fit=fit, engines=features.engines)
        close_run(run)
    shutil.rmtree(directory / runs.FEATURES_FOLDER, ignore_errors=True)
    return run


def write_flags(path: Path, options: TrainOptions, *, probe: Probe, score: float, metric: Metric) -> None:
    """Writes the flag file of the head stage, which starts from the regression that `options` leads to."""
    chosen = changed_options(options)
    kept = {name: value for name, value in chosen.items() if name not in ("data", "run", "overwrite")}
    lines = [
        f"# python -m carclf.train --flagfile={path} --data={options.data}",
        f"# Measured: {metric.name} {score:.3f} by the probe {probe.extractor.name}, out of fold.",
        f"--run={path.stem}",
        *(f"--{name}={value}" for name, value in kept.items()),
    ]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def missed_table(probes: Sequence[Probe], photos: TrainingPhotos, class_names: Sequence[str]) -> pd.DataFrame:
    """Returns the photos that no probe gets right, with the class that their mean takes for the likeliest."""
    rows, mean = missed_by_all(probes, photos), mean_of(probes)
    predicted = mean[rows].argmax(axis=1)
    return pd.DataFrame(
        {
            "id": [photos.ids[row] for row in rows.tolist()],
            "class": [class_names[label] for label in photos.labels[rows]],
            "predicted": [class_names[label] for label in predicted],
            "probability": mean[rows, predicted].round(4),
        },
        columns=list(MISSED_COLUMNS),
    )


def write_missed(path: Path, table: pd.DataFrame) -> None:
    """Writes the table as a CSV file."""
    text = io.StringIO()
    table.to_csv(text, index=False, lineterminator="\n")
    write_atomically(path, text.getvalue().encode("utf-8", errors="surrogateescape"))
