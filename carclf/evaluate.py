"""`python -m carclf.evaluate`: scores runs on the photos they never trained on."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from carclf import hashed_json, runs
from carclf.advice import argument
from carclf.command import run_command
from carclf.flags import option, require_flags
from carclf.lock import holding
from carclf.prediction_options import PREDICTION, PredictionOptions
from carclf.progress import Progress
from carclf.runs import Member
from carclf.wording import counted

if TYPE_CHECKING:
    import numpy as np

    from carclf.data.manifest import Manifest
    from carclf.inference.audit import Audit
    from carclf.inference.dataset_predictions import Predictions
    from carclf.inference.metrics import Evaluation
    from carclf.metrics import Metric
    from carclf.recipe import View

DESCRIPTION = """Scores a run, or the mean of several, on the photos it held out. Writes metrics.json, report.html and
label_patch.csv, the most confident mistakes, into the folder of a finished run. The folder of --val_fold=all is scored
on the whole training set, each photo by the run that held it out. With several views the report says what each of them
gains, and which labels are likely wrong.

Example: python -m carclf.evaluate --run=runs/b3_512 --data=data/cars --tta='clean|flip|zoom(1.1)'"""


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(PredictionOptions):
    """Every option of `python -m carclf.evaluate`."""

    required = ("run", "data")

    label_patch: str = option(
        "",
        "CSV of corrected labels to score by; by default the one that the runs were trained with.",
        group=PREDICTION,
        path=True,
        urls=True,
    )

    def __post_init__(self) -> None:
        """Checks each option, and that no required one is missing."""
        super().__post_init__()
        require_flags(self, *self.required)


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationPlan:
    """What is evaluated, by which metric and in which views.

    Attributes:
      manifest: the data set, with the labels to score by.
      folds: those that every run held out.
      metric: the one that counts.
      asked: the views of `--tta`.
      views: these, and a clean one to compare with if they are to be audited.
      weights: of the members, float64 [M]; None fits them.
    """

    manifest: "Manifest"
    folds: list[int]
    metric: "Metric"
    asked: "tuple[View, ...]"
    views: "tuple[View, ...]"
    weights: "np.ndarray | None"

    @property
    def compares_views(self) -> bool:
        """Whether there are views to compare with the clean one."""
        return [view.name for view in self.asked] != ["clean"]


def main(options: EvaluateOptions) -> None:
    """Evaluates and prints the summary."""
    members = runs.load_members(options.run, runs=options.runs)
    plan = plan_evaluation(options, members)

    from carclf.device import select_device

    device = select_device(options.device, precision=members[0].runs[0].options.precision)
    print(device.describe(), flush=True)

    from carclf.engines.choice import plan_engines
    from carclf.inference.dataset_predictions import mean_predictions, predict_held_out
    from carclf.inference.evaluation import evaluate_predictions

    engines = plan_engines(options.engine, device)
    with device.scope():
        predictions = predict_held_out(
            members,
            manifest=plan.manifest,
            folds=plan.folds,
            views=plan.views,
            tta_mean=options.tta_mean,
            batch_size=device.padded_batch_size(options.batch_size),
            jit=device.jit,
            engines=engines,
            keep_views=plan.compares_views,
        )
    weights = run_weights(plan, predictions)
    audit = audit_views(plan, predictions, run_weights=weights, tta_mean=options.tta_mean)
    mean = mean_predictions(predictions, weights=weights)
    evaluation = evaluate_predictions(mean, plan.manifest, metric=plan.metric, audit=audit)
    print_summary(members, evaluation, plan=plan, predictions=predictions)
    print_decision(mean, plan)
    if len(members) == 1:
        write_into_run(members[0], evaluation, plan=plan, engines=engines.used, options=options)


def plan_evaluation(options: EvaluateOptions, members: list[Member]) -> EvaluationPlan:
    """Returns what to do.

    Raises:
      UserError: runs, data set, metric, views and weights do not fit together.
    """
    from carclf.data.manifest import load_manifest
    from carclf.inference.audit import with_clean
    from carclf.inference.compatibility import check_classes, held_out_folds, load_labels, metric_of
    from carclf.inference.ensemble import parse_run_weights
    from carclf.recipe import parse_views

    manifest = load_manifest(options.data)
    check_classes([run for member in members for run in member.runs], manifest)
    folds = held_out_folds(members, manifest)
    manifest = load_labels(options.label_patch, members=members, manifest=manifest)
    metric = metric_of(options.metric, members=members, form=manifest.form)
    asked = parse_views(options.tta)
    weights = parse_run_weights(options.run_weights, count=len(members))
    plan = EvaluationPlan(manifest, folds, metric, asked, views=asked, weights=weights)
    return dataclasses.replace(plan, views=with_clean(asked)) if plan.compares_views else plan


def run_weights(plan: EvaluationPlan, predictions: "list[Predictions]") -> "np.ndarray":
    """Returns the weights of the members; if they are fitted, to these predictions, it prints them."""
    from carclf.inference.ensemble import fit_run_weights
    from carclf.inference.evaluation import labels_of

    if plan.weights is not None:
        return plan.weights
    labels = labels_of(predictions[0], plan.manifest)
    weights = fit_run_weights([p.probabilities for p in predictions], labels, metric=plan.metric)
    print(f"Weights of the runs, fitted on these photos: {','.join(f'{weight:.3f}' for weight in weights)}.")
    return weights


def audit_views(
    plan: EvaluationPlan, predictions: "list[Predictions]", *, run_weights: "np.ndarray", tta_mean: str
) -> "Audit | None":
    """Returns the effect of the views; None if the clean view is the only one."""
    from carclf.inference.evaluation import audit_predictions

    if not plan.compares_views:
        return None
    with Progress("Auditing the views"):
        return audit_predictions(
            predictions, plan.manifest, views=plan.views, run_weights=run_weights, tta_mean=tta_mean
        )


def print_decision(mean: "Predictions", plan: EvaluationPlan) -> None:
    """Prints what the decision that carclf.predict would fit for the metric brings, if there is one."""
    from carclf.inference.decisions import AUTO, fit_decision, wanted_decision
    from carclf.inference.evaluation import labels_of
    from carclf.inference.submission import default_form

    kind = wanted_decision(AUTO, metric=plan.metric, form=plan.manifest.form or default_form())
    labels = labels_of(mean, plan.manifest)
    decision = fit_decision(kind, mean.probabilities, labels, metric=plan.metric, folds=len(plan.folds))
    if decision.summary:
        print(decision.summary)


def write_into_run(
    member: Member, evaluation: "Evaluation", *, plan: EvaluationPlan, engines: list[str], options: EvaluateOptions
) -> None:
    """Writes the evaluation into the folder of a finished run; of an unfinished one it says that nothing is written."""
    if not is_finished(member):
        where = member.directory
        print(f"The run {where} is not finished, so nothing is written there: what trains it evaluates it at its end.")
        return
    with holding(member.directory, doing="writing to", option="--run"):
        write_files(member, evaluation, plan=plan, engines=engines, options=options)


def is_finished(member: Member) -> bool:
    """Returns whether its runs were finished when they were loaded, and none was begun again since."""
    return all(run.metrics is not None and (run.directory / runs.METRICS_FILE).is_file() for run in member.runs)


def print_summary(
    members: list[Member],
    evaluation: "Evaluation",
    *,
    plan: EvaluationPlan,
    predictions: "list[Predictions]",
) -> None:
    """Prints the most important figures; for several runs, those of each run, too."""
    from carclf.inference.evaluation import labels_of
    from carclf.metrics import find_metric, grades_note

    metric, manifest, folds = find_metric(evaluation.metric), plan.manifest, plan.folds
    names = "|".join(view.name for view in plan.asked)
    held_out = f"fold {folds[0]}" if len(folds) == 1 else f"{len(folds)} of {len(manifest.folds)} folds, out of fold"
    if len(members) > 1:
        labels = labels_of(predictions[0], manifest)
        for member, predicted in zip(members, predictions, strict=True):
            value = metric.compute(predicted.probabilities, labels)
            print(f"{metric.title} of {member.name}: {value:.3f}.")
    name = " + ".join(member.name for member in members)
    if note := grades_note(metric, manifest.class_names):
        print(note)
    if evaluation.headline():
        print(f"{evaluation.headline()} of {name} in views {names}, {held_out}.")
    print(f"Accuracy of {name} in views {names}, {held_out}: {evaluation.summary()}.")
    print(evaluation.details())
    if evaluation.audit:
        print("\n  ".join(["Photos fixed and broken against the clean view:", *evaluation.audit.lines()]))


def write_files(
    member: Member,
    evaluation: "Evaluation",
    *,
    plan: EvaluationPlan,
    engines: list[str],
    options: EvaluateOptions,
) -> None:
    """Writes the report of a run, or out_of_fold.json for all folds, and the label patch."""
    from carclf.inference.evaluation import corrections, write_label_patch
    from carclf.report.run_files import write_report
    from carclf.runs.closing import close_run, with_evaluation

    manifest, names = plan.manifest, "|".join(view.name for view in plan.asked)
    if len(member.runs) == 1:
        run = with_evaluation(member.runs[0], evaluation.to_dict(), views=names, engines=engines)
        page = write_report(run, evaluation=evaluation, manifest=manifest, views=names, runs_folder=options.runs)
        close_run(run)
        print(f"Report: {page}")
    else:
        path = member.directory / runs.OUT_OF_FOLD_FILE
        content = {"views": names, "folds": list(member.folds), "engines": engines, "evaluation": evaluation.to_dict()}
        hashed_json.write(path, content)
        print(f"Figures: {path}")
    if evaluation.mistakes:
        patch = write_label_patch(member.directory, evaluation, manifest)
        print(describe_mistakes(evaluation, patch=patch, several_views=evaluation.audit is not None))
        if corrected := corrections(manifest):
            print(f"It keeps {counted(len(corrected), 'earlier correction')}: those of no mistake are its last lines.")


def describe_mistakes(evaluation: "Evaluation", *, patch: Path, several_views: bool) -> str:
    """Returns a text that says what the label patch holds, and what to do with it."""
    total, likely = len(evaluation.mistakes), sum(mistake.likely_mislabel for mistake in evaluation.mistakes)
    held = f"Most confident mistakes: {patch} ({counted(total, 'photo')}"
    use = f"Where a label is wrong, correct its column class and train with {argument('label_patch', patch)}."
    if likely:
        return f"{held}, of which {likely} {'is' if likely == 1 else 'are'} likely mislabelled: they come first). {use}"
    if several_views:
        return f"{held}; none is likely mislabelled: the model is unsure, or its views disagree). {use}"
    return f"{held}). With several views, --tta='clean|flip|zoom(1.1)', it also tells likely mislabels. {use}"


if __name__ == "__main__":
    run_command(main, EvaluateOptions, description=DESCRIPTION)
