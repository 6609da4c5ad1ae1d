"""`python -m carclf.predict`: predicts the classes of the test photos, in the competition's format."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carclf import runs
from carclf.command import USAGE_ERROR, run_command
from carclf.flags import option, refuse, require_flags
from carclf.prediction_options import PREDICTION, RUNS, PredictionOptions
from carclf.progress import Progress
from carclf.runs import Member

if TYPE_CHECKING:
    from carclf.inference.decisions import Decision
    from carclf.inference.job import Job
    from carclf.inference.photo_predictor import PhotoPredictor
    from carclf.inference.predictor import Predictions

DESCRIPTION = """Predicts the test photos with a run, or the mean of several, and writes submission.csv.

The file has exactly the Ids of the sample submission, in its order; otherwise none is written. --photo=car.jpg,folder
predicts any photos instead and prints their likeliest classes.
Example: python -m carclf.predict --run=runs/b3_512 --data=data/cars --tta='random(10)' --output=submission.csv"""


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
    from carclf.inference.ensemble import FITTED, parse_run_weights
    from carclf.inference.job import plan_job
    from carclf.inference.submission import require_parquet
    from carclf.recipe import parse_views

    views = parse_views(options.tta)
    weights = parse_run_weights(options.run_weights, count=len(members))
    if options.probabilities.lower().endswith(".parquet"):
        require_parquet()
    job = plan_job(
        load_manifest(options.data),
        members=members,
        held_out=options.split == "val",
        fits_weights=options.run_weights == FITTED,
        sample_file=options.sample,
        form=options.form,
        positive=options.positive,
        metric=options.metric,
        decision=options.decision,
        older_file=options.compare,
    )

    from carclf.device import select_device

    device = select_device(options.device, precision=members[0].runs[0].options.precision)
    print(*(device.describe(), *job.plan.notes, *job.wanted.notes), sep="\n", flush=True)

    from carclf.inference.answering import predict_answers

    predictions, decision = predict_answers(
        members,
        manifest=job.manifest,
        folds=job.folds,
        held_out=options.split == "val",
        views=views,
        tta_mean=options.tta_mean,
        weights=weights,
        wanted=job.wanted,
        batch_size=options.batch_size,
        device=device,
    )
    answers = write_answers(options, job, predictions, decision)
    count = sum(len(member.runs) for member in members)
    shown = "" if job.plan.form.kind == "label" else f" of {job.plan.form.describe()}"
    print(f"Submission: {options.output} ({len(answers)} rows{shown}, {len(views)} views of {count} run(s))")
    if options.probabilities:
        print(f"Probabilities: {options.probabilities}")
    if job.older is not None:
        compare(options, job, answers)
    return 0


def write_answers(
    options: PredictOptions, job: "Job", predictions: "Predictions", decision: "Decision"
) -> Mapping[str, Sequence[str]]:
    """Writes the submission and, if asked for, the probabilities before any decision; returns the answers by Id."""
    from carclf.inference import submission

    ids, plan = job.ids.loc[predictions.rows].tolist(), job.plan
    probabilities, labels = decision.apply(predictions.probabilities)
    answers = submission.write_submission(
        output=Path(options.output),
        ids=ids,
        probabilities=probabilities,
        class_labels=job.manifest.class_labels,
        form=plan.form,
        sample=plan.sample,
        labels=labels,
    )
    if options.probabilities:
        submission.write_probabilities(
            output=Path(options.probabilities),
            ids=ids,
            probabilities=predictions.probabilities,
            class_names=job.manifest.class_names,
            id_name=plan.form.id_name,
            order=plan.sample.ids if plan.sample else None,
        )
    return answers


def compare(options: PredictOptions, job: "Job", answers: Mapping[str, Sequence[str]]) -> None:
    """Prints how these answers differ from those of `--compare`."""
    from carclf.report.changes import print_changes

    assert job.older is not None
    print_changes(
        job.older,
        answers,
        form=job.plan.form,
        manifest=job.manifest,
        split=job.split,
        older_file=options.compare,
        output=Path(options.output),
    )


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
