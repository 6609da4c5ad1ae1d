"""What a list of stages, as in `--stages`, makes: schedules such as `best` are the stages in them. No framework."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from carclf.command import expand_flagfiles, find_stage, is_flag_file
from carclf.errors import UserError
from carclf.path_lists import split_paths


def split(text: str) -> list[str]:
    """Returns the parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def split_stages(text: str) -> list[str]:
    """Returns the names of stages and the paths of flag files in a list with commas; a path may have commas."""
    return split_paths(text, is_flag_file)


def last_value(arguments: Sequence[str], name: str) -> str:
    """Returns the value of an option that counts, or ""."""
    prefix = f"{name}="
    values = [
        argument.lstrip("-").removeprefix(prefix) for argument in arguments if argument.lstrip("-").startswith(prefix)
    ]
    return values[-1] if values else ""


@dataclasses.dataclass(frozen=True)
class ListedStage:
    """A stage in a list of stages, or in a schedule there.

    Attributes:
      name: as it is written there.
      path: its flag file.
      options: those in it and in the files that it includes.
      shared: those of the schedules that name it, the innermost first.
    """

    name: str
    path: Path
    options: list[str]
    shared: list[str]

    @property
    def run(self) -> str:
        """The name or folder of its run."""
        return last_value([*self.options, *self.shared], "run") or "run"


def listed_stages(stages: str, *, within: Sequence[Path] = (), shared: Sequence[str] = ()) -> list[ListedStage]:
    """Returns the stages of a list in training order; in place of a schedule, its stages.

    Args:
      stages: names or paths of flag files, separated by commas.
      within: the schedules that name them.
      shared: what these say for all their stages.

    Raises:
      UserError: there is no such stage, or a schedule names itself.
    """
    found: list[ListedStage] = []
    for name in split_stages(stages):
        path = find_stage(name)
        if path.resolve() in within:
            raise UserError(f"The schedule {path} names itself: remove it from its --stages.")
        options = expand_flagfiles([f"--flagfile={path}"])
        if parts := last_value(options, "stages"):
            inner = [*without_stages(options), *shared]
            found += listed_stages(parts, within=[*within, path.resolve()], shared=inner)
        else:
            found.append(ListedStage(name, path, options, list(shared)))
    return found


def without_stages(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments without any `--stages`."""
    kept: list[str] = []
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        if argument.lstrip("-") == "stages":  # written as two words
            pending = pending[1:]
        elif not argument.lstrip("-").startswith("stages="):
            kept.append(argument)
    return kept
