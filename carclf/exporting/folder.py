"""Writes a folder completely or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from carclf.errors import UserError, full_disk
from carclf.scratch import PREFIX, Scratch


def check_free(path: Path, *, overwrite: bool) -> None:
    """Checks that the folder may be written.

    Raises:
      UserError: it exists and must not be replaced, or it is a file.
    """
    if path.is_dir():
        if any(path.iterdir()) and not overwrite:
            raise UserError(f"The folder {path} exists: choose another --output, or add --overwrite to replace it.")
    elif path.exists():
        raise UserError(f"{path} is a file, but --output must be a folder: choose another name.")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill, which replaces `path` at the end; after an error nothing is left of it.

    Raises:
      UserError: it cannot be created, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Scratch(within=path.parent, prefix=f".{PREFIX}{path.name}.")
    except OSError as error:
        raise UserError(f"{path} could not be written ({error.strerror}): give another --output.") from None
    try:
        filled, replaced = scratch.path / "new", scratch.path / "old"
        filled.mkdir()
        yield filled
        if path.exists():
            os.rename(path, replaced)
        try:
            os.rename(filled, path)
        except OSError:
            if replaced.exists():
                os.rename(replaced, path)
            raise
    except Exception as error:
        if full := full_disk(error, path=str(path)):  # libraries name the temporary folder, if any
            raise UserError(full) from None
        raise
    finally:
        scratch.remove()
