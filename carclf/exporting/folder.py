"""Writes a folder completely or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from carclf.convert.sources import CLUTTER
from carclf.errors import UserError, full_disk
from carclf.scratch import PREFIX, Scratch, remove_abandoned

CARD_FILE = "README.md"
LABELS_FILE = "labels.txt"
EXPORTED = frozenset((CARD_FILE, LABELS_FILE))
OLD = "old"  # the folder in a scratch folder that holds what is replaced
MODEL_FILES = frozenset(("saved_model", "model.onnx", "model.tflite"))


def check_free(path: Path, *, overwrite: bool) -> None:
    """Checks that the folder may be written.

    Raises:
      UserError: it exists and must not be replaced, holds anything else than an export, cannot be renamed, or is a
        file.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file, but --output must be a folder: choose another name.")
    whole = path.resolve()
    if whole in (Path.cwd(), *Path.cwd().parents) or os.path.ismount(whole):
        raise UserError(
            f"--output={path} is a mount point, the current folder or one above it, and cannot be replaced: name a "
            "folder inside it."
        )
    found = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    if not found:
        return
    foreign = sorted(name for name in found - EXPORTED - MODEL_FILES if not CLUTTER.search(name))
    if foreign or not found & MODEL_FILES or not found >= EXPORTED:
        reason = f"it holds {foreign[0]}" if foreign else "its files are not complete"
        raise UserError(
            f"The folder {path} is not an export ({reason}), which --overwrite could replace: choose another --output."
        )
    if not overwrite:
        raise UserError(f"The folder {path} exists: choose another --output, or add --overwrite to replace it.")


def put_back(path: Path) -> None:
    """Puts back the folder that a process took from `path` to replace it, if it was killed before it did."""
    place = path.resolve()
    remove_abandoned(place.parent, prefix=f".{PREFIX}{place.name}.", rescue=_put_back)


def _put_back(scratch: Path) -> None:
    """Puts back what a scratch folder holds, unless something else is in its place."""
    for old in (scratch / OLD).glob("*"):
        if not (scratch.parent / old.name).exists():
            os.rename(old, scratch.parent / old.name)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill, which replaces `path` at the end; after an error nothing is left of it.

    Raises:
      UserError: it cannot be created or may not be replaced (`check_free`), or the disk is full.
    """
    check_free(path, overwrite=True)
    place = path.resolve()  # of a link, the folder is replaced
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Scratch(within=place.parent, prefix=f".{PREFIX}{place.name}.", rescue=_put_back)
    except OSError as error:
        raise UserError(f"{path} could not be written ({error.strerror}): give another --output.") from None
    try:
        filled, replaced = scratch.path / "new", scratch.path / OLD / place.name
        filled.mkdir()
        replaced.parent.mkdir()
        yield filled
        check_free(path, overwrite=True)  # files may have appeared since
        try:
            if place.exists():
                os.rename(place, replaced)
            os.rename(filled, place)
        except BaseException:
            _put_back(scratch.path)
            raise
    except Exception as error:
        if full := full_disk(error, path=str(path)):  # libraries name the temporary folder, if any
            raise UserError(full) from None
        raise
    finally:
        scratch.remove()
