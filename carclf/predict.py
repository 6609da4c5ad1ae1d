"""`python -m carclf.predict`: predicts the classes of the test photos, in the competition's format."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carclf import runs
from carclf.command import USAGE_ERROR, run_command
from carclf.errors import UserError
from carclf.flags import option, refuse, require_flags
from carclf.prediction_options import RUNS, PredictionOptions
from carclf.progress import Progress
from carclf.runs import Member

if TYPE_CHECKING:
    import numpy as np

    from carclf.data.manifest import Manifest
    from carclf.device import Device
    from carclf.inference.photo_predictor import PhotoPredictor
    from carclf.inference.predictor import Predictions
    from carclf.recipe import View

DESCRIPTION = """Predicts the test photos with a run, or the mean of several, and writes submission.csv.

The file has exactly the Ids of the sample submission, in its order; otherwise none is written. --photo=car.jpg,folder
predicts any photos instead and prints their likeliest classes.
Example: python -m carclf.predict --run=runs/b3_512 --data=data/cars --tta='random(10)' --output=submission.csv"""
SHEET_PHOTOS = 60  # at most, on a contact sheet


@dataclasses.dataclass(frozen=True)
class PredictOptions(PredictionOptions):
    """Every option of `python -m carclf.predict`."""

    output: str = option("submission.csv", "Submission to write.", group=RUNS, path=True)
    split: str = option(
        "test",
        "Photos to predict: the test photos, or val, the fold that the run held out.",
        choices=("test", "val"),
        group=RUNS,
    )
    sample: str = option("", "Sample submission to follow; by default the data set's own.", group=RUNS, path=True)
    probabilities: str = option(
        "", "Also write all probabilities to this file, .csv or .parquet.", group=RUNS, path=True
    )
    compare: str = option(
        "",
        "Older submission to compare with: lists the photos that changed, and draws them beside --output.",
        group=RUNS,
        path=True,
    )
    photo: str = option(
        "",
        "Photos or folders, separated by commas: print their likeliest classes instead; needs no --data.",
        group=RUNS,
        path=True,
    )
    top: int = option(3, "With --photo: number of classes to print.", low=1, group=RUNS)

    def __post_init__(self) -> None:
        """Checks each option, then the rules between options."""
        super().__post_init__()
        if self.photo:
            require_flags(self, "run")
            for name in ("data", "sample", "probabilities", "compare"):
                refuse(bool(getattr(self, name)), name, getattr(self, name), "--photo predicts without a data set")
            refuse(self.run_weights == "fitted", "run_weights", self.run_weights, "--photo has nothing to fit on")
            return
        require_flags(self, "run", "data", "output")
        kinds = (".csv", ".parquet")
        named = not self.probabilities or self.probabilities.lower().endswith(kinds)
        refuse(not named, "probabilities", self.probabilities, f"it must end with {' or '.join(kinds)}")


def main(options: PredictOptions) -> int:
    """Predicts and writes the submission, or prints the classes of single photos."""
    members = runs.load_members(options.run, runs=options.runs)
    return predict_files(options, members) if options.photo else predict_dataset(options, members)


def predict_dataset(options: PredictOptions, members: Sequence[Member]) -> int:
    """Writes the submission and everything else that was asked for, and returns 0.

    Raises:
      UserError: something does not fit; nothing was written.
    """
    from carclf.data.manifest import load_manifest
    from carclf.inference import comparison, submission
    from carclf.inference.compatibility import check_classes, held_out_folds
    from carclf.inference.ensemble import FITTED, parse_run_weights
    from carclf.recipe import parse_views

    manifest = load_manifest(options.data)
    check_classes([run for member in members for run in member.runs], manifest)
    held_out = options.split == "val"
    folds = held_out_folds(members, manifest) if held_out or options.run_weights == FITTED else []
    split = "train" if held_out else "test"
    views = parse_views(options.tta)
    weights = parse_run_weights(options.run_weights, count=len(members))
    if not manifest.photos(split, folds if held_out else None):
        raise UserError(
            f"The data set {manifest.directory} has no test photos: convert it with a test folder, or predict the "
            "held-out fold with --split=val."
        )
    sample = options.sample or (None if held_out else manifest.sample_submission)
    header, order = submission.read_sample(Path(sample)) if sample else (["Id", "Category"], None)
    photos = manifest.read_ids(split)
    if held_out:
        photos = photos[photos["fold"].isin(folds)]
    # Now, and not after an hour of work.
    submission.check_ids(photos["id"].tolist(), order=order)
    older = comparison.read_submission(Path(options.compare)) if options.compare else None
    if older is not None:
        comparison.check_same_ids(older, photos["id"].tolist(), path=Path(options.compare))
    if options.probabilities.lower().endswith(".parquet"):
        submission.require_parquet()

    from carclf.device import select_device

    device = select_device(options.device, precision=members[0].runs[0].options.precision)
    print(device.describe(), flush=True)
    predictions = predict(options, members, manifest=manifest, views=views, folds=folds, weights=weights, device=device)
    ids = photos["id"].loc[predictions.rows].tolist()
    labels = submission.write_submission(
        output=Path(options.output),
        ids=ids,
        probabilities=predictions.probabilities,
        class_labels=manifest.class_labels,
        header=header,
        order=order,
    )
    count = sum(len(member.runs) for member in members)
    print(f"Submission: {options.output} ({len(labels)} rows, {len(views)} views of {count} run(s))")
    if options.probabilities:
        submission.write_probabilities(
            output=Path(options.probabilities),
            ids=ids,
            probabilities=predictions.probabilities,
            class_names=manifest.class_names,
            id_name=header[0],
            order=order,
        )
        print(f"Probabilities: {options.probabilities}")
    if older is not None:
        tell_changes(options, older=older, newer=labels, manifest=manifest, split=split)
    return 0


def predict(
    options: PredictOptions,
    members: Sequence[Member],
    *,
    manifest: "Manifest",
    views: "Sequence[View]",
    folds: Sequence[int],
    weights: "np.ndarray | None",
    device: "Device",
) -> "Predictions":
    """Returns the members' weighted mean; without `weights`, fits them first on the members' held-out photos."""
    from carclf.inference.compatibility import load_labels
    from carclf.inference.ensemble import fit_run_weights
    from carclf.inference.evaluation import labels_of
    from carclf.inference.predictor import mean_predictions, predict_held_out, predict_members

    how: dict[str, Any] = {
        "views": views,
        "tta_mean": options.tta_mean,
        "batch_size": device.whole_batch(options.batch_size),
        "jit": device.jit,
    }
    held_out = options.split == "val"
    with device.scope():
        if held_out or weights is None:
            predictions = predict_held_out(members, manifest=manifest, folds=folds, **how)
        if weights is None:
            labelled = load_labels("", members=members, manifest=manifest)
            weights = fit_run_weights([p.probabilities for p in predictions], labels_of(predictions[0], labelled))
            fitted = ",".join(f"{weight:.3f}" for weight in weights)
            print(f"Weights of the runs: {fitted}, fitted on {len(predictions[0].rows)} held-out photos.", flush=True)
        if not held_out:
            predictions = predict_members(members, manifest=manifest, split="test", **how)
    return mean_predictions(predictions, weights=weights)


def tell_changes(
    options: PredictOptions, *, older: Mapping[str, str], newer: Mapping[str, str], manifest: "Manifest", split: str
) -> None:
    """Prints how this submission differs from an older one, and writes a list and a picture of the changes."""
    import pandas as pd

    from carclf.data.decoder import decode
    from carclf.data.photos import read_photos
    from carclf.inference import comparison, submission
    from carclf.report.pictures import draw_contact_sheet

    names = dict(zip(manifest.class_labels, manifest.class_names, strict=True))
    changed = comparison.changes(older, newer)
    print(f"Against {options.compare}, {comparison.describe(changed, photos=len(newer), names=names)}")
    if not changed:
        return
    output = Path(options.output)
    table, sheet = output.with_suffix(".changes.csv"), output.with_suffix(".changes.jpg")
    submission.write_table(pd.DataFrame(changed, columns=["Id", "before", "after"]), table)
    shown = changed[:SHEET_PHOTOS]
    rows = {name: row for row, name in enumerate(manifest.read_ids(split)["id"])}
    encoded = read_photos(manifest, split=split, rows=[rows[change.id] for change in shown])
    draw_contact_sheet(
        [decode(encoded[rows[change.id]]) for change in shown],
        [
            f"{change.id}\n{short_change(names.get(change.before, change.before), names[change.after])}"
            for change in shown
        ],
        path=sheet,
        title=f"{len(shown)} of {len(changed)} changed photos: {options.compare} → {options.output}",
    )
    print(f"Changes: {table}, {sheet}")


def short_change(before: str, after: str) -> str:
    """Returns one short line with two classes, in which they can be told apart."""
    from carclf.report.names import short_names

    return " → ".join(short_names((before, after), length=14))


def predict_files(options: PredictOptions, members: Sequence[Member]) -> int:
    """Prints the most likely classes of every photo; returns 0, or 2 if some could not be read.

    Raises:
      UserError: there is no such file, or a run cannot be loaded.
    """
    from carclf.inference.ensemble import parse_run_weights
    from carclf.inference.photo_files import photo_files
    from carclf.recipe import parse_views

    paths = photo_files(options.photo)
    views = parse_views(options.tta)
    weights = parse_run_weights(options.run_weights, count=len(members))
    assert weights is not None  # the options refuse fitted weights here

    from carclf.device import select_device

    device = select_device(options.device, precision=members[0].runs[0].options.precision)

    from carclf.inference.photo_predictor import PhotoPredictor

    predictor = PhotoPredictor(
        [run for member in members for run in member.runs],
        run_weights=[
            weight / len(member.runs) for member, weight in zip(members, weights, strict=True) for _ in member.runs
        ],
        views=views,
        tta_mean=options.tta_mean,
        batch_size=device.whole_batch(min(options.batch_size, len(paths))),
        jit=device.jit,
    )
    unread = print_classes(predictor, paths, top=options.top, batch_size=options.batch_size)
    if unread:
        print(f"Error: {unread} of {len(paths)} files could not be read.", file=sys.stderr)
    return USAGE_ERROR if unread else 0


def print_classes(predictor: "PhotoPredictor", paths: Sequence[Path], *, top: int, batch_size: int) -> int:
    """Prints a line for each readable file, a few at a time; returns the number of files that could not be read."""
    from carclf.data.validation import UnusableError
    from carclf.inference.photo_files import printable, read_files, table_line

    unread = 0
    waiting: list[tuple[Path, Any]] = []

    def flush() -> None:
        with Progress(f"Predicting {len(waiting)} photos"):
            predicted = predictor.predict_prepared([photo for _, photo in waiting])
        for (path, _), probabilities in zip(waiting, predicted, strict=True):
            print(table_line(path, probabilities, class_names=predictor.class_names, top=top), flush=True)
        waiting.clear()

    for path, raw in read_files(paths):
        try:
            if isinstance(raw, OSError):
                raise UnusableError(raw.strerror or str(raw))
            waiting.append((path, predictor.prepare(raw)))
        except UnusableError as error:
            unread += 1
            print(f"{printable(str(path))} cannot be read: {error}.", file=sys.stderr)
        if len(waiting) == batch_size:
            flush()
    flush()
    return unread


if __name__ == "__main__":
    run_command(main, PredictOptions, description=DESCRIPTION)
