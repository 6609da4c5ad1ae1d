"""What a list of stages, as in `--stages`, makes: schedules such as `best` are the stages in them. No framework."""

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


def stage_options(stages: str, *, within: Sequence[str] = ()) -> list[tuple[Path, list[str]]]:
    """Returns each stage's flag file, and the options in it and in the files that it includes.

    Args:
      stages: names or paths of flag files, separated by commas; a schedule is its stages.
      within: the schedules that name them.

    Raises:
      UserError: there is no such stage, or a schedule names itself.
    """
    found: list[tuple[Path, list[str]]] = []
    for stage in split_stages(stages):
        path = find_stage(stage)
        if str(path) in within:
            raise UserError(f"The schedule {path} names itself: remove it from its --stages.")
        options = expand_flagfiles([f"--flagfile={path}"])
        parts = last_value(options, "stages")
        found += stage_options(parts, within=[*within, str(path)]) if parts else [(path, options)]
    return found


def runs_of_stages(stages: str) -> list[str]:
    """Returns the names of the runs that `carclf.train --stages` makes, in its order.

    Raises:
      UserError: as for `stage_options`.
    """
    return [last_value(options, "run") or path.stem for path, options in stage_options(stages)]
