"""Compares two submissions: which photos changed, and from which label to which."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from carclf.errors import UserError
from carclf.inference.submission import read_table

SHOWN_PAIRS = 10


class Change(NamedTuple):
    """A photo with the label `before` in the older submission and `after` in the newer one."""

    id: str
    before: str
    after: str


def read_submission(path: Path) -> dict[str, str]:
    """Returns the labels of an older submission by Id, all as strings.

    Raises:
      UserError: it is missing, does not have two columns, has no rows, or has an Id twice.
    """
    frame = read_table(path, what="submission", advice="give one with --compare=FILE")
    return dict(zip(frame.iloc[:, 0], frame.iloc[:, 1], strict=True))


def check_same_ids(older: Mapping[str, str], ids: Sequence[str], *, path: Path) -> None:
    """Checks that the older submission has exactly these Ids.

    Raises:
      UserError: it does not.
    """
    if differing := sorted(set(older) ^ set(ids)):
        raise UserError(
            f"{path} and this prediction differ in {len(differing)} Ids, such as {differing[0]!r}: compare submissions "
            "of the same photos."
        )


def changes(older: Mapping[str, str], newer: Mapping[str, str]) -> list[Change]:
    """Returns the photos with a changed label, the most frequent change first, then in the newer one's order."""
    changed = [Change(name, older[name], label) for name, label in newer.items() if older[name] != label]
    pairs = Counter((change.before, change.after) for change in changed)
    return sorted(changed, key=lambda change: (-pairs[change.before, change.after], change.before, change.after))


def describe(changed: Sequence[Change], *, photos: int, names: Mapping[str, str]) -> str:
    """Returns the lines to print.

    Args:
      changed: from `changes`.
      photos: number of photos in the submissions.
      names: class names by label; a label without one is printed itself.
    """
    pairs = Counter((names.get(c.before, c.before), names.get(c.after, c.after)) for c in changed).most_common()
    lines = [f"{len(changed)} of {photos} photos changed{':' if changed else '.'}"]
    lines += [f"  {before} → {after}: {count}" for (before, after), count in pairs[:SHOWN_PAIRS]]
    if len(pairs) > SHOWN_PAIRS:
        lines.append(f"  and {len(pairs) - SHOWN_PAIRS} other pairs")
    return "\n".join(lines)
