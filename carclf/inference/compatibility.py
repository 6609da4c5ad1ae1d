"""Checks that runs and a data set belong together, before anything heavy is imported."""

from collections.abc import Sequence

from carclf import runs
from carclf.data.label_patch import apply_label_patch
from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.forms import Form, kind_of
from carclf.metrics import Metric, choose_metric, find_metric
from carclf.metrics.table import AUTO
from carclf.runs import Member, Run
from carclf.wording import first_of


def check_classes(loaded: Sequence[Run], manifest: Manifest) -> None:
    """Checks that all runs have the data set's classes.

    Raises:
      UserError: one does not.
    """
    for run in loaded:
        if run.class_map_sha256 != manifest.class_map_sha256:
            raise UserError(
                f"The run {run.directory} was trained on {len(run.class_names)} classes "
                f"({first_of(run.class_names, most=3)}), but the data set {manifest.directory} has "
                f"{manifest.class_count} ({first_of(manifest.class_names, most=3)}): "
                "use the data set of the run, or train on this one."
            )


def held_out_folds(members: Sequence[Member], manifest: Manifest) -> list[int]:
    """Returns the folds that every member held out, ascending: one, or all folds of `--val_fold=all`.

    Raises:
      UserError: members held out different folds or none, or were trained on another split than this data set's.
    """
    first = members[0]
    for run in [run for member in members for run in member.runs]:
        if run.held_out_fold is None:
            raise UserError(
                f"The run {run.directory} is a soup of runs that held out different folds, so no training photo is "
                "new to it: predict the test photos with it, and evaluate the runs that it was made of."
            )
        if run.data_fingerprint != manifest.fingerprint:
            raise UserError(
                f"The run {run.directory} was trained on the data set {run.data_fingerprint[:12]}, but "
                f"{manifest.directory} is {manifest.fingerprint[:12]}, and its folds may contain photos that the run "
                f"has seen: evaluate on the run's own data set ({run.stage['data']['directory']})."
            )
    for member in members:
        if member.folds != first.folds:
            raise UserError(
                f"The run {first.directory} held out {_folds(first)} and {member.directory} {_folds(member)}, so no "
                "photos are new to both: evaluate them one by one."
            )
    return sorted(first.folds)


def check_teachers(members: Sequence[Member], manifest: Manifest, *, runs_folder: str) -> None:
    """Checks that no run, nor a run that it started from, may have seen a label of a test photo.

    Raises:
      UserError: one was trained on other data, or on pseudo-labels.
    """
    for run in [run for member in members for run in member.runs]:
        for one in (*runs.parent_runs(run, runs=runs_folder), run):
            if one.data_fingerprint != manifest.fingerprint:
                raise UserError(
                    f"The run {one.directory} was trained on the data set {one.data_fingerprint[:12]}, not on "
                    f"{manifest.directory} ({manifest.fingerprint[:12]}), and may have seen the labels of its test "
                    "photos: predict pseudo-labels with runs of this data set."
                )
            if one.stage["data"].get("pseudo_labels"):
                raise UserError(
                    f"The run {one.directory} has trained on pseudo-labels of these test photos, so its confidence in "
                    "them says little: predict pseudo-labels with runs that have not."
                )


def load_labels(path: str, *, members: Sequence[Member], manifest: Manifest) -> Manifest:
    """Returns the data set with the labels to evaluate runs with: those of the patch at `path`, or the runs' own.

    Raises:
      UserError: the patch cannot be applied, or `path` is empty and the runs were trained with different patches.
    """
    loaded = [run for member in members for run in member.runs]
    patches = {(run.stage["data"].get("label_patch") or {}).get("sha256"): run for run in loaded}
    if not path and len(patches) > 1:
        one, other, *_ = patches.values()
        raise UserError(
            f"The runs {one.directory} and {other.directory} were trained with different labels: choose the labels to "
            "evaluate them with by --label_patch=FILE."
        )
    return apply_label_patch(path or str(loaded[0].label_patch or ""), manifest)


def metric_of(name: str, *, members: Sequence[Member], form: Form | None) -> Metric:
    """Returns the metric of a name; 'auto' is the one that all runs followed, or else that of the form.

    Raises:
      UserError: there is no such metric, or it does not score answers of the form.
    """
    chosen = {run.options.metric for member in members for run in member.runs}
    if name == AUTO and len(chosen) == 1:
        followed = find_metric(chosen.pop()) if chosen != {AUTO} else None
        if followed and (form is None or followed.needs in kind_of(form).says):
            return followed
    return choose_metric(name, form)


def _folds(member: Member) -> str:
    return f"fold{'s' if len(member.folds) > 1 else ''} {', '.join(map(str, member.folds))}"
