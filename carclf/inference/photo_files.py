"""Photos given on the command line as files and folders, read one by one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from carclf.convert.folders import folder_entries
from carclf.convert.sources import Reader, Source
from carclf.convert.tree import is_photo
from carclf.errors import UserError
from carclf.path_lists import split_paths
from carclf.storage import copies


def photo_files(names: str) -> list[Path]:
    """Returns the files of a comma-separated list of files and folders.

    In a folder only files named like photos count, in the order of their names, as in a conversion. A file given by
    itself counts whatever its name is.

    Raises:
      UserError: one does not exist, or there is none.
    """
    paths: list[Path] = []
    for name in split_paths(names, _exists):
        if not _exists(name):
            raise UserError(f"There is no photo {printable(name)}: give files or folders, separated by commas.")
        path = copies.local_path(name)
        if path.is_dir():
            found = (e for e in folder_entries(str(path), source=0) if is_photo(e) and not (e.clutter or e.empty))
            paths += [path / entry.name for entry in found]
        else:
            paths.append(path)
    if not paths:
        raise UserError(f"--photo={printable(names)} has no photo: give files or folders, separated by commas.")
    return paths


def _exists(name: str) -> bool:
    try:
        return copies.local_path(name).exists()
    except (OSError, ValueError, RuntimeError):  # too long; a null; no such user
        return False


def read_files(paths: Sequence[Path]) -> Iterator[tuple[Path, bytes | OSError]]:
    """Yields each path with its bytes, or with the error of reading it."""
    for path in paths:
        try:
            yield path, Reader((Source(str(path.parent), str(path.parent), is_zip=False),)).read(0, path.name)
        except OSError as error:
            yield path, error


def likeliest_line(path: Path, probabilities: np.ndarray, *, class_names: Sequence[str], top: int) -> str:
    """Returns a line with the file's name and its likeliest classes, such as 'car.jpg   Niva 97.1 %   2109 1.2 %'.

    Args:
      path: of the photo.
      probabilities: float [K].
      class_names: K names.
      top: number of classes to show.
    """
    order = np.argsort(-probabilities, kind="stable")[:top]
    return "   ".join([printable(str(path)), *(f"{class_names[k]} {100 * probabilities[k]:.1f} %" for k in order)])


def printable(text: str) -> str:
    """Returns the text as one harmless line: characters that are not printable are replaced by their codes."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
