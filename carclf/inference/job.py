"""What a prediction of a data set is to do, checked before anything heavy is imported: not after an hour of work."""

import dataclasses
from collections.abc import Mapping, Sequence

import pandas as pd

from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.inference import comparison, submission
from carclf.inference.answer_form import AnswerPlan, plan_answers
from carclf.inference.compatibility import check_classes, held_out_folds, metric_of
from carclf.inference.decisions import WantedDecision, plan_decision
from carclf.runs import Member
from carclf.storage import copies


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """What is predicted, and how the answers are written.

    Attributes:
      manifest: the data set.
      split: 'test', or 'train' for the held-out photos.
      folds: those that every run held out; empty if none are needed.
      ids: of the photos, by their row in the split.
      plan: the form of the answers, and the sample to follow.
      wanted: the decision to fit.
      older: the answers of the submission to compare with, by Id, or None.
    """

    manifest: Manifest
    split: str
    folds: Sequence[int]
    ids: pd.Series
    plan: AnswerPlan
    wanted: WantedDecision
    older: Mapping[str, Sequence[str]] | None


def plan_job(
    manifest: Manifest,
    *,
    members: Sequence[Member],
    held_out: bool,
    needs_held_out: bool,
    sample_file: str,
    form: str,
    positive: str,
    metric: str,
    decision: str,
    older_file: str,
) -> Job:
    """Returns what to do.

    Args:
      manifest: the data set.
      members: the runs.
      held_out: whether to predict the photos that the runs held out, not the test photos.
      needs_held_out: whether weights of the runs or calibrated confidences are fitted on held-out photos.
      sample_file: the value of `--sample`.
      form: the value of `--form`.
      positive: the value of `--positive`.
      metric: the value of `--metric`.
      decision: the value of `--decision`.
      older_file: the value of `--compare`.

    Raises:
      UserError: runs, data set, sample, form, metric and older submission do not fit together.
    """
    check_classes([run for member in members for run in member.runs], manifest)
    folds = held_out_folds(members, manifest) if held_out or needs_held_out else []
    ids = _ids(manifest, folds=folds if held_out else None)
    plan = plan_answers(manifest, sample_file=sample_file, held_out=held_out, form=form, positive=positive)
    submission.check_ids(ids.tolist(), order=plan.sample.ids if plan.sample else None)
    older = None
    if older_file:
        path = copies.local_path(older_file)
        older = comparison.read_submission(path, form=plan.form, class_labels=manifest.class_labels)
        comparison.check_same_ids(older, ids.tolist(), path=path)
    scored_by = metric_of(metric, members=members, form=plan.form)
    wanted = plan_decision(decision, members=members, manifest=manifest, metric=scored_by, form=plan.form)
    return Job(
        manifest=manifest,
        split="train" if held_out else "test",
        folds=folds or wanted.folds,
        ids=ids,
        plan=plan,
        wanted=wanted,
        older=older,
    )


def _ids(manifest: Manifest, *, folds: Sequence[int] | None) -> "pd.Series":
    """Returns the Ids of the test photos, or of the training photos in these folds, by their row.

    Raises:
      UserError: there are no such photos.
    """
    split = "test" if folds is None else "train"
    if not manifest.photos(split, folds):
        raise UserError(
            f"The data set {manifest.directory} has no test photos: convert it with a test folder, give other photos "
            "with --photos=FOLDER, or predict the held-out fold with --split=val."
        )
    photos = manifest.read_ids(split)
    return photos["id"] if folds is None else photos["id"][photos["fold"].isin(folds)]
