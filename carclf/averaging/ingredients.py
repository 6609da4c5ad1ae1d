"""Which runs can be averaged, and which photos none of them has trained on: no framework."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from carclf import runs
from carclf.advice import argument
from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.inference.compatibility import check_classes
from carclf.runs.parent import network_options

SEEN = ("fit", "fill", "stretch")  # options that decide how a photo reaches the network; image sizes may differ


class HeldOut(NamedTuple):
    """The photos that no ingredient has trained on.

    Attributes:
      fold: their fold; None if there are none.
      reason: why there are none, as the beginning of a sentence; '' if there are.
    """

    fold: int | None
    reason: str = ""


def load_ingredients(names: str, *, runs_folder: str) -> list[runs.Run]:
    """Returns the finished runs of a comma-separated list.

    Raises:
      UserError: there is one alone, or one is missing or unfinished.
    """
    loaded = runs.load_runs(names, runs=runs_folder)
    if len(loaded) < 2:
        raise UserError(
            f"--run={names} names one run: name several, separated by commas, or average it with its parent by "
            "--method=wise."
        )
    return _finished(loaded)


def load_pair(names: str, *, runs_folder: str) -> list[runs.Run]:
    """Returns (parent, child): the two runs of a comma-separated list, or its one run after the run it started from.

    Raises:
      UserError: there are more, one is missing or unfinished, or a single run has no parent.
    """
    loaded = runs.load_runs(names, runs=runs_folder)
    if len(loaded) == 2:
        return _finished(loaded)
    if len(loaded) > 2:
        raise UserError(
            f"--method=wise averages a run with its parent, and --run={names} names {len(loaded)} runs: name one run, "
            "or its parent and itself."
        )
    (child,) = loaded
    if not child.options.init_from:
        raise UserError(
            f"The run {child.directory} has no parent, since it was trained without --init_from: name two runs, the "
            "parent first."
        )
    parent = runs.run_path(child.options.init_from, runs=runs_folder)
    if not parent.is_dir():
        raise UserError(
            f"The parent {parent} of the run {child.directory} is not there: name both, "
            f"{argument('run', f'PARENT,{child.directory}')}."
        )
    return _finished([runs.load_run(parent), child])


def _finished(loaded: list[runs.Run]) -> list[runs.Run]:
    for run in loaded:
        if run.metrics is None:
            raise UserError(f"The run {run.directory} is not finished: train it to its end first.")
    return loaded


def check_ingredients(ingredients: Sequence[runs.Run], manifest: Manifest) -> None:
    """Checks that the mean of these runs' weights means something, and that they are of this data set.

    Raises:
      UserError: two have another network, or see photos in another way; one was trained on other photos or classes.
    """
    check_classes(ingredients, manifest)
    first = ingredients[0]
    for run in ingredients:
        if run.data_fingerprint != manifest.fingerprint:
            raise UserError(
                f"The run {run.directory} was trained on the data set {run.data_fingerprint[:12]}, but "
                f"{manifest.directory} is {manifest.fingerprint[:12]}: average runs of one data set, with "
                f"{argument('data', run.stage['data'].get('directory') or 'DIR')}."
            )
        ours, theirs = (
            network_options(one.options) | {name: getattr(one.options, name) for name in SEEN} for one in (first, run)
        )
        for name, value in theirs.items():
            if ours[name] != value:
                raise UserError(
                    f"The run {first.directory} has --{name}={ours[name]} and {run.directory} --{name}={value}: "
                    "average runs that have it in common, or their probabilities with python -m carclf.predict "
                    "--run=a,b."
                )
        if run.stage.get("preset") != first.stage.get("preset"):
            raise UserError(
                f"The runs {first.directory} and {run.directory} have backbones of different presets: average runs "
                "of one."
            )


def held_out(ingredients: Sequence[runs.Run], *, runs_folder: str) -> HeldOut:
    """Returns the fold that neither the ingredients nor the runs they started from have trained on."""
    first = ingredients[0]
    for run in ingredients:
        if run.held_out_fold is None:
            return HeldOut(None, f"The run {run.directory} is a soup that held nothing out")
        if run.held_out_fold != first.held_out_fold:
            return HeldOut(
                None,
                f"The run {first.directory} held out fold {first.held_out_fold} and {run.directory} fold "
                f"{run.held_out_fold}, so no training photo is new to both",
            )
        if ancestor := _ancestor_with_another_split(run, runs_folder=runs_folder):
            return HeldOut(
                None,
                f"The run {run.directory} started with --allow_split_change from {ancestor}, which may have trained "
                f"on photos of fold {run.held_out_fold}",
            )
    return HeldOut(first.held_out_fold)


def _ancestor_with_another_split(run: runs.Run, *, runs_folder: str) -> Path | None:
    """Returns the folder of a run that this one descends from and that has, or may have, seen its held-out photos."""
    chain = [*runs.parent_runs(run, runs=runs_folder), run]
    oldest = chain[0]
    if oldest.options.init_from and oldest.options.allow_split_change:  # its parent is not there any more
        return runs.run_path(oldest.options.init_from, runs=runs_folder)
    split = run.data_fingerprint, run.options.val_fold
    other = (one.directory for one in chain if (one.data_fingerprint, one.options.val_fold) != split)
    return next(other, None)
