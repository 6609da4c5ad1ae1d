"""Compares two submissions: which photos changed, from which label to which, and by how much."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from carclf.errors import UserError
from carclf.forms import Form, kind_of, read_sample_file

SHOWN_PAIRS = 10


class ChangedLabel(NamedTuple):
    """A photo with the label `before` in the older submission and `after` in the newer one."""

    id: str
    before: str
    after: str


def read_submission(path: Path, *, form: Form, class_labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the answers of an older submission by Id: the cells of the form's columns.

    Raises:
      UserError: it is missing or no CSV, lacks a column of the form, or has a cell that is no answer of the form.
    """
    advice = "give a submission of this form with --compare=FILE"
    own_layout: dict[str, Any] = {"id_column": form.id_column, "has_header": form.has_header}
    older = read_sample_file(path, what="submission", advice=advice, **own_layout)
    if missing := [name for name in form.answer_columns if name not in older.header]:
        raise UserError(f"{path} has no column {missing[0]!r}, which this submission has: {advice}.")
    columns = [older.cells(name) for name in form.answer_columns]
    answers = dict(zip(older.ids, zip(*columns, strict=True), strict=True))
    if form.kind != "label":  # a label that is no class is shown as it is
        known = frozenset(class_labels)
        for name, cells in answers.items():
            if problem := kind_of(form).problem(form, cells, class_labels=known):
                summary = kind_of(form).summary
                raise UserError(f"{path} has an answer for {name} that is not {summary} ({problem}): {advice}.")
    return answers


def labels_in(answers: Mapping[str, Sequence[str]], *, form: Form, class_labels: Sequence[str]) -> dict[str, str]:
    """Returns the label that each answer names as the likeliest, by Id."""
    kind = kind_of(form)
    return {name: kind.answer(form, cells, class_labels=class_labels) for name, cells in answers.items()}


def mean_difference(older: Mapping[str, Sequence[str]], newer: Mapping[str, Sequence[str]], *, form: Form) -> float:
    """Returns the mean difference between two answers for each photo, 0..1 (`FormKind.difference`)."""
    kind = kind_of(form)
    return sum(kind.difference(form, older[name], cells) for name, cells in newer.items()) / len(newer)


def check_same_ids(older: Mapping[str, object], ids: Sequence[str], *, path: Path) -> None:
    """Checks that the older submission has exactly these Ids.

    Raises:
      UserError: it does not.
    """
    if differing := sorted(set(older) ^ set(ids)):
        raise UserError(
            f"{path} and this prediction differ in {len(differing)} Ids, such as {differing[0]!r}: compare submissions "
            "of the same photos."
        )


def changed_labels(older: Mapping[str, str], newer: Mapping[str, str]) -> list[ChangedLabel]:
    """Returns the photos with a changed label, the most frequent change first, then in the newer one's order."""
    changed = [ChangedLabel(name, older[name], label) for name, label in newer.items() if older[name] != label]
    pairs = Counter((change.before, change.after) for change in changed)
    return sorted(changed, key=lambda change: (-pairs[change.before, change.after], change.before, change.after))


def describe_changes(changed: Sequence[ChangedLabel], *, photos: int, names: Mapping[str, str]) -> str:
    """Returns the lines to print.

    Args:
      changed: from `changed_labels`.
      photos: number of photos in the submissions.
      names: class names by label; a label without one is printed itself.
    """
    pairs = Counter((names.get(c.before, c.before), names.get(c.after, c.after)) for c in changed).most_common()
    lines = [f"{len(changed)} of {photos} photos changed{':' if changed else '.'}"]
    lines += [f"  {before} → {after}: {count}" for (before, after), count in pairs[:SHOWN_PAIRS]]
    if len(pairs) > SHOWN_PAIRS:
        lines.append(f"  and {len(pairs) - SHOWN_PAIRS} other pairs")
    return "\n".join(lines)
