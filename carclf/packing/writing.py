"""Writes a pack whole under its name, or not at all: in a hidden folder beside it, which is renamed at the end."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from carclf import hashed_json, preemption
from carclf.errors import UserError, full_disk
from carclf.lock import holding
from carclf.packing.install import PACK_FILE, Refusal, check_files, files_in, read_pack, sha256_of

BLOCK = 1 << 20


@contextlib.contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Yields an empty folder to fill, which becomes `output` at the end; after an error it is removed.

    What a killed process left there is removed first.

    Raises:
      UserError: another process packs into the same output, or the place cannot be written.
    """
    beside = output.parent / f".{output.name}.packing"
    with holding(beside, doing="packing in", option="--output"):
        inside = beside / output.name
        shutil.rmtree(inside, ignore_errors=True)
        try:
            inside.mkdir()
            yield inside
            preemption.check()
            _rename(inside, output)
        finally:
            shutil.rmtree(inside, ignore_errors=True)


def _rename(inside: Path, output: Path) -> None:
    try:
        if output.is_dir():
            output.rmdir()  # it was empty; if it no longer is, nothing is lost
        os.rename(inside, output)
    except OSError as error:
        if full_disk(error):
            raise
        raise UserError(
            f"The pack cannot take the name {output} ({os.strerror(error.errno or 0)}): choose another --output."
        ) from None


def write_files(folder: Path, files: Mapping[str, Path | bytes]) -> None:
    """Writes files into the folder of a pack: path inside it → source or bytes."""
    for name, source in files.items():
        path = folder.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as target:
            if isinstance(source, bytes):
                target.write(source)
            else:
                _copy(source, target)
            target.flush()
            os.fsync(target.fileno())
        preemption.check()


def _copy(source: Path, target: Any) -> None:
    with open(source, "rb") as file:
        while block := file.read(BLOCK):
            target.write(block)
            preemption.check()


def write_pack_file(folder: Path, about: Mapping[str, Any]) -> None:
    """Writes pack.json: what the pack is, and the hash of every file that is in the folder by now."""
    files = {name: sha256_of(str(folder / name)) for name in sorted(files_in(str(folder)))}
    hashed_json.write(folder / PACK_FILE, {**about, "files": files})


def pack_in(output: Path) -> dict[str, Any] | None:
    """Returns the content of the pack.json that is in `output`; None where there is nothing, or an empty folder.

    Raises:
      UserError: there is something else.
    """
    if not output.exists() and not output.is_symlink():
        return None
    if not output.is_dir():
        raise UserError(f"{output} is a file, but --output must be a folder: choose another --output.")
    if not any(output.iterdir()):
        return None
    if not (output / PACK_FILE).is_file():
        raise UserError(f"The folder {output} holds other files than a pack: choose another --output.")
    try:
        return read_pack(str(output))
    except Refusal as refusal:
        raise UserError(_damaged(output, refusal)) from None


def check_whole(output: Path, pack: Mapping[str, Any]) -> None:
    """Checks that each file of a pack is as it was written.

    Raises:
      UserError: one is not, or there is a file more.
    """
    try:
        check_files(str(output), dict(pack))
    except Refusal as refusal:
        raise UserError(_damaged(output, refusal)) from None


def _damaged(output: Path, refusal: Refusal) -> str:
    found = str(refusal).partition(": ")[0]
    return f"The pack {output} is not as it was written ({found}): choose another --output, or remove that folder."
