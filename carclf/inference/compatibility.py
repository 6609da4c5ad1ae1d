"""Whether runs and a data set belong together: asked before anything heavy is imported."""

from collections.abc import Sequence

from carclf.data.label_patch import apply_label_patch
from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.runs import Member, Run


def check_classes(loaded: Sequence[Run], manifest: Manifest) -> None:
    """Returns nothing when all runs agree with the data set on the classes.

    Raises:
      UserError: one does not.
    """
    for run in loaded:
        if run.class_map_sha256 != manifest.class_map_sha256:
            raise UserError(
                f"The run {run.directory} was trained on {len(run.class_names)} classes ({_some(run.class_names)}) and "
                f"the data set {manifest.directory} has {manifest.class_count} ({_some(manifest.class_names)}): "
                "use the data set of the run, or train on this one."
            )


def held_out_folds(members: Sequence[Member], manifest: Manifest) -> list[int]:
    """The folds that every member held out, ascending: one, or all of those that `--val_fold=all` trained.

    Raises:
      UserError: they held out different ones, or were trained on another split than this data set's.
    """
    first = members[0]
    for run in [run for member in members for run in member.runs]:
        if run.data_fingerprint != manifest.fingerprint:
            raise UserError(
                f"The run {run.directory} was trained on data {run.data_fingerprint[:12]} and {manifest.directory} is "
                f"{manifest.fingerprint[:12]}, whose folds may hold photos it has seen: evaluate on its own data set "
                f"({run.stage['data']['directory']})."
            )
    for member in members:
        if member.folds != first.folds:
            raise UserError(
                f"The run {first.directory} held out {_folds(first)} and {member.directory} {_folds(member)}: no "
                "photos are unseen by both, so evaluate them one by one."
            )
    return sorted(first.folds)


def load_labels(path: str, *, members: Sequence[Member], manifest: Manifest) -> Manifest:
    """The data set with the labels that runs are judged by: those of the patch at `path`, else what they trained with.

    Raises:
      UserError: the patch cannot be applied, or there is none at `path` and the runs were trained with different ones.
    """
    loaded = [run for member in members for run in member.runs]
    patches = {(run.stage["data"].get("label_patch") or {}).get("sha256"): run for run in loaded}
    if not path and len(patches) > 1:
        one, other, *_ = patches.values()
        raise UserError(
            f"The runs {one.directory} and {other.directory} were trained with different labels: say with "
            "--label_patch=FILE which to judge them by."
        )
    return apply_label_patch(path or str(loaded[0].label_patch or ""), manifest)


def _folds(member: Member) -> str:
    return f"fold{'s' * (len(member.folds) > 1)} {', '.join(map(str, member.folds))}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
