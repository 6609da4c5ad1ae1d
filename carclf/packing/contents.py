"""What is packed in addition to wheels: runs, weights and stages, each by its path in the pack."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from carclf import runs
from carclf.errors import UserError
from carclf.model.backbones import find_backbone
from carclf.path_lists import split_paths
from carclf.runs import Member, Run
from carclf.runs.weights_files import hash_path
from carclf.stage_lists import ListedStage, last_value, listed_stages
from carclf.train_options import TrainOptions

RUNS, WEIGHTS, STAGES = "runs", "weights", "stages"
LITE = "lite"  # the extra that brings the weights of backbones with a `weights_package`
PROBE_FILE, PROBE_RUN = "probe.json", "best"
# Of a run; the rest is for resuming, or is drawn again.
RUN_FILES = (
    runs.STAGE_FILE,
    runs.METRICS_FILE,
    runs.HISTORY_FILE,
    runs.APPLIED_LABELS,
    runs.APPLIED_PSEUDO_LABELS,
    str(Path(runs.APPLIED_PSEUDO_LABELS).with_suffix(".json")),
)

Files = dict[str, Path | bytes]


@dataclasses.dataclass(frozen=True)
class PackedStage:
    """A stage in the pack.

    Attributes:
      name: its name; its file is `stages/NAME.flags`.
      run: name of the run that it makes.
      init_from: name of the run that it starts from; "" for none.
      wants_weights: whether it starts from weights of its backbone.
      is_lite: whether the extra lite brings these.
    """

    name: str
    run: str
    init_from: str = ""
    wants_weights: bool = False
    is_lite: bool = False


@dataclasses.dataclass(frozen=True)
class Contents:
    """What is packed.

    Attributes:
      files: path in the pack → where it comes from, or its bytes.
      runs: names of the runs, in the order of `--run`.
      weights: names of the weights, in the order of `--weights`.
      stages: the stages, in the order of `--stages`.
    """

    files: Mapping[str, Path | bytes]
    runs: Sequence[str] = ()
    weights: Sequence[str] = ()
    stages: Sequence[PackedStage] = ()


def collect(*, run: str, runs_folder: str, weights: str, stages: str, extras: Sequence[str]) -> Contents:
    """Returns what the options name.

    Args:
      run: the value of `--run`.
      runs_folder: folder of bare names.
      weights: the value of `--weights`.
      stages: the value of `--stages`.
      extras: the extras that are packed; one of them may bring weights.

    Raises:
      UserError: something is missing, damaged, or there twice, or a stage would lack its weights.
    """
    files: Files = {}
    names = [_add_member(member, files) for member in _members(run, runs_folder)]
    given = split_paths(weights, lambda path: os.path.exists(os.path.expanduser(path)))
    brought = [_add_weights(Path(path), files) for path in given]
    packed = [_add_stage(stage, files) for stage in listed_stages(stages)]
    _check_weights(packed, brought, runs=names, lite=LITE in extras)
    return Contents(files, names, brought, packed)


def _members(run: str, runs_folder: str) -> list[Member]:
    """Returns the runs that `--run` names; the folder of a probe stands for the run in it."""
    paths = [runs.run_path(name, runs=runs_folder) for name in runs.split_names(run, runs=runs_folder)]
    if not paths:
        return []
    given = [path / PROBE_RUN if (path / PROBE_FILE).is_file() else path for path in paths]
    return runs.load_members([os.path.join(path.parent, path.name) for path in given], runs=runs_folder)


def _add_member(member: Member, files: Files) -> str:
    """Adds the files of a run, or of the runs of all folds, and returns its name in the pack."""
    directory = member.directory.resolve()
    name = directory.parent.name if (directory.parent / PROBE_FILE).is_file() else directory.name
    if any(path.startswith(f"{RUNS}/{name}/") for path in files):
        raise UserError(f"Two runs in --run are called {name}: rename the folder of one.")
    for run in member.runs:
        is_fold = run.directory != member.directory
        _add_run(run, f"{RUNS}/{name}/{run.directory.name}" if is_fold else f"{RUNS}/{name}", files)
    if (path := member.directory / runs.OUT_OF_FOLD_FILE).is_file():
        files[f"{RUNS}/{name}/{path.name}"] = path
    return name


def _add_run(run: Run, inside: str, files: Files) -> None:
    weights = run.best_weights  # compared with its hash
    paths = [weights, hash_path(weights), *(run.directory / name for name in RUN_FILES)]
    files.update({f"{inside}/{path.name}": path for path in paths if path.is_file()})


def _add_weights(path: Path, files: Files) -> str:
    """Adds a file of weights, or the folder of a preset, and returns its name in the pack."""
    path = path.expanduser()
    name = path.resolve().name
    if not path.exists():
        raise UserError(f"There are no weights {path}: give --weights the path of a file, or of a preset's folder.")
    if any(f"{known}/".startswith(f"{WEIGHTS}/{name}/") for known in files):
        raise UserError(f"Two of --weights are called {name}: rename one.")
    if path.is_file():
        files[f"{WEIGHTS}/{name}"] = path
        return name
    inside = [one for one in sorted(path.rglob("*")) if not _hidden(one.relative_to(path)) and one.is_file()]
    if not inside:
        raise UserError(f"The folder of weights {path} holds no file: copy the preset again.")
    files.update({f"{WEIGHTS}/{name}/{one.relative_to(path).as_posix()}": one for one in inside})
    return name


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _add_stage(stage: ListedStage, files: Files) -> PackedStage:
    """Adds the flag file of a stage, with all that it includes, and returns the stage."""
    path, options = stage.path, stage.options
    content = "\n".join([f"# {path.name} with all that it includes.", *options, ""]).encode()
    if files.setdefault(f"{STAGES}/{path.name}", content) != content:
        raise UserError(f"Two of --stages are called {path.stem}: rename the file of one.")
    weights = last_value(options, "weights") or TrainOptions.weights
    init_from = last_value(options, "init_from")
    return PackedStage(
        path.stem,
        run=Path(last_value(options, "run") or "run").name,  # its command does not name the schedule
        init_from=Path(init_from).name if init_from else "",
        wants_weights=not init_from and weights != "none",
        is_lite=bool(find_backbone(last_value(options, "backbone") or TrainOptions.backbone).weights_package),
    )


def _check_weights(stages: Sequence[PackedStage], weights: Sequence[str], *, runs: Sequence[str], lite: bool) -> None:
    """Checks that every stage finds what it starts from.

    Raises:
      UserError: one does not, or weights belong to no stage.
    """
    wanting = [stage for stage in stages if stage.wants_weights]
    if weights and not wanting:
        raise UserError(f"--weights={weights[0]} serves no stage: name one in --stages that starts from such weights.")
    if weights and len(weights) not in (1, len(wanting)):
        raise UserError(
            f"--weights names {len(weights)} and {len(wanting)} of --stages start from weights: give one for all, or "
            "one for each in the same order."
        )
    for stage in wanting:
        if not weights and not (lite and stage.is_lite):
            advice = f", or --extras={LITE}, which brings them" if stage.is_lite else ""
            raise UserError(
                f"The stage {stage.name} starts from weights, which a notebook without internet cannot fetch: add "
                f"--weights=FILE{advice}."
            )
    there = {*runs}
    for stage in stages:
        if stage.init_from and stage.init_from not in there:
            raise UserError(
                f"The stage {stage.name} starts from the run {stage.init_from}, which is neither packed nor made by a "
                f"stage before it: add --run={stage.init_from}, or that stage to --stages."
            )
        there.add(stage.run)
