"""Writes a proposal as flag files: one for each stage, and one that trains them in turn."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from carclf import __version__
from carclf.advice import command
from carclf.command import FLAGS, parse_command_line
from carclf.errors import UserError
from carclf.files import write_atomically
from carclf.planning.candidates import GROWN_RATE, STAGES
from carclf.planning.proposals import Proposal, Step
from carclf.train_options import TrainOptions

WRITTEN_BY = "# Written by carclf.train --plan"
CHAIN = "plan"  # name of the file that trains all stages


@dataclasses.dataclass(frozen=True)
class PlannedStage:
    """A stage that will be trained.

    Attributes:
      name: of its flag file, without suffix.
      run: of its run.
      lines: of its flag file, without comments.
    """

    name: str
    run: str
    lines: tuple[str, ...]


def planned_stages(
    proposal: Proposal, *, folds: Sequence[int], given: Mapping[str, str], fingerprint: str
) -> list[list[PlannedStage]]:
    """Returns the stages of each fold, in the order of training.

    The names of their runs hold a part of the plan's hash: another plan never takes the runs of this one for its own.

    Args:
      proposal: what is trained.
      folds: the folds to hold out, one after the other.
      given: options of the command line by name, which every stage has.
      fingerprint: of the data set.
    """
    text = repr((proposal.steps, list(folds), sorted(given.items()), fingerprint))
    mark = hashlib.sha256(text.encode()).hexdigest()[:6]
    planned = []
    for fold in folds:
        chain: list[PlannedStage] = []
        for step in proposal.steps:
            name = f"{step.candidate.part}_{step.candidate.image_size}"
            name += f"_fold{fold}" if len(folds) > 1 else ""
            parent = chain[-1].run if chain else ""
            run = f"{CHAIN}_{mark}_{name}"
            lines = _lines(step, run=run, parent=parent, fold=fold, given=given)
            chain.append(PlannedStage(name, run, tuple(lines)))
        planned.append(chain)
    return planned


def _lines(step: Step, *, run: str, parent: str, fold: int, given: Mapping[str, str]) -> list[str]:
    part = step.candidate.part
    chosen = {"run": run, "init_from": parent, "val_fold": str(fold), **step.candidate.options()}
    chosen |= {"epochs": str(step.epochs), "patience": "0"}
    if step.grown:
        stage = parse_command_line(TrainOptions, [f"--stage={STAGES[part]}"], description="")
        assert stage
        chosen["learning_rate"] = f"{GROWN_RATE * stage.learning_rate:g}"
    kept = {name: value for name, value in given.items() if name not in ("val_fold", *step.candidate.options())}
    return [f"--stage={STAGES[part]}", *(f"--{name}={value}" for name, value in {**chosen, **kept}.items())]


def write_plan(folder: Path, stages: Sequence[Sequence[PlannedStage]], *, data: str, head: Sequence[str]) -> Path:
    """Writes the flag files and returns the path of the one that trains all stages.

    Files of an earlier plan in the folder are replaced.

    Args:
      folder: where to write; it is made.
      stages: of each fold.
      data: the data set, for the commands in the files.
      head: sentences about the plan.

    Raises:
      UserError: a file that no plan wrote has one of the names.
    """
    names = [stage.name for chain in stages for stage in chain]
    chain_path = folder / f"{CHAIN}{FLAGS}"
    _check_ours(chain_path, *(folder / f"{name}{FLAGS}" for name in names))
    folder.mkdir(parents=True, exist_ok=True)
    for chain in stages:
        for stage in chain:
            _write(folder / f"{stage.name}{FLAGS}", [], stage.lines, data=data)
    _write(chain_path, head, [f"--stages={','.join(f'{name}{FLAGS}' for name in names)}"], data=data)
    return chain_path


def _check_ours(*paths: Path) -> None:
    for path in paths:
        if path.exists() and WRITTEN_BY not in path.read_text(encoding="utf-8", errors="replace"):
            raise UserError(f"{path} exists and was not written by --plan: choose another --plan_output.")


def _write(path: Path, head: Sequence[str], lines: Sequence[str], *, data: str) -> None:
    first = [f"# {command('train', f'--flagfile={path}', f'--data={data}')}", f"{WRITTEN_BY} of carclf {__version__}."]
    text = "\n".join([*first, *(f"# {sentence}" for sentence in head), *lines]) + "\n"
    write_atomically(path, text.encode())
