"""Parses the text of a recipe, `name(1, key=2)|name`, into terms."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable

from carclf.errors import UserError

_TERM = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\((.*)\))?\s*", re.DOTALL)
_KEYWORD = re.compile(r"\s*([A-Za-z_]\w*)\s*=(.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Term:
    """One `name(arguments)` of a recipe, with its arguments still as text.

    Attributes:
      text: the term as written, without surrounding space.
      name: the part before the parenthesis.
      positional: arguments without a name.
      keywords: (name, text) of the arguments given as `name=text`.
    """

    text: str
    name: str
    positional: tuple[str, ...]
    keywords: tuple[tuple[str, str], ...]


def split_outside(text: str, separator: str) -> list[str]:
    """Returns the stripped parts of `text` between the separators that are outside all parentheses.

    Raises:
      UserError: the parentheses do not match.
    """
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
        if character == separator and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    if depth:
        raise UserError(f"{text!r} has an unmatched parenthesis: write name(1, 2)|name.")
    return [*parts, text[start:].strip()]


def parse_term(text: str) -> Term:
    """Returns the term written as `text`.

    Raises:
      UserError: it is not `name` or `name(arguments)`, or a positional argument follows a named one.
    """
    found = _TERM.fullmatch(text)
    if found is None:
        raise UserError(f"{text!r} is not an operation: write name or name(1, 2), joined by '|'.")
    positional: list[str] = []
    keywords: list[tuple[str, str]] = []
    inside = (found[2] or "").strip()
    for argument in split_outside(inside, ",") if inside else ():
        named = _KEYWORD.fullmatch(argument) if "(" not in argument.partition("=")[0] else None
        if named is not None:
            keywords.append((named[1], named[2].strip()))
        elif keywords:
            raise UserError(f"{text!r} has a bare argument after a named one: name {argument!r} too.")
        else:
            positional.append(argument)
    return Term(text, found[1], tuple(positional), tuple(keywords))


def parse_terms(text: str) -> list[Term]:
    """Returns the terms of a chain joined by '|', or an empty list for an empty text.

    Raises:
      UserError: a part is empty or malformed.
    """
    if not text.strip():
        return []
    parts = split_outside(text, "|")
    if "" in parts:
        raise UserError(f"{text!r} has an empty part: remove the extra '|'.")
    return [parse_term(part) for part in parts]


def unknown_name(name: str, *, what: str, known: Iterable[str]) -> UserError:
    """Returns an error that says `name` is unknown, suggests the nearest known name and lists all of them."""
    known = sorted(known)
    lowered = name.lower()
    # `trivialaugment` means `trivial`, although `randaugment` has more letters in common with it.
    prefixes = [candidate for candidate in known if lowered.startswith(candidate)]
    nearest = prefixes[-1:] or difflib.get_close_matches(lowered, known, n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else ";"
    return UserError(f"there is no {what} {name!r}{hint} known are: {', '.join(known)}.")
