"""Whether runs and a data set belong together: asked before anything heavy is imported."""

from collections.abc import Sequence

from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.runs import Run


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


def held_out_fold(loaded: Sequence[Run], manifest: Manifest) -> int:
    """The validation fold that all runs share.

    Raises:
      UserError: they do not share one, or were trained on another split than this data set's.
    """
    first = loaded[0]
    for run in loaded:
        if run.data_fingerprint != manifest.fingerprint:
            raise UserError(
                f"The run {run.directory} was trained on data {run.data_fingerprint[:12]} and {manifest.directory} is "
                f"{manifest.fingerprint[:12]}, whose folds may hold photos it has seen: evaluate on its own data set "
                f"({run.stage['data']['directory']})."
            )
        if run.options.val_fold != first.options.val_fold:
            raise UserError(
                f"The run {first.directory} held out fold {first.options.val_fold} and {run.directory} fold "
                f"{run.options.val_fold}: no photos are unseen by both, so evaluate them one by one."
            )
    return first.options.val_fold


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
