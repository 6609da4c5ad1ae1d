"""Checks what a stage may inherit from its parent run, before the first import of a framework."""

from collections.abc import Mapping
from pathlib import Path

from carclf import runs
from carclf.errors import UserError
from carclf.flags import did_you_mean, options_of, result_options
from carclf.runs.data_set import DataSet
from carclf.tables import load
from carclf.train_options import TrainOptions


def network_options(options: TrainOptions) -> dict[str, object]:
    """Returns the options that decide which weights fit, by name: equal for equal networks, however written."""
    row = load("carclf.model.backbones:find_backbone")(options.backbone)
    hidden = load("carclf.model.heads:find_head")(options.head).hidden
    width = {"head_width": options.head_width} if hidden else {}
    return {"backbone": row.name, "head": options.head, **width}


def load_parent(path: Path, *, data: str, network: Mapping[str, object]) -> runs.Run:
    """Returns the finished run in `path`, after checking that its weights fit this stage.

    Args:
      path: the parent's folder.
      data: the data set, for the command that trains a missing parent.
      network: options of this stage's network (`network_options`).

    Raises:
      UserError: it does not exist (the message names the command that trains it), is unfinished, or has another
        backbone or head.
    """
    if not path.is_dir():
        raise UserError(f"The parent run {path} does not exist: {runs.advice_on_missing(path, data=data)}")
    parent = runs.load_run(path)
    if parent.metrics is None:
        raise UserError(f"The parent run {path} is not finished: train it to its end first.")
    _check_same_network(path, network_options(parent.options), network)
    return parent


def _check_same_network(path: Path, parent: Mapping[str, object], network: Mapping[str, object]) -> None:
    for name, ours in network.items():
        if (theirs := parent[name]) != ours:
            raise UserError(
                f"The parent run {path} has --{name}={theirs} and this stage --{name}={ours}: weights cannot be "
                "carried over, so use the same, or another parent."
            )


def check_chain(stages: Mapping[str, TrainOptions]) -> None:
    """Checks that each stage has its own folder and can start from its parent: an existing run, or an earlier stage.

    Args:
      stages: their options by name, in training order.

    Raises:
      UserError: as for `load_parent`, with the name of the stage; or two stages have one folder.
    """
    made: dict[Path, TrainOptions] = {}
    for name, options in stages.items():
        path = runs.run_path(options.run or "run", runs=options.runs)
        try:
            if path in made:
                raise UserError(
                    f"{path} is the folder of a stage before it, too: give each stage a --run of its own, in its flag "
                    "file, and none for all."
                )
            if options.init_from:
                _check_parent(options, made=made)
        except UserError as error:
            raise UserError(f"Stage {name}: {error}") from None
        made[path] = options


def _check_parent(options: TrainOptions, *, made: Mapping[Path, TrainOptions]) -> None:
    path = runs.run_path(options.init_from, runs=options.runs)
    kept = (path / runs.METRICS_FILE).is_file()  # from a stage that is already trained
    if path in made and (made[path].overwrite or not kept):
        _check_same_network(path, network_options(made[path]), network_options(options))
    elif not path.is_dir() and (hint := did_you_mean(path.name, [one.name for one in made])):
        raise UserError(f"The parent run {path} does not exist: {hint}That is a stage before this one.")
    elif not runs.fold_paths(path):  # otherwise each fold has its own parent
        load_parent(path, data=options.data, network=network_options(options))


def check_split(data: DataSet, *, val_fold: int, parent: runs.Run | None, allow_change: bool = False) -> str | None:
    """Checks that the validation fold exists and that the parent never trained on it.

    It returns None, or a warning if the parent trained on it and that is allowed.

    Args:
      data: the data set.
      val_fold: this stage's validation fold.
      parent: the run that this stage starts from.
      allow_change: whether the parent may have trained on photos that validate this stage.

    Raises:
      UserError: the fold does not exist, or the parent had other classes, another split or another fold.
    """
    if val_fold not in data.folds:
        raise UserError(
            f"--val_fold={val_fold} is not a fold of {data.directory}, whose folds are "
            f"{min(data.folds)} to {max(data.folds)}."
        )
    if parent is None:
        return None
    if parent.class_map_sha256 != data.class_map_sha256:
        raise UserError(
            f"The parent run {parent.directory} has {len(parent.class_names)} classes, which are not the "
            f"{data.class_count} of {data.directory}: choose a parent trained on this data set."
        )
    if (parent.data_fingerprint, parent.options.val_fold) == (data.fingerprint, val_fold):
        return None
    held = "nothing" if parent.held_out_fold is None else f"fold {parent.held_out_fold}"
    found = (
        f"The parent run {parent.directory} held out {held} of data "
        f"{parent.data_fingerprint[:12]} and this stage fold {val_fold} of {data.fingerprint[:12]}, so it has "
        "trained on photos that would validate it"
    )
    if allow_change:
        return f"{found}: the validation accuracy of this stage will be too good."
    raise UserError(
        f"{found}: use the data set and fold of the parent, or add --allow_split_change and distrust the accuracy."
    )


def describe_changes(parent: runs.Run, options: TrainOptions) -> str:
    """Returns one line about the differences between this stage and its parent."""
    known = options_of(TrainOptions)
    ours = {name: value for name, value in result_options(options).items() if not known[name].sets_start}
    pairs = ((name, getattr(parent.options, name), value) for name, value in ours.items())
    changes = [f"{name} {before} → {after}" for name, before, after in pairs if not known[name].same(before, after)]
    return f"Against {parent.name}: {', '.join(changes) or 'nothing changes'}."


def check_batch(*, batch_size: int, replicas: int, mixes: bool, steps: int, train_photos: int) -> None:
    """Checks that the replicas can share every batch, and that there are enough batches for an epoch.

    Raises:
      UserError: they cannot (the message names the nearest batch size that works), or there are too few batches.
    """
    unit = replicas * (2 if mixes else 1)
    if batch_size % unit:
        reason = f"{replicas} devices" + (" that mix photos in pairs" if mixes else "")
        raise UserError(
            f"--batch_size={batch_size} cannot be shared by {reason}: use a multiple of {unit}, "
            f"such as {max(unit, batch_size // unit * unit)}."
        )
    if steps < 1:
        raise UserError(
            f"The {train_photos} training photos do not fill one batch of {batch_size}: lower --batch_size."
        )
    if steps * batch_size > train_photos:
        raise UserError(
            f"--steps={steps} batches of {batch_size} are more than the {train_photos} training photos of an epoch: "
            f"use --steps={train_photos // batch_size} or less (0 takes them all), and more --epochs."
        )
