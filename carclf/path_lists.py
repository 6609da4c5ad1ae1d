"""Options that list paths, separated by commas, where a path may have commas itself."""

import os
from collections.abc import Callable

MAX_COMMAS = 8  # in one path


def split_paths(text: str, exists: Callable[[str], bool]) -> list[str]:
    """Returns the elements of a list with commas, without the spaces around them and without empty ones.

    What exists with commas in its name is one element, the longest of several. Where nothing does, a path in a folder
    that exists with commas in its name is one, too, so that an error about it names all of it.

    Args:
      text: the list.
      exists: returns whether there is anything of this name; not asked about what has no comma.
    """
    parts = text.split(",")
    found = []
    while parts:
        lengths = _possible_lengths(parts)
        names = {length: ",".join(parts[:length]).strip() for length in lengths}
        there = next((length for length in reversed(lengths) if exists(names[length])), 0)
        inside = there or next((length for length in lengths if _lies_in_a_folder_with_commas(names[length])), 1)
        found.append(",".join(parts[:inside]).strip())
        parts = parts[inside:]
    return list(filter(None, found))


def _possible_lengths(parts: list[str]) -> list[int]:
    """Returns how many of the parts, two or more, may be one name: it ends before the next URL, and in no comma."""
    urls = (place for place, part in enumerate(parts) if place and "://" in part)
    most = min(len(parts), 1 + MAX_COMMAS, next(urls, len(parts)))
    return [length for length in range(2, most + 1) if parts[0].strip() and parts[length - 1].strip()]


def _lies_in_a_folder_with_commas(path: str) -> bool:
    folder = os.path.dirname(os.path.expanduser(path))
    return "," in folder and os.path.isdir(folder)
