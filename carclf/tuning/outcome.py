"""Writes the best trial as a flag file with its provenance."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from carclf import __version__
from carclf.errors import UserError
from carclf.files import write_atomically

WRITTEN_BY = "# Written by carclf.tune"


def check_output(path: Path, *, read: Collection[Path] = ()) -> None:
    """Checks that the file may be written.

    Args:
      path: of the file.
      read: resolved paths of the flag files that the search starts from.

    Raises:
      UserError: its name does not end with .flags, it exists and was not written by a search, or it is read.
    """
    if path.suffix != ".flags":
        raise UserError(f"--output={path} must end with .flags: a stage is named after its file.")
    if path.exists() and WRITTEN_BY not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"--output={path} exists and was not written by carclf.tune: choose another file.")
    if path.resolve() in read:
        raise UserError(
            f"--output={path} is a flag file that this search starts from, and would include itself: choose another "
            "file."
        )


def write_flags(path: Path, *, base: Sequence[str], options: Mapping[str, Any], provenance: Sequence[str]) -> None:
    """Writes a stage file, completely or not at all.

    Args:
      path: path of the file; the stage's run gets its name.
      base: `--flagfile=PATH`, relative to the current folder, or `--stage=NAME`: the stage that the options change.
      options: option → value.
      provenance: sentences about the origin of the options.
    """
    lines = [
        f"# python -m carclf.train --flagfile={path} --data=DIR",
        f"{WRITTEN_BY} {__version__}: {provenance[0]}",
        *(f"# {sentence}" for sentence in provenance[1:]),
        *(_from(path.parent, argument) for argument in base),
        f"--run={path.stem}",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _from(folder: Path, argument: str) -> str:
    """Returns the argument with its path relative to `folder`, where the trainer searches first."""
    name, _, value = argument.partition("=")
    if name.lstrip("-") != "flagfile":
        return argument
    return f"--flagfile={Path(os.path.relpath(Path(value).expanduser().resolve(), folder.resolve())).as_posix()}"
