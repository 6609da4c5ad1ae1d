"""Opens a run's folder: decides how to start, before a framework is imported, and holds the folder until the end."""

import contextlib
import dataclasses
import enum
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from carclf import hashed_json, runs, storage
from carclf.errors import UserError
from carclf.files import write_atomically
from carclf.flags import identity_options, options_of, result_options, to_dict
from carclf.lock import holding
from carclf.runs.checkpoint import checkpoint_folder, stored_checkpoints
from carclf.runs.data_set import DataSet
from carclf.runs.emptying import COPIED, FILES, PAGES, check_emptied, empty_folder
from carclf.runs.parent import check_split, load_parent, network_options
from carclf.storage import copies
from carclf.train_options import TrainOptions

AUTO = "auto"  # of --precision
AFRESH = "in another --run, or here with --overwrite"  # where a command with other options can train


class Start(enum.Enum):
    """How a run begins."""

    FRESH = "from step 0, in an emptied folder"
    RESUME = "from the folder's own checkpoints"
    COPY = "from the checkpoints of --resume_from"


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A run whose folder this process holds, and how it begins.

    Attributes:
      directory: the run's folder.
      start: how the run begins.
      source: the folder whose checkpoints it resumes from: its own, or that of --resume_from.
      step: step of the newest valid checkpoint there; 0 if the run starts fresh.
      identity: what a checkpoint must share with the run (`carclf.runs.checkpoint.IDENTITY_REASONS`).
      parent: the finished run whose best weights it starts from, or None.
      warning: the fault of its split that was allowed, or None.
      options: of the stage, written as in the run that is resumed.
      begun: the content of stage.json of the run that is resumed; None if it starts fresh.
    """

    directory: Path
    start: Start
    source: Path
    step: int
    identity: Mapping[str, str]
    parent: runs.Run | None
    warning: str | None
    options: TrainOptions
    begun: Mapping[str, Any] | None = None

    @property
    def onednn(self) -> str | None:
        """What the run that is resumed was begun with (`carclf.onednn`); None if it starts fresh."""
        return None if self.begun is None else str((self.begun.get("device") or {}).get("onednn", ""))


@contextlib.contextmanager
def open_run(directory: Path, *, options: TrainOptions, data: DataSet) -> Iterator[OpenRun]:
    """Holds the run's folder inside this context and decides how the run starts, without changing the folder's files.

    Args:
      directory: the run's folder; created if necessary, and removed again if nothing is written to it.
      options: from the command line.
      data: the data set.

    Raises:
      UserError: another process holds the folder, it holds no run but files that one would replace, the run to resume
        is of another stage, or the parent does not fit.
    """
    with holding(directory, doing="training in", option="--run"):
        start = Start.FRESH if options.find_lr else decide_start(directory, options=options, data=data)
        if not options.find_lr:
            check_emptied(directory)
        source = copies.local_path(options.resume_from) if start is Start.COPY else directory
        begun = None if start is Start.FRESH else runs.load_run(source)
        options = options if begun is None else as_begun(written_alike(options, run=begun), run=begun)
        identity = identity_of(options, data)
        parent = None
        if options.init_from:
            if not options.find_lr:
                check_other(directory, parent=find_parent(options))
            parent = load_parent(find_parent(options), data=options.data, network=network_options(options))
        yield OpenRun(
            directory=directory,
            start=start,
            source=source,
            step=0 if start is Start.FRESH else checkpoint_folder(source, identity=identity).newest_step(),
            identity=identity,
            parent=parent,
            warning=check_split(
                data, val_fold=options.val_fold, parent=parent, allow_change=options.allow_split_change
            ),
            options=options,
            begun=begun.stage if begun else None,
        )


def decide_start(directory: Path, *, options: TrainOptions, data: DataSet) -> Start:
    """Decides how the run in `directory` begins.

    Raises:
      UserError: the run there, or in --resume_from, is of another stage.
    """
    if options.overwrite or not options.resume:
        return Start.FRESH
    if (directory / runs.STAGE_FILE).is_file():
        run = runs.load_run(directory)
        _check_same_stage(run, options=as_begun(options, run=run), data=data, overwritable=True)
        return Start.RESUME
    if not options.resume_from:
        return Start.FRESH
    lost = runs.load_run(copies.local_path(options.resume_from))
    if lost.metrics is not None:
        raise UserError(
            f"The run {lost.directory} of --resume_from is finished: copy it to {directory} instead of resuming it."
        )
    _check_same_stage(lost, options=as_begun(options, run=lost), data=data, overwritable=False)
    return Start.COPY


def written_alike(options: TrainOptions, *, run: runs.Run) -> TrainOptions:
    """Returns the options with the words of the run that they resume where both mean the same, such as b3's names.

    The identity of its checkpoints is a hash of these words.
    """
    theirs = to_dict(run.options)
    known = {name: one for name, one in options_of(TrainOptions).items() if one.meaning}
    same = {name: theirs[name] for name, one in known.items() if one.same(theirs[name], getattr(options, name))}
    return dataclasses.replace(options, **same)


def as_begun(options: TrainOptions, *, run: runs.Run) -> TrainOptions:
    """Returns the options with the `--precision=auto` of the run that they resume, where they name what that chose."""
    if run.options.precision == AUTO and options.precision == _precision_of(run.stage):
        return dataclasses.replace(options, precision=AUTO)
    return options


def _precision_of(stage: Mapping[str, Any]) -> str:
    """Returns the Keras dtype policy that a run was begun with, from its stage.json."""
    return str((stage.get("device") or {}).get("precision", "float32"))


def prepare_folder(opened: OpenRun) -> None:
    """Empties or fills the run's folder, depending on its start; `begin_run` writes the new files."""
    directory = opened.directory
    directory.mkdir(parents=True, exist_ok=True)
    for name in (*PAGES, *FILES):
        for path in directory.glob(f".{name}.*"):  # what a killed process was writing
            path.unlink(missing_ok=True)
    if opened.start is Start.RESUME:
        return
    empty_folder(directory)
    if opened.start is Start.COPY:
        for name, copied in COPIED.items():
            source, folder = opened.source / name, directory / name
            if source.is_dir():
                folder.mkdir()
                for path in sorted(source.iterdir()):
                    if copied.fullmatch(path.name):  # no temporary file that a kill left behind
                        shutil.copyfile(path, folder / path.name)  # without the file mode, which may be read-only


def begin_run(directory: Path, stage: Mapping[str, Any], *, data: DataSet) -> runs.Run:
    """Writes stage.json and copies of label patch and pseudo-labels into the prepared folder, and returns the run."""
    if data.label_patch:
        write_atomically(directory / runs.APPLIED_LABELS, data.label_patch.content)
    if data.pseudo_labels:
        write_atomically(directory / runs.APPLIED_PSEUDO_LABELS, data.pseudo_labels.content)
        write_atomically(directory / f"{runs.APPLIED_PSEUDO_LABELS}.json", data.pseudo_labels.provenance)
    # Last: a run that has it is resumed with what is there.
    hashed_json.write(directory / runs.STAGE_FILE, stage)
    return runs.load_run(directory)


def check_precision(opened: OpenRun, precision: str) -> None:
    """Checks that a run is resumed with the precision that it was started with; others have other variables.

    Args:
      opened: the run; one that starts fresh takes any precision.
      precision: the Keras dtype policy of this device.

    Raises:
      UserError: it was started with another one.
    """
    if opened.begun is None or (started := _precision_of(opened.begun)) == precision:
        return
    way_out = "or --overwrite to start it again" if opened.start is Start.RESUME else "or leave --resume_from out"
    raise UserError(
        f"The run {opened.source} was started with {started} and this device takes {precision}: add "
        f"--precision={started} to resume it, {way_out}."
    )


def find_parent(options: TrainOptions) -> Path:
    """Returns the folder of --init_from; if it is not among the runs, the one beside the run of --resume_from.

    A run of all folds lies beside its parents in the folder of all folds.
    """
    path = runs.run_path(options.init_from, runs=options.runs)
    if not options.resume_from or path.is_dir():
        return path
    lost = options.resume_from.rstrip("/")
    places = [storage.join(storage.parent(lost), path.name)]
    if runs.FOLD_FOLDER.fullmatch(lost.rpartition("/")[2]):
        places.insert(0, storage.join(storage.parent(storage.parent(lost)), runs.run_name(path)))
    found = (copies.local_path(place) for place in places if place != lost)
    return next((beside for beside in found if beside.is_dir()), path)


def check_other(directory: Path, *, parent: Path) -> None:
    """Checks that a run does not start from itself: it would replace its parent, and could not be resumed.

    Raises:
      UserError: it would.
    """
    if directory.resolve() == parent.resolve():
        raise UserError(
            f"The run {directory} cannot start from itself, since its own training would replace it: train into "
            "another --run."
        )


def describe_resume(directory: Path) -> str:
    """Returns the end of an interrupted run's last sentence: how to resume it."""
    if stored := stored_checkpoints(directory / runs.CHECKPOINTS_FOLDER):
        step = int(stored[0].stem.removeprefix("step-"))
        return f"step {step} is saved in {stored[0].parent}, and the same command (without --overwrite) resumes from it"
    return f"{directory} has no checkpoint yet, and the same command starts at step 0"


def comparable_options(options: TrainOptions, *, kept: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the options that define a stage, by name; of a path only its last part, since folders may have moved.

    The data set is compared by its fingerprint instead, and another device changes only the last bits, or
    what dropout draws.

    Args:
      options: of the stage.
      kept: the values to return; by default all that define a run.
    """
    paths = {name for name, known in options_of(TrainOptions).items() if known.path}
    kept = result_options(options) if kept is None else kept
    return {name: Path(value).name if name in paths else value for name, value in kept.items()}


def identity_of(options: TrainOptions, data: DataSet) -> dict[str, str]:
    """Returns what a checkpoint must share with the run that resumes from it (`checkpoint.IDENTITY_REASONS`)."""
    compared = comparable_options(options, kept=identity_options(options))
    if data.label_patch:
        compared["label_patch"] = data.label_patch.sha256
    if data.pseudo_labels:
        compared["pseudo_labels"] = data.pseudo_labels.sha256
    text = json.dumps(compared, sort_keys=True)
    return {
        "options": hashlib.sha256(text.encode()).hexdigest(),
        "classes": data.class_map_sha256,
        "data": data.fingerprint,
    }


def _check_same_stage(run: runs.Run, *, options: TrainOptions, data: DataSet, overwritable: bool) -> None:
    started, ours, known = _named_options(run.options), _named_options(options), options_of(TrainOptions)
    way_out = "or another --run; --overwrite starts it again" if overwritable else "or leave --resume_from out"
    what = f"The unfinished run {run.directory} was started with"
    for name, value in ours.items():
        if not known[name].same(started[name], value):
            raise UserError(
                f"{what} {_flag(name, started[name])} and this command has {_flag(name, value)}: use the former to "
                f"resume it, {way_out}."
            )
    for thing, theirs, mine in (
        ("the classes", run.class_map_sha256, data.class_map_sha256),
        ("data", run.data_fingerprint, data.fingerprint),
    ):
        if theirs != mine:
            raise UserError(
                f"{what} {thing} {theirs[:12]} and {data.directory} has {mine[:12]}: give the data set it was "
                f"started with as --data, {way_out}."
            )
    for name, now in (("label_patch", data.label_patch), ("pseudo_labels", data.pseudo_labels)):
        begun = (run.stage["data"].get(name) or {}).get("sha256")
        if now and begun != now.sha256:
            raise UserError(
                f"{what} another content of --{name}={getattr(options, name)} than it has now ({run.directory} holds "
                f"a copy): use the former to resume it, {way_out}."
            )


def _named_options(options: TrainOptions) -> dict[str, Any]:
    """Returns the options to compare; a parent of --val_fold=all has the name of its folder, too, in front.

    The identity of a checkpoint has only the last part of that name, since older ones have.
    """
    parent = runs.run_name(Path(options.init_from)) if options.init_from else ""
    return comparable_options(options) | {"init_from": parent}


def _flag(name: str, value: object) -> str:
    return f"--{'' if value else 'no'}{name}" if isinstance(value, bool) else f"--{name}={value}"
