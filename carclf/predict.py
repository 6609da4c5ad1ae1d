"""`python -m carclf.predict`: predicts the classes of the test photos, in the competition's format."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from carclf import runs, storage
from carclf.command import USAGE_ERROR, run_command
from carclf.distinct_files import check_distinct
from carclf.flags import option, options_of, refuse, require_flags
from carclf.prediction_options import PREDICTION, RUNS, PredictionOptions
from carclf.runs import Member
from carclf.scratch import scratch_folder
from carclf.storage import copies

if TYPE_CHECKING:
    from carclf.device import Device
    from carclf.engines.choice import Engines
    from carclf.inference.dataset_predictions import Predictions
    from carclf.inference.decisions import Decision
    from carclf.inference.held_out import HeldOut
    from carclf.inference.job import Job

DESCRIPTION = """Predicts the test photos with a run, or the mean of several, and writes submission.csv.

The file has exactly the Ids of the sample submission, in its order; otherwise it is not written. --photos=FOLDER
predicts photos without a data set, as in a code competition. --photo=car.jpg,folder prints the most likely classes.
Example: python -m carclf.predict --run=runs/b3_512 --data=data/cars --tta='random(10)' --output=submission.csv"""

DATA_SET_ONLY = (  # not with --photo
    "data", "output", "split", "sample", "form", "positive", "metric", "decision", "probabilities", "pseudo_labels",
    "uncertain", "compare", "photos",
)  # fmt: skip
CALIBRATED = ("pseudo_labels", "uncertain")  # files with confidences that are calibrated on held-out photos


@dataclasses.dataclass(frozen=True)
class PredictOptions(PredictionOptions):
    """Every option of `python -m carclf.predict`."""

    required = ("run",)

    output: str = option("submission.csv", "Submission file to write.", group=RUNS, path=True, urls=True)
    split: str = option(
        "test",
        "Photos to predict: the test photos, or val, the fold that the run held out.",
        choices=("test", "val"),
        group=RUNS,
    )
    sample: str = option(
        "", "Sample submission to follow; by default the data set's own.", group=RUNS, path=True, urls=True
    )
    form: str = option(
        "auto",
        "Form of the answers; auto is that of the data set, or is read from the sample submission. The number in "
        "ranking(5) is that of labels in a cell.",
        names="carclf.forms.kinds:FORMS",
        check="carclf.forms:check_form",
        group=RUNS,
    )
    positive: str = option(
        "", "With two classes: the one whose probability is asked for; by default recognised by its name.", group=RUNS
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
        "", "Also write all probabilities to this file, .csv or .parquet.", group=RUNS, path=True, urls=True
    )
    pseudo_labels: str = option(
        "",
        "Also write confident predictions of test photos to this CSV file, for carclf.train --pseudo_labels.",
        group=RUNS,
        path=True,
        urls=True,
    )
    pseudo_confidence: float = option(
        0.95,
        "With --pseudo_labels: least confidence of a pseudo-label, calibrated on held-out photos.",
        above=0,
        high=1,
        only_with=("--pseudo_labels", lambda options: bool(options.pseudo_labels)),
        group=PREDICTION,
    )
    uncertain: str = option(
        "",
        "Also write every answer to this CSV file, the least certain first and each with the second likeliest class, "
        "and a picture of the first photos beside it.",
        group=RUNS,
        path=True,
        urls=True,
    )
    compare: str = option(
        "",
        "Older submission to compare with: list and draw the photos whose answer changed, in files beside --output.",
        group=RUNS,
        path=True,
        urls=True,
    )
    photos: str = option(
        "",
        "Folder, zip or tar of photos to predict without a data set: those in --sample, or all. --data is then needed "
        "only to fit a --decision.",
        group=RUNS,
        path=True,
        urls=True,
    )
    on_bad: str = option(
        "prior",
        "With --photos, what to do if an Id has no readable photo or an archive is damaged: prior answers with the "
        "frequency of each class in training, fail writes nothing.",
        choices=("prior", "fail"),
        only_with=("--photos", lambda options: bool(options.photos)),
        group=RUNS,
    )
    photo: str = option(
        "",
        "Photos or folders, separated by commas, whose most likely classes are printed; needs no --data.",
        group=RUNS,
        path=True,
        urls=True,
    )
    top: int = option(
        3,
        "With --photo: number of classes to print.",
        low=1,
        only_with=("--photo", lambda options: bool(options.photo)),
        group=RUNS,
    )

    def __post_init__(self) -> None:
        """Checks each option, then the rules between options."""
        super().__post_init__()
        if self.photo:
            require_flags(self, *self.required)
            known = options_of(PredictOptions)
            for name in DATA_SET_ONLY:
                value = getattr(self, name)
                refuse(
                    value != known[name].default, name, value, "--photo predicts without a data set, and only prints"
                )
            refuse(self.run_weights == "fitted", "run_weights", self.run_weights, "--photo has nothing to fit on")
            return
        if self.photos:
            for name in ("compare", "pseudo_labels", "uncertain"):
                refuse(
                    bool(getattr(self, name)), name, getattr(self, name), "--photos answers for photos of no data set"
                )
            refuse(self.split != "test", "split", self.split, "--photos answers for photos of no data set")
            refuse(self.run_weights == "fitted", "run_weights", self.run_weights, "--photos takes weights as numbers")
        require_flags(self, "run", "output", *(() if self.photos else ("data",)))
        predicts_val = bool(self.pseudo_labels) and self.split != "test"
        refuse(predicts_val, "pseudo_labels", self.pseudo_labels, "only test photos get pseudo-labels")
        listed = not self.uncertain or self.uncertain.lower().endswith(".csv")
        refuse(not listed, "uncertain", self.uncertain, "it must end with .csv, and a picture is written beside it")
        kinds = (".csv", ".parquet")
        named = not self.probabilities or self.probabilities.lower().endswith(kinds)
        refuse(not named, "probabilities", self.probabilities, f"it must end with {' or '.join(kinds)}")


def main(options: PredictOptions) -> int:
    """Predicts and writes the submission, or prints the classes of single photos."""
    members = runs.load_members(options.run, runs=options.runs)
    if options.photo:
        return print_photo_classes(options, members)
    return predict_unseen_photos(options, members) if options.photos else predict_dataset(options, members)


def check_outputs(options: PredictOptions) -> None:
    """Checks that the files can be written and replace nothing that is read, before anything is predicted.

    Raises:
      UserError: one cannot or would, or a package for it is missing.
    """
    from carclf.inference.submission import check_writable, require_parquet

    check_distinct(written=written_files(options), read=read_files(options))
    for path in filter(None, (options.output, options.probabilities, options.pseudo_labels, options.uncertain)):
        check_writable(copies.local_path(path, fetched=False))
    if options.probabilities.lower().endswith(".parquet"):
        require_parquet()


def written_files(options: PredictOptions) -> dict[str, str]:
    """Returns the path or URL of each file to write, by its name in error messages; "" if there is none."""
    stem, _ = os.path.splitext(options.output)
    compares, labels, uncertain = bool(options.compare), options.pseudo_labels, options.uncertain
    return {
        "--output": options.output,
        "--probabilities": options.probabilities,
        "--pseudo_labels": labels,
        "the JSON file beside --pseudo_labels": f"{labels}.json" if labels else "",
        "--uncertain": uncertain,
        "the picture beside --uncertain": f"{os.path.splitext(uncertain)[0]}.jpg" if uncertain else "",
        "the list of --compare beside --output": f"{stem}.changes.csv" if compares else "",
        "the picture of --compare beside --output": f"{stem}.changes.jpg" if compares else "",
    }


def read_files(options: PredictOptions) -> dict[str, str]:
    """Returns the path or URL of each file to read, by its name in error messages; "" if there is none."""
    from carclf.data.manifest import SAMPLE_LIST

    own = storage.join(options.data, f"{SAMPLE_LIST}.csv") if options.data else ""
    return {
        "the data set's own sample submission": own,
        "--sample": options.sample,
        "--compare": options.compare,
        "--photos": options.photos,
    }


def predict_dataset(options: PredictOptions, members: Sequence[Member]) -> int:
    """Writes the submission and everything else that was asked for, and returns 0.

    Raises:
      UserError: something does not fit; nothing was written.
    """
    from carclf.inference.ensemble import parse_run_weights
    from carclf.recipe import parse_views

    views = parse_views(options.tta)
    weights = parse_run_weights(options.run_weights, count=len(members))
    check_outputs(options)
    job = plan_dataset_job(options, members)
    device, engines = choose_device(options, members)
    print(*(device.describe(), *job.plan.notes, *job.wanted.notes), sep="\n", flush=True)

    from carclf.inference.answer_files import write_answers
    from carclf.inference.answering import predict_answers

    predictions, decision, held_out = predict_answers(
        members,
        manifest=job.manifest,
        folds=job.folds,
        held_out=options.split == "val",
        views=views,
        tta_mean=options.tta_mean,
        weights=weights,
        wanted=job.wanted,
        calibrated_for=next((f"--{name}" for name in CALIBRATED if getattr(options, name)), ""),
        batch_size=options.batch_size,
        device=device,
        engines=engines,
    )
    answers = write_answers(
        predictions.probabilities,
        decision,
        ids=job.ids.loc[predictions.rows].tolist(),
        plan=job.plan,
        class_labels=job.manifest.class_labels,
        class_names=job.manifest.class_names,
        output=options.output,
        probabilities_file=options.probabilities,
        source=describe_source(members, views=len(views), engines=engines),
    )
    if job.older is not None:
        compare_with_older(options, job, answers)
    if held_out is not None:
        write_calibrated(options, members, job, predictions, decision=decision, held_out=held_out)
    return 0


def plan_dataset_job(options: PredictOptions, members: Sequence[Member]) -> "Job":
    """Returns what to predict and how to write it.

    Raises:
      UserError: runs, data set and options do not fit together.
    """
    from carclf.data.manifest import load_manifest
    from carclf.inference.compatibility import check_teachers
    from carclf.inference.ensemble import FITTED
    from carclf.inference.job import plan_job

    manifest = load_manifest(options.data)
    if options.pseudo_labels:
        check_teachers(members, manifest, runs_folder=options.runs)
    return plan_job(
        manifest,
        members=members,
        held_out=options.split == "val",
        needs_held_out=options.run_weights == FITTED or any(getattr(options, name) for name in CALIBRATED),
        sample_file=options.sample,
        form=options.form,
        positive=options.positive,
        metric=options.metric,
        decision=options.decision,
        older_file=options.compare,
    )


def choose_device(options: PredictOptions, members: Sequence[Member]) -> "tuple[Device, Engines]":
    """Returns the device and the engines that may compute there. Keras may be imported only from here on."""
    from carclf.device import select_device

    device = select_device(options.device, precision=members[0].runs[0].options.precision)

    from carclf.engines.choice import plan_engines

    return device, plan_engines(options.engine, device)


def describe_source(members: Sequence[Member], *, views: int, engines: "Engines") -> str:
    """Returns what made the answers, such as '4 views of 2 run(s)', with the engine unless that is Keras alone."""
    by = f" by {engines.describe()}" if engines.used not in ([], ["keras"]) else ""
    return f"{views} views of {sum(len(member.runs) for member in members)} run(s){by}"


def compare_with_older(options: PredictOptions, job: "Job", answers: Mapping[str, Sequence[str]]) -> None:
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
        output=copies.local_path(options.output, fetched=False),
    )


def write_calibrated(
    options: PredictOptions,
    members: Sequence[Member],
    job: "Job",
    predictions: "Predictions",
    *,
    decision: "Decision",
    held_out: "HeldOut",
) -> None:
    """Writes `--uncertain` and `--pseudo_labels`, and prints what is in them.

    Raises:
      UserError: no prediction is confident enough for a pseudo-label, or a file cannot be written.
    """
    if options.uncertain:
        from carclf.report.uncertain import write_uncertain

        write_uncertain(
            predictions.probabilities,
            decision.apply(predictions.probabilities)[1],
            held_out,
            ids=job.ids.loc[predictions.rows].tolist(),
            id_name=job.plan.form.id_name,
            manifest=job.manifest,
            split=job.split,
            path=copies.local_path(options.uncertain, fetched=False),
        )
    if options.pseudo_labels:
        from carclf.inference.pseudo_labels import write_confident

        print(
            write_confident(
                predictions,
                copies.local_path(options.pseudo_labels, fetched=False),
                members=members,
                manifest=job.manifest,
                views=options.tta,
                confidence=options.pseudo_confidence,
                temperature=held_out.temperature,
            )
        )


def predict_unseen_photos(options: PredictOptions, members: Sequence[Member]) -> int:
    """Writes the submission for photos that are in no data set, and returns 0.

    Raises:
      UserError: something does not fit, or no photo can be read; nothing was written.
    """
    from carclf.data.manifest import load_manifest
    from carclf.inference.ensemble import parse_run_weights
    from carclf.inference.unseen_job import plan_unseen_job
    from carclf.recipe import parse_views

    views = parse_views(options.tta)
    weights = parse_run_weights(options.run_weights, count=len(members))
    assert weights is not None  # the options refuse fitted weights here
    check_outputs(options)
    with scratch_folder() as spool:
        job = plan_unseen_job(
            options.photos,
            members=members,
            manifest=load_manifest(options.data) if options.data else None,
            sample_file=options.sample,
            form=options.form,
            positive=options.positive,
            metric=options.metric,
            decision=options.decision,
            spool=str(spool),
            fails_on_bad=options.on_bad == "fail",
        )
        device, engines = choose_device(options, members)
        print(*(device.describe(), *job.photos.notes, *job.plan.notes, *job.wanted.notes), sep="\n", flush=True)

        from carclf.inference.answer_files import write_answers
        from carclf.inference.unseen import predict_unseen

        probabilities, decision, unread = predict_unseen(
            members,
            job,
            views=views,
            tta_mean=options.tta_mean,
            weights=weights,
            batch_size=options.batch_size,
            device=device,
            engines=engines,
            fails_on_bad=options.on_bad == "fail",
        )
    write_answers(
        probabilities,
        decision,
        ids=job.photos.ids,
        plan=job.plan,
        class_labels=job.class_labels,
        class_names=members[0].runs[0].class_names,
        output=options.output,
        probabilities_file=options.probabilities,
        source=describe_source(members, views=len(views), engines=engines),
        prior_rows=unread,
    )
    return 0


def print_photo_classes(options: PredictOptions, members: Sequence[Member]) -> int:
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
    device, engines = choose_device(options, members)

    from carclf.inference.photo_lines import print_classes
    from carclf.inference.photo_predictor import PhotoPredictor

    predictor = PhotoPredictor.of_members(
        members,
        weights=weights,
        views=views,
        tta_mean=options.tta_mean,
        batch_size=device.padded_batch_size(min(options.batch_size, len(paths))),
        jit=device.jit,
        engines=engines,
        photos=len(paths),
    )
    unread = print_classes(predictor, paths, top=options.top, batch_size=options.batch_size)
    if unread:
        print(f"Error: {unread} of {len(paths)} files could not be read.", file=sys.stderr)
    return USAGE_ERROR if unread else 0


if __name__ == "__main__":
    run_command(main, PredictOptions, description=DESCRIPTION)
