"""Two submissions side by side: which photos changed, and from what to what."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from carclf.errors import UserError
from carclf.inference.submission import read_table

SHOWN_PAIRS = 10


class Change(NamedTuple):
    """A photo whose label in the older submission is `before` and in the newer one `after`."""

    id: str
    before: str
    after: str


def read_submission(path: Path) -> dict[str, str]:
    """The labels of an older submission by Id, all as strings.

    Raises:
      UserError: it is missing, has not two columns, no rows, or an Id twice.
    """
    frame = read_table(path, what="submission", advice="give one with --compare=FILE")
    return dict(zip(frame.iloc[:, 0], frame.iloc[:, 1], strict=True))


def check_same_ids(older: Mapping[str, str], ids: Sequence[str], *, path: Path) -> None:
    """Returns nothing when the older submission has exactly these Ids.

    Raises:
      UserError: it has not.
    """
    if differing := sorted(set(older) ^ set(ids)):
        raise UserError(
            f"{path} and this prediction differ in {len(differing)} Ids, such as {differing[0]!r}: compare submissions "
            "of the same photos."
        )


def changes(older: Mapping[str, str], newer: Mapping[str, str]) -> list[Change]:
    """The photos whose label changed: those of the most frequent change first, then in the newer one's order."""
    changed = [Change(name, older[name], label) for name, label in newer.items() if older[name] != label]
    pairs = Counter((change.before, change.after) for change in changed)
    return sorted(changed, key=lambda change: (-pairs[change.before, change.after], change.before, change.after))


def describe(changed: Sequence[Change], *, photos: int, names: Mapping[str, str]) -> str:
    """Lines for people.

    Args:
      changed: what `changes` gave.
      photos: in the submissions.
      names: of classes by label; a label without one stands for itself.
    """
    pairs = Counter((names.get(c.before, c.before), names.get(c.after, c.after)) for c in changed).most_common()
    lines = [f"{len(changed)} of {photos} photos changed{':' if changed else '.'}"]
    lines += [f"  {before} → {after}: {count}" for (before, after), count in pairs[:SHOWN_PAIRS]]
    if len(pairs) > SHOWN_PAIRS:
        lines.append(f"  and {len(pairs) - SHOWN_PAIRS} other pairs")
    return "\n".join(lines)
