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
from carclf.prediction_options import PREDICTION, RUNS, PredictionOptions
from carclf.progress import Progress
from carclf.runs import Member

if TYPE_CHECKING:
    from carclf.data.manifest import Manifest
    from carclf.forms import Form
    from carclf.inference.answer_form import Plan
    from carclf.inference.decisions import Decision
    from carclf.inference.photo_predictor import PhotoPredictor
    from carclf.inference.predictor import Predictions

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
    form: str = option(
        "auto",
        "Form of the answers; auto is that of the data set, else read from the sample submission. ranking(5) says how "
        "many labels a cell holds.",
        names="carclf.forms.kinds:FORMS",
        check="carclf.forms:check_form",
        group=RUNS,
    )
    positive: str = option(
        "", "With two classes: the one whose probability is asked for; by default found by its name.", group=RUNS
    )
    decision: str = option(
        "auto",
        "What to fit on the held-out photos for the metric: temperature (log_loss), thresholds (qwk), offsets "
        "(macro_f1, balanced_accuracy), or plain for nothing; auto fits the first two where they help.",
        names="carclf.inference.decision_kinds:DECISIONS",
        check="carclf.inference.decisions:check_decision",
        group=PREDICTION,
    )
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
            for name in ("data", "sample", "probabilities", "compare", "positive"):
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
    from carclf.inference.answer_form import plan_answers
    from carclf.inference.compatibility import check_classes, held_out_folds, metric_of
    from carclf.inference.decisions import plan_decision
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
    plan = plan_answers(
        manifest, sample_file=options.sample, held_out=held_out, form=options.form, positive=options.positive
    )
    photos = manifest.read_ids(split)
    if held_out:
        photos = photos[photos["fold"].isin(folds)]
    # Now, and not after an hour of work.
    submission.check_ids(photos["id"].tolist(), order=plan.sample.ids if plan.sample else None)
    older = None
    if options.compare:
        path = Path(options.compare)
        older = comparison.read_submission(path, form=plan.form, class_labels=manifest.class_labels)
        comparison.check_same_ids(older, photos["id"].tolist(), path=path)
    if options.probabilities.lower().endswith(".parquet"):
        submission.require_parquet()
    metric = metric_of(options.metric, members=members, form=plan.form)
    wanted = plan_decision(options.decision, members=members, manifest=manifest, metric=metric, form=plan.form)

    from carclf.device import select_device

    device = select_device(options.device, precision=members[0].runs[0].options.precision)
    print(device.describe(), flush=True)
    print(*(f"{note}\n" for note in (*plan.notes, *wanted.notes)), sep="", end="", flush=True)

    from carclf.inference.answering import predict_answers

    predictions, decision = predict_answers(
        members,
        manifest=manifest,
        folds=folds or wanted.folds,
        held_out=held_out,
        views=views,
        tta_mean=options.tta_mean,
        weights=weights,
        wanted=wanted,
        batch_size=options.batch_size,
        device=device,
    )
    ids = photos["id"].loc[predictions.rows].tolist()
    answers = write_answers(options, predictions, decision, ids=ids, plan=plan, manifest=manifest)
    count = sum(len(member.runs) for member in members)
    shown = "" if plan.form.kind == "label" else f" of {plan.form.describe()}"
    print(f"Submission: {options.output} ({len(answers)} rows{shown}, {len(views)} views of {count} run(s))")
    if options.probabilities:
        print(f"Probabilities: {options.probabilities}")
    if older is not None:
        tell_changes(options, older=older, newer=answers, form=plan.form, manifest=manifest, split=split)
    return 0


def write_answers(
    options: PredictOptions,
    predictions: "Predictions",
    decision: "Decision",
    *,
    ids: Sequence[str],
    plan: "Plan",
    manifest: "Manifest",
) -> Mapping[str, Sequence[str]]:
    """Writes the submission and, if asked for, the probabilities before any decision; returns the answers by Id."""
    from carclf.inference import submission

    probabilities, labels = decision.apply(predictions.probabilities)
    answers = submission.write_submission(
        output=Path(options.output),
        ids=ids,
        probabilities=probabilities,
        class_labels=manifest.class_labels,
        form=plan.form,
        sample=plan.sample,
        labels=labels,
    )
    if options.probabilities:
        submission.write_probabilities(
            output=Path(options.probabilities),
            ids=ids,
            probabilities=predictions.probabilities,
            class_names=manifest.class_names,
            id_name=plan.form.id_name,
            order=plan.sample.ids if plan.sample else None,
        )
    return answers


def tell_changes(
    options: PredictOptions,
    *,
    older: Mapping[str, Sequence[str]],
    newer: Mapping[str, Sequence[str]],
    form: "Form",
    manifest: "Manifest",
    split: str,
) -> None:
    """Prints how this submission differs from an older one, and writes a list and a picture of the changes."""
    import pandas as pd

    from carclf.data.decoder import decode
    from carclf.data.photos import read_photos
    from carclf.inference import comparison, submission
    from carclf.report.pictures import draw_contact_sheet

    names = dict(zip(manifest.class_labels, manifest.class_names, strict=True))
    labels = [
        comparison.labels_in(answers, form=form, class_labels=manifest.class_labels) for answers in (older, newer)
    ]
    changed = comparison.changes(*labels)
    print(f"Against {options.compare}, {comparison.describe(changed, photos=len(newer), names=names)}")
    if form.kind != "label":
        mean = comparison.mean_difference(older, newer, form=form)
        print(f"The answers differ by {mean:.4f} on average (0: the same, 1: nothing in common).")
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
