"""How a submission differs from an older one: in words, as a list, and as a sheet of the changed photos."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from carclf.data.manifest import Manifest
from carclf.forms import Form
from carclf.inference import comparison, submission
from carclf.report.contact_sheets import SHEET_PHOTOS, draw_photos_of
from carclf.report.names import short_names


def print_changes(
    older: Mapping[str, Sequence[str]],
    newer: Mapping[str, Sequence[str]],
    *,
    form: Form,
    manifest: Manifest,
    split: str,
    older_file: str,
    output: Path,
) -> None:
    """Prints how a submission differs from an older one, and writes a list and a picture of the changes beside it.

    Args:
      older: its answers by Id.
      newer: the new one's answers, of the same Ids.
      form: of both.
      manifest: the data set.
      split: of the photos, 'test' or 'train'.
      older_file: the older submission, as people call it.
      output: the new submission.
    """
    labels = [
        comparison.labels_in(answers, form=form, class_labels=manifest.class_labels) for answers in (older, newer)
    ]
    changed = comparison.changed_labels(*labels)
    names = dict(zip(manifest.class_labels, manifest.class_names, strict=True))
    print(f"Against {older_file}, {comparison.describe_changes(changed, photos=len(newer), names=names)}")
    if form.kind != "label":
        mean = comparison.mean_difference(older, newer, form=form)
        print(f"The answers differ by {mean:.4f} on average (0: the same, 1: nothing in common).")
    if not changed:
        return
    table, sheet = output.with_suffix(".changes.csv"), output.with_suffix(".changes.jpg")
    submission.write_table(pd.DataFrame(changed, columns=["Id", "before", "after"]), table)
    shown = changed[:SHEET_PHOTOS]
    title = f"{len(shown)} of {len(changed)} changed photos: {older_file} → {output}"
    captions = {
        change.id: f"{change.id}\n{_short_change(names.get(change.before, change.before), names[change.after])}"
        for change in shown
    }
    draw_photos_of(captions, manifest=manifest, split=split, path=sheet, title=title)
    print(f"Changes: {table}, {sheet}")


def _short_change(before: str, after: str) -> str:
    """Returns one short line with two classes, in which they can be told apart."""
    return " → ".join(short_names((before, after), length=14))
