"""Damage to files: flipped bits, and values of wrong types in every place of JSON; and what a reader says of it.

Also what is no damage: the entries that a later version may add.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from carclf.errors import UserError

WRONG = (None, "x", -1.5, [7], {"x": 7})


def flips(content: bytes) -> Iterator[bytes]:
    """Yields the content with each of its bits flipped."""
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            yield bytes(changed)


def with_wrong_types(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the content with each value in it replaced by each of `WRONG`."""
    for path in _paths(content):
        for wrong in WRONG:
            changed = copy.deepcopy(content)
            inner: Any = changed
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = wrong
            yield changed


def with_new_entries(content: dict[str, Any], *, without: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yields the content with an entry more in each object, but for those in or below the entries `without`."""
    for path in [(), *_paths(content)]:
        changed = copy.deepcopy(content)
        inner: Any = changed
        for key in path:
            inner = inner[key]
        if isinstance(inner, dict) and not set(path) & set(without):
            inner["of a later version"] = "x"
            yield changed


def _paths(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of every value in JSON content."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def refusal(read: Callable[[], object]) -> str:
    """Returns the sentence with which `read` refuses, '' if it does not; `pytest.raises` takes longer than reading."""
    try:
        read()
    except UserError as error:
        return str(error)
    return ""
