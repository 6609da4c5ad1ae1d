"""A run on disk: its folder, its options and its results. JSON and file names only."""

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from carclf import storage
from carclf.advice import command, run_argument
from carclf.command import stage_files
from carclf.errors import UserError
from carclf.flags import from_dict
from carclf.framing import Rendering
from carclf.path_lists import split_paths
from carclf.runs.run_files import FORMAT_VERSION as FORMAT_VERSION
from carclf.runs.run_files import METRICS_FILE as METRICS_FILE
from carclf.runs.run_files import read_metrics, read_stage
from carclf.runs.weights_files import checked_file
from carclf.storage import copies
from carclf.train_options import ALL_FOLDS, TrainOptions

STAGE_FILE = "stage.json"
BEST_WEIGHTS = "best.weights.h5"
LAST_WEIGHTS = "last.weights.h5"
HISTORY_FILE = "history.csv"
CHECKPOINTS_FOLDER = "checkpoints"
TENSORBOARD_FOLDER = "tensorboard"
EPOCHS_FOLDER = "epochs"  # weights of the last epochs, for --swa_epochs
FEATURES_FOLDER = "features"  # the backbone's features of the photos, for --feature_views
OUT_OF_FOLD_FILE = "out_of_fold.json"  # scores of all folds together, in the folder of --val_fold=all
APPLIED_LABELS = "applied_label_patch.csv"  # the run's own copy of --label_patch
APPLIED_PSEUDO_LABELS = "applied_pseudo_labels.csv"  # the run's own copy of --pseudo_labels, with a .json beside it
OWN_FOLDERS = (CHECKPOINTS_FOLDER, EPOCHS_FOLDER, FEATURES_FOLDER, TENSORBOARD_FOLDER)
FOLD_FOLDER = re.compile(r"fold(\d+)")  # name of each run that --val_fold=all trains


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, as described by the `stage.json` and `metrics.json` in its folder.

    Attributes:
      directory: the run's folder.
      options: all resolved options of the training.
      class_names: the classes in order of their label.
      class_map_sha256: hash of the label map, equal for data sets that agree on it.
      data_fingerprint: fingerprint of the data set it was trained on, and so of the split.
      max_side: longest side of its stored photos in pixels, which determines the canvas.
      stage: the whole content of stage.json.
      metrics: the whole content of metrics.json, or None while the run is unfinished.
    """

    directory: Path
    options: TrainOptions
    class_names: tuple[str, ...]
    class_map_sha256: str
    data_fingerprint: str
    max_side: int
    stage: Mapping[str, Any]
    metrics: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """The folder's own name, which is the stage's unless the user chose another."""
        return run_name(self.directory)

    @property
    def held_out_fold(self) -> int | None:
        """The fold that it never trained on; None for a soup of runs that held out different ones."""
        return None if self.options.val_fold == ALL_FOLDS else self.options.val_fold

    @property
    def rendering(self) -> Rendering:
        """How images are computed from whole photos without mixing, in the way that suits every geometry."""
        return Rendering(fill=self.options.fill, stretch=self.options.stretch)

    @property
    def label_patch(self) -> Path | None:
        """The run's copy of the label patch it was trained with, after comparing its hash; None without a patch.

        Raises:
          UserError: the file is missing or was changed.
        """
        patch = self.stage["data"].get("label_patch")
        path = self.directory / APPLIED_LABELS
        return checked_file(path, recorded={path.name: patch["sha256"]}) if patch else None

    @property
    def history(self) -> Path:
        """The file of the figures of its epochs, after comparing its hash.

        Raises:
          UserError: the file is missing or was changed.
        """
        return checked_file(self.directory / HISTORY_FILE, recorded=self.recorded_hashes)

    @property
    def recorded_hashes(self) -> Mapping[str, str]:
        """The hash of each file that metrics.json names; empty while the run is unfinished."""
        return dict((self.metrics or {}).get("files_sha256") or {})

    @property
    def followed_metric(self) -> str:
        """The name of the metric that chose its weights; an evaluation may have another."""
        return str(self.stage.get("metric", "accuracy"))  # older runs do not name it

    @property
    def score(self) -> str:
        """The metric that counts with its value on the validation photos, such as 'val_accuracy 0.9120'; '' before."""
        if self.metrics is None:
            return ""
        if self.held_out_fold is None:
            return "without a held-out score"
        value = self.metrics.get("val_score", self.metrics["val_accuracy"])  # older runs have the accuracy alone
        return f"val_{self.metrics.get('metric', 'accuracy')} {value:.4f}"

    @property
    def best_weights(self) -> Path:
        """The file of the weights that were best on the validation photos, after comparing its hash.

        Raises:
          UserError: the run has none yet, or the file was changed.
        """
        path = self.directory / BEST_WEIGHTS
        if not path.is_file():
            raise UserError(
                f"The run {self.directory} has no {BEST_WEIGHTS} yet: train it to the end of an epoch first."
            )
        return checked_file(path, recorded=self.recorded_hashes)


@dataclasses.dataclass(frozen=True)
class Member:
    """What one name in `--run` stands for: a run, or the runs of `--val_fold=all`, one for each fold.

    Attributes:
      name: name of its folder.
      directory: the folder.
      runs: in order of their folds; a single one if the name stands for one run.
    """

    name: str
    directory: Path
    runs: tuple[Run, ...]

    @property
    def folds(self) -> tuple[int, ...]:
        """The validation folds of its runs."""
        return tuple(run.options.val_fold for run in self.runs)

    def run_of(self, fold: int) -> Run:
        """Returns the run whose validation fold is `fold`."""
        return self.runs[self.folds.index(fold)]


def run_name(directory: Path) -> str:
    """Returns the name of the run in a folder; a run of `--val_fold=all` has its parent folder's name in front."""
    is_fold = FOLD_FOLDER.fullmatch(directory.name)
    return f"{directory.parent.name}/{directory.name}" if is_fold else directory.name


def fold_path(directory: Path, fold: int) -> Path:
    """Returns the folder in which `--val_fold=all` puts the run with validation fold `fold`."""
    return directory / f"fold{fold}"


def fold_paths(directory: Path) -> list[Path]:
    """Returns the folders of the runs that `--val_fold=all` made in `directory`, in order of their folds."""
    folders = [path for path in directory.glob("fold*") if (path / STAGE_FILE).is_file()]
    return sorted((path for path in folders if FOLD_FOLDER.fullmatch(path.name)), key=lambda path: int(path.name[4:]))


def run_place(name: str, *, runs: str) -> str:
    """Returns the path or URL of a run's folder: a bare name is inside `runs`, anything with a slash is a path."""
    return name if os.sep in name or "/" in name else storage.join(runs, name)


def split_names(names: str, *, runs: str) -> list[str]:
    """Returns the names in a list with commas; a folder of a run that is there with commas in its name is one of them.

    Raises:
      StorageError: a store cannot be reached.
    """
    return split_paths(names, lambda name: storage.is_folder(os.path.expanduser(run_place(name, runs=runs))))


def run_path(name: str, *, runs: str, whole: bool = False) -> Path:
    """Returns the folder of a run, of one at a URL the working copy (`carclf.storage.copies`).

    Args:
      name: a bare name is inside `runs`, anything with a slash is a path or a URL.
      runs: folder of the runs.
      whole: whether to fetch what only its own training reads, such as checkpoints.
    """
    return copies.local_path(run_place(name, runs=runs), without=() if whole else OWN_FOLDERS)


def load_run(directory: Path) -> Run:
    """Returns the run in a folder.

    Raises:
      UserError: there is none, or this version cannot read its files.
    """
    stage_file = directory / STAGE_FILE
    if not directory.is_dir():
        raise UserError(f"There is no run folder {directory}: {advice_on_missing(directory)}")
    if not stage_file.is_file() and (folds := fold_paths(directory)):
        raise UserError(f"The folder {directory} holds a run for each fold: name one of them, such as {folds[0]}.")
    if not stage_file.is_file():
        raise UserError(
            f"The folder {directory} is not a run, since it has no {STAGE_FILE}: {advice_on_missing(directory)}"
        )
    stage = read_stage(stage_file)
    metrics_file = directory / METRICS_FILE
    data = stage["data"]
    try:
        options = from_dict(TrainOptions, stage["options"])
    except UserError as error:
        raise UserError(f"{stage_file}: {error}") from None
    return Run(
        directory=directory,
        options=options,
        class_names=tuple(data["class_names"]),
        class_map_sha256=data["class_map_sha256"],
        data_fingerprint=data["fingerprint"],
        max_side=data["max_side"],
        stage=stage,
        metrics=read_metrics(metrics_file) if metrics_file.is_file() else None,
    )


def load_runs(names: str | Sequence[str], *, runs: str) -> list[Run]:
    """Returns the runs that `load_members` returns, in one list.

    Raises:
      UserError: one is missing, or two disagree on the classes.
    """
    return [run for member in load_members(names, runs=runs) for run in member.runs]


def load_members(names: str | Sequence[str], *, runs: str) -> list[Member]:
    """Returns the named members; a folder of `--val_fold=all` stands for the runs of all folds.

    Args:
      names: a list with commas, as for `split_names`, or the names one by one.
      runs: the folder of bare names.

    Raises:
      UserError: one is missing, a run of `--val_fold=all` is unfinished, or two runs disagree on the classes.
    """
    given = split_names(names, runs=runs) if isinstance(names, str) else names
    members = [_load_member(run_path(name, runs=runs)) for name in given]
    if not members:
        names = names if isinstance(names, str) else ",".join(names)
        raise UserError(f"--run={names!r} names no run: give runs/NAME, or several with commas.")
    _check_same_classes([run for member in members for run in member.runs])
    return members


def _load_member(directory: Path) -> Member:
    folders = [] if (directory / STAGE_FILE).is_file() else fold_paths(directory)
    loaded = tuple(load_run(folder) for folder in folders or [directory])
    for run in loaded:
        if folders and run.metrics is None:
            raise UserError(
                f"The run {run.directory} is not finished: the command that trains all folds of {directory} resumes it."
            )
    return Member(run_name(directory), directory, loaded)


def _check_same_classes(loaded: Sequence[Run]) -> None:
    for run in loaded[1:]:
        if run.class_map_sha256 != loaded[0].class_map_sha256:
            raise UserError(
                f"The runs {loaded[0].directory} and {run.directory} were trained on different classes "
                f"({len(loaded[0].class_names)} and {len(run.class_names)}): average runs of one data set only."
            )


def parent_runs(run: Run, *, runs: str) -> list[Run]:
    """Returns the runs that a run descends from, the first stage first; the chain stops at a missing folder.

    Args:
      run: the last stage.
      runs: the folder of bare names.
    """
    chain: list[Run] = []
    child = run
    while child.options.init_from:
        path = run_path(child.options.init_from, runs=runs)
        if not (path / STAGE_FILE).is_file() or path in [parent.directory for parent in chain]:
            break
        child = load_run(path)
        chain.append(child)
    return chain[::-1]


def advice_on_missing(directory: Path, *, data: str = "DIR") -> str:
    """Returns what to do about a missing run, for the end of an error text: a run of a similar name, or a command.

    Args:
      directory: the folder where the run should be.
      data: the data set, for the command that trains it.
    """
    there = sorted(file.parent.name for file in directory.parent.glob(f"*/{STAGE_FILE}"))
    if near := difflib.get_close_matches(directory.name, there, n=1):
        return f"did you mean {directory.parent / near[0]}?"
    if directory.name in stage_files():
        made = command("train", f"--stage={directory.name}", f"--data={data}", f"--runs={directory.parent}")
        return f"make it with {made}."
    if there:
        return f"the runs in {directory.parent} are {', '.join(there)}."
    trained = command("train", f"--run={run_argument(directory)}", f"--data={data}")
    return f"train it with {trained}, or give the folder of another run."
