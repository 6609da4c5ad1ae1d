"""Short forms of texts for charts; short class names stay distinct."""

import re
from collections import defaultdict
from collections.abc import Sequence

NAME_LENGTH = 24
CAPTION_LENGTH = 44  # three lines of a third of a column
WORD = re.compile(r"[^\s_]+[\s_]*|[\s_]+")


def plain_text(text: str, *, length: int = NAME_LENGTH) -> str:
    """Returns `text` as one short line for any font: '·' for unprintable characters, '…' inside a long text."""
    line = "".join(sign if sign.isprintable() else "·" for sign in text)
    if len(line) <= length:
        return line
    tail = (length - 1) // 3
    return f"{line[: length - 1 - tail]}…{line[len(line) - tail :]}"


def short_names(names: Sequence[str], *, length: int = NAME_LENGTH) -> list[str]:
    """Returns the names as short lines; different names stay different if `length` (at least 8) leaves room for that.

    Long names lose the words that all of them begin with ('… Coupe 2012', '… Cabriolet 2012'), then their middle, as in
    `plain_text`. If that makes two of them equal, they lose all text before their first difference.
    """
    long = [name for name in dict.fromkeys(names) if len(name) > length]
    shortened = _apart(long, length)
    return [shortened.get(name, plain_text(name, length=length)) for name in names]


def captions(names: Sequence[str]) -> list[str]:
    """Returns up to three lines for each of a few different names; short and distinct names stay whole."""
    shared = _shared_words(names) if max(map(len, names)) > NAME_LENGTH else 0
    return short_names([f"… {name[shared:]}" if shared else name for name in names], length=CAPTION_LENGTH)


def _apart(names: Sequence[str], length: int) -> dict[str, str]:
    """Returns a short line for each of several different names."""
    shared = _shared_words(names)
    lines = {name: plain_text(f"… {name[shared:]}" if shared else name, length=length) for name in names}
    for same in _groups(lines):
        lines |= _apart(same, length) if len(same) < len(names) else _from_difference(same, length)
    return lines


def _from_difference(names: Sequence[str], length: int) -> dict[str, str]:
    signs = zip(*names, strict=False)
    start = next((index for index, column in enumerate(signs) if len(set(column)) > 1), min(map(len, names)))
    lines = {name: plain_text(f"…{name[start : start + length - 1]}", length=length) for name in names}
    for same in _groups(lines):
        if len(same) < len(names):
            lines |= _from_difference(same, length)
    return lines


def _groups(lines: dict[str, str]) -> list[list[str]]:
    """Returns the names that share their line with another name."""
    names_of = defaultdict(list)
    for name, line in lines.items():
        names_of[line].append(name)
    return [names for names in names_of.values() if len(names) > 1]


def _shared_words(names: Sequence[str]) -> int:
    """Returns the length of the words that all names begin with, keeping at least one word of each name."""
    if len(names) < 2:
        return 0
    words = [WORD.findall(name) for name in names]
    shared = 0
    for together in zip(*(parts[:-1] for parts in words), strict=False):
        if len(set(together)) > 1:
            break
        shared += len(together[0])
    return shared
