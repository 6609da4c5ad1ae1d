"""What a prediction of photos that are in no data set is to do, checked before anything heavy is imported."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.forms import Form
from carclf.inference.answer_form import AnswerPlan, given_sample, plan_form
from carclf.inference.compatibility import check_classes, metric_of
from carclf.inference.decision_kinds import DECISIONS
from carclf.inference.decisions import AUTO, PLAIN, WantedDecision, plan_decision, wanted_decision
from carclf.inference.photo_list import PhotoList, list_photos
from carclf.metrics import Metric
from carclf.runs import Member, Run
from carclf.runs.run_files import DataEntry
from carclf.schema import typed


@dataclasses.dataclass(frozen=True, eq=False)
class UnseenJob:
    """What is predicted, and how the answers are written.

    Attributes:
      photos: to predict.
      class_labels: the K labels as the competition writes them.
      prior: float64 [K], the fraction of the training photos in each class.
      plan: the form of the answers, and the sample to follow.
      wanted: the decision to fit.
      manifest: the data set whose held-out photos it is fitted on, or None.
    """

    photos: PhotoList
    class_labels: Sequence[str]
    prior: np.ndarray
    plan: AnswerPlan
    wanted: WantedDecision
    manifest: Manifest | None


def plan_unseen_job(
    photos: str,
    *,
    members: Sequence[Member],
    manifest: Manifest | None,
    sample_file: str,
    form: str,
    positive: str,
    metric: str,
    decision: str,
    spool: str,
    fails_on_bad: bool = False,
) -> UnseenJob:
    """Returns what to do.

    Args:
      photos: a folder or an archive.
      members: the runs.
      manifest: the data set of the runs, which is needed to fit a decision, or None.
      sample_file: the value of `--sample`; "" answers for all photos.
      form: the value of `--form`.
      positive: the value of `--positive`.
      metric: the value of `--metric`.
      decision: the value of `--decision`.
      spool: folder for archives that are deflated inside an archive.
      fails_on_bad: as for `list_photos`.

    Raises:
      UserError: runs, data set, photos, sample, form and metric do not fit together.
    """
    if manifest is not None:
        check_classes([run for member in members for run in member.runs], manifest)
    labels, counts, own = _known(members[0].runs[0], manifest)
    sample = given_sample(sample_file, own=own) if sample_file else None
    plan = plan_form(own, sample, class_labels=labels, form=form, positive=positive)
    scored_by = metric_of(metric, members=members, form=plan.form)
    return UnseenJob(
        photos=list_photos(photos, sample=sample, spool=spool, fails_on_bad=fails_on_bad),
        class_labels=labels,
        prior=counts / counts.sum(),
        plan=plan,
        wanted=_wanted(decision, members=members, manifest=manifest, metric=scored_by, form=plan.form),
        manifest=manifest,
    )


def _known(run: Run, manifest: Manifest | None) -> tuple[Sequence[str], np.ndarray, Form | None]:
    """Returns labels, their training photos (float64 [K]) and the form of the answers, from the data set or the run.

    Raises:
      UserError: there is no data set, and an older run does not know them.
    """
    if manifest is not None:
        counts = np.array([entry.count for entry in manifest.classes], np.float64)
        return manifest.class_labels, counts, manifest.form
    data = typed(run.stage["data"], DataEntry, at="data", others=True)
    if not data.class_labels:
        raise UserError(
            f"The run {run.directory} does not say how the competition writes its labels, since an older carclf "
            "trained it: give its data set, too, with --data=DIR."
        )
    return data.class_labels, np.array(data.class_photos, np.float64), data.form


def _wanted(
    asked: str, *, members: Sequence[Member], manifest: Manifest | None, metric: Metric, form: Form
) -> WantedDecision:
    """Returns the decision to fit; without a data set, none."""
    if manifest is not None:
        return plan_decision(asked, members=members, manifest=manifest, metric=metric, form=form)
    kind = wanted_decision(asked, metric=metric, form=form)
    if kind == PLAIN:
        return WantedDecision(PLAIN, metric)
    advice = "it is fitted on held-out photos: give the data set of the runs, too, with --data=DIR"
    if asked != AUTO:
        raise UserError(f"--decision={asked} is not possible without a data set, since {advice}.")
    return WantedDecision(PLAIN, metric, notes=(f"Not fitted: {DECISIONS[kind].summary}, since {advice}.",))
