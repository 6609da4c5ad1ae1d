"""Whether a run goes on or starts anew: decided from its folder before a framework is imported."""

import enum
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from carclf import runs
from carclf.data.manifest import Manifest
from carclf.device import Device
from carclf.errors import UserError
from carclf.flags import options_of, result_options
from carclf.runs.checkpoint import checkpoint_folder, stored_checkpoints
from carclf.train_options import TrainOptions

# Nothing that a kill left under a temporary name.
COPIED = re.compile(r"(step-\d+\.(npz|json)|(best|epoch)-\d+\.weights\.h5)")


class Start(enum.Enum):
    """How a run begins."""

    ANEW = "from step 0, in an emptied folder"
    GO_ON = "from the folder's own checkpoints"
    COPY = "from the checkpoints of --resume_from"


def decide_start(directory: Path, *, options: TrainOptions, manifest: Manifest) -> Start:
    """How the run in `directory` begins; nothing is changed yet.

    Raises:
      UserError: what is there, or in --resume_from, is another stage's.
    """
    if options.overwrite or not options.resume:
        return Start.ANEW
    if (directory / runs.STAGE_FILE).is_file():
        _check_same_stage(runs.load_run(directory), options=options, manifest=manifest, overwritable=True)
        return Start.GO_ON
    if not options.resume_from:
        return Start.ANEW
    lost = runs.load_run(Path(options.resume_from).expanduser())
    if lost.metrics is not None:
        raise UserError(
            f"The run {lost.directory} of --resume_from is finished: copy it to {directory} instead of going on."
        )
    _check_same_stage(lost, options=options, manifest=manifest, overwritable=False)
    return Start.COPY


def step_reached(directory: Path, *, start: Start, options: TrainOptions, manifest: Manifest) -> int:
    """The step from which the run in `directory` goes on; 0 where it starts anew."""
    if start is Start.ANEW:
        return 0
    source = directory if start is Start.GO_ON else Path(options.resume_from).expanduser()
    return checkpoint_folder(source, identity=identity_of(options, manifest)).newest_step()


def prepare_folder(directory: Path, *, start: Start, options: TrainOptions) -> None:
    """Empties or fills the run's folder as `start` says; stage.json is the caller's to write, after this."""
    directory.mkdir(parents=True, exist_ok=True)
    if start is Start.GO_ON:
        return
    # In this order a kill in between leaves a finished run, an unfinished one that starts at step 0, or none.
    checkpoints, epochs = directory / runs.CHECKPOINTS_FOLDER, directory / runs.EPOCHS_FOLDER
    for folder in (checkpoints, epochs, directory / runs.FEATURES_FOLDER, directory / runs.TENSORBOARD_FOLDER):
        shutil.rmtree(folder, ignore_errors=True)
    for name in (
        runs.METRICS_FILE,
        runs.STAGE_FILE,
        runs.BEST_WEIGHTS,
        runs.LAST_WEIGHTS,
        runs.HISTORY_FILE,
        runs.APPLIED_LABELS,
    ):
        (directory / name).unlink(missing_ok=True)
    if start is Start.COPY:
        for folder in (checkpoints, epochs):
            source = Path(options.resume_from).expanduser() / folder.name
            if source.is_dir():
                folder.mkdir()
                for path in sorted(source.iterdir()):
                    if COPIED.fullmatch(path.name):
                        shutil.copyfile(path, folder / path.name)  # without the source's modes: it may be read-only


def find_parent(options: TrainOptions) -> Path:
    """Where --init_from lies: beside the copy of a lost session's run when it is not where runs are looked up."""
    path = runs.run_path(options.init_from, runs=options.runs)
    beside = Path(options.resume_from).expanduser().parent / path.name
    return beside if options.resume_from and not path.is_dir() and beside.is_dir() else path


def check_precision(run: runs.Run, device: Device) -> None:
    """Returns nothing when the run was begun in this device's precision.

    Raises:
      UserError: it was begun in another, which has other variables and other results.
    """
    if (begun := run.stage["device"]["precision"]) != device.precision:
        raise UserError(
            f"The run {run.directory} was begun in {begun} and this device takes {device.precision}: add "
            f"--precision={begun} to go on, or --overwrite to start anew."
        )


def where_it_stands(directory: Path) -> str:
    """What an interrupted run's last sentence says of the way on."""
    if stored := stored_checkpoints(directory / runs.CHECKPOINTS_FOLDER):
        step = int(stored[0].stem.removeprefix("step-"))
        return f"step {step} is saved in {stored[0].parent}, and the same command (without --overwrite) goes on from it"
    return f"{directory} has no checkpoint yet, and the same command starts at step 0"


def comparable_options(options: TrainOptions) -> dict[str, Any]:
    """The options that make a stage what it is, by name; of a path its last part, since folders may have moved.

    The data set is compared by its fingerprint instead, and another device changes nothing but the last bits.
    """
    paths = {name for name, known in options_of(TrainOptions).items() if known.path}
    kept = result_options(options)
    return {name: Path(value).name if name in paths else value for name, value in kept.items()}


def identity_of(options: TrainOptions, manifest: Manifest) -> dict[str, str]:
    """What a checkpoint must share with the run that goes on from it (`checkpoint.IDENTITY_REASONS`)."""
    compared = comparable_options(options)
    if manifest.label_patch:
        compared["label_patch"] = manifest.label_patch.sha256
    text = json.dumps(compared, sort_keys=True)
    return {
        "options": hashlib.sha256(text.encode()).hexdigest(),
        "classes": manifest.class_map_sha256,
        "data": manifest.fingerprint,
    }


def _check_same_stage(run: runs.Run, *, options: TrainOptions, manifest: Manifest, overwritable: bool) -> None:
    begun, ours = comparable_options(run.options), comparable_options(options)
    way_out = "or another --run; --overwrite starts anew" if overwritable else "or leave --resume_from out"
    what = f"The unfinished run {run.directory} was begun with"
    for name, value in ours.items():
        if begun[name] != value:
            raise UserError(
                f"{what} {_flag(name, begun[name])} and this command has {_flag(name, value)}: use the former to go "
                f"on, {way_out}."
            )
    for thing, theirs, mine in (
        ("the classes", run.class_map_sha256, manifest.class_map_sha256),
        ("data", run.data_fingerprint, manifest.fingerprint),
    ):
        if theirs != mine:
            raise UserError(
                f"{what} {thing} {theirs[:12]} and {manifest.directory} has {mine[:12]}: give the data set it was "
                f"begun with as --data, {way_out}."
            )
    patched = (run.stage["data"].get("label_patch") or {}).get("sha256")
    if manifest.label_patch and patched != manifest.label_patch.sha256:
        raise UserError(
            f"{what} another content of --label_patch={options.label_patch} than it has now ({run.directory} holds a "
            f"copy): use the former to go on, {way_out}."
        )


def _flag(name: str, value: object) -> str:
    return f"--{'' if value else 'no'}{name}" if isinstance(value, bool) else f"--{name}={value}"
