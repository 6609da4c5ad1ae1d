"""Photos named on the command line: files and folders, read one by one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from carclf.convert.sources import Reader, Source, folder_entries
from carclf.convert.tree import is_photo
from carclf.errors import UserError


def photo_files(names: str) -> list[Path]:
    """The files of a comma-separated list of files and folders.

    Those of a folder come in the order of their names, and only those whose names are of photos, as in a conversion; a
    file that is named itself is taken for a photo whatever it is called.

    Raises:
      UserError: one does not exist, or there is none at all.
    """
    paths: list[Path] = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        path = Path(name).expanduser()
        if path.is_dir():
            paths += [path / entry.name for entry in folder_entries(str(path), source=0) if is_photo(entry)]
        elif path.is_file():
            paths.append(path)
        else:
            raise UserError(f"There is no photo {name}: give files or folders, with commas.")
    if not paths:
        raise UserError(f"--photo={names} holds no photo: give files or folders, with commas.")
    return paths


def read_files(paths: Sequence[Path]) -> Iterator[tuple[Path, bytes | OSError]]:
    """Each path with its bytes, or with the reason why there are none."""
    for path in paths:
        try:
            yield path, Reader((Source(str(path.parent), str(path.parent), is_zip=False),)).read(0, path.name)
        except OSError as error:
            yield path, error


def table_line(path: Path, probabilities: np.ndarray, *, class_names: Sequence[str], top: int) -> str:
    """One line of a table: the file's name and its likeliest classes, such as 'car.jpg   Niva 97.1 %   2109 1.2 %'.

    Args:
      path: of the photo.
      probabilities: float [K].
      class_names: K names.
      top: how many classes.
    """
    order = np.argsort(-probabilities, kind="stable")[:top]
    return "   ".join([printable(str(path)), *(f"{class_names[k]} {100 * probabilities[k]:.1f} %" for k in order)])


def printable(text: str) -> str:
    """The text as one line that a terminal only shows: what is not printable is written as its code."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
