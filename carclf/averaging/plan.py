"""What is averaged and what chooses it, checked before anything heavy is imported."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from carclf import runs
from carclf.averaging.ingredients import check_ingredients, held_out, load_ingredients, load_pair
from carclf.averaging.methods import METHODS
from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.inference.compatibility import load_labels, metric_of
from carclf.metrics import Metric
from carclf.runs import Member, Run
from carclf.runs.emptying import check_emptied


@dataclasses.dataclass(frozen=True, eq=False)
class SoupPlan:
    """A soup to make.

    Attributes:
      method: a key of `METHODS`.
      directory: folder of the new run.
      ingredients: the runs; a parent before its child.
      manifest: the data set, with the labels to score by.
      fold: the fold that no ingredient has trained on; None if there is none.
      metric: the score.
      runs_folder: folder of bare names.
      scores: of the ingredients by themselves; empty if they are not known.
    """

    method: str
    directory: Path
    ingredients: tuple[Run, ...]
    manifest: Manifest
    fold: int | None
    metric: Metric
    runs_folder: str
    scores: tuple[float, ...] = ()

    @property
    def leader(self) -> Run:
        """The ingredient whose settings the soup has: the child, or else the first one."""
        return self.ingredients[-1 if self.method == "wise" else 0]

    def with_scores(self, scores: Sequence[float]) -> "SoupPlan":
        """Returns the plan with the ingredients' own scores; for a greedy soup the best ingredient comes first."""
        pairs = list(zip(scores, self.ingredients, strict=False))
        if self.method == "greedy":
            pairs.sort(key=lambda pair: self.metric.rank(pair[0]), reverse=True)
        ingredients = tuple(run for _, run in pairs) or self.ingredients
        return dataclasses.replace(self, ingredients=ingredients, scores=tuple(score for score, _ in pairs))


def plan_soup(
    names: str,
    *,
    method: str,
    output: str,
    overwrite: bool,
    manifest: Manifest,
    metric: str,
    label_patch: str,
    runs_folder: str,
) -> SoupPlan:
    """Returns what to average.

    Args:
      names: the value of `--run`.
      method: a key of `METHODS`.
      output: the value of `--output`.
      overwrite: whether a run there is replaced.
      manifest: the data set.
      metric: the value of `--metric`.
      label_patch: the value of `--label_patch`.
      runs_folder: folder of bare names.

    Raises:
      UserError: the runs cannot be averaged, no photos can choose between them, or the folder holds something else.
    """
    load = load_pair if method == "wise" else load_ingredients
    ingredients = load(names, runs_folder=runs_folder)
    check_ingredients(ingredients, manifest)
    directory = runs.run_path(output, runs=runs_folder)
    check_output(directory, ingredients=ingredients, runs_folder=runs_folder, overwrite=overwrite)
    common = held_out(ingredients, runs_folder=runs_folder)
    if common.fold is None and METHODS[method].chooses:
        raise UserError(
            f"{common.reason}, and --method={method} needs such photos to choose: give runs of one fold, or average "
            "all by --method=uniform, without a held-out score."
        )
    members = [Member(run.name, run.directory, (run,)) for run in ingredients]
    manifest = load_labels(label_patch, members=members, manifest=manifest)
    return SoupPlan(
        method=method,
        directory=directory,
        ingredients=tuple(ingredients),
        manifest=manifest,
        fold=common.fold,
        metric=metric_of(metric, members=members, form=manifest.form),
        runs_folder=runs_folder,
    )


def check_output(directory: Path, *, ingredients: list[Run], runs_folder: str, overwrite: bool) -> None:
    """Checks that the soup may be written into this folder.

    Raises:
      UserError: it holds another run, the runs of all folds, a run that the soup is made of or descends from, or no run
        but files that one would replace.
    """
    if runs.fold_paths(directory):
        raise UserError(f"The folder {directory} holds a run for each fold: choose another --output.")
    if not (directory / runs.STAGE_FILE).is_file():
        check_emptied(directory)
        return
    needed = [one for run in ingredients for one in (*runs.parent_runs(run, runs=runs_folder), run)]
    if directory.resolve() in [run.directory.resolve() for run in needed]:
        raise UserError(f"The soup would replace the run {directory}, of which it is made: choose another --output.")
    if not overwrite:
        raise UserError(f"The folder {directory} holds a run: choose another --output, or replace it by --overwrite.")
