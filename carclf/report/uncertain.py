"""The answers that a person should look at first: as a list, and as a sheet of their photos."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from carclf.data.manifest import Manifest
from carclf.inference import submission, uncertain
from carclf.inference.held_out import HeldOut
from carclf.report.contact_sheets import SHEET_PHOTOS, draw_photos_of
from carclf.report.names import short_names


def write_uncertain(
    probabilities: np.ndarray,
    answers: np.ndarray,
    held_out: HeldOut,
    *,
    ids: Sequence[str],
    id_name: str,
    manifest: Manifest,
    split: str,
    path: Path,
) -> None:
    """Writes the list and the picture beside it, and prints what they are.

    Args:
      probabilities: float64 [N, K], each row sums to 1.
      answers: int64 [N], the classes answered.
      held_out: photos to compare with.
      ids: of the N photos.
      id_name: of their column.
      manifest: the data set.
      split: of the photos, 'test' or 'train'.
      path: of the list.

    Raises:
      UserError: a file cannot be written.
    """
    found = uncertain.top_two(probabilities, temperature=held_out.temperature, answers=answers)
    table = uncertain.uncertain_answers(found, held_out, ids=ids, id_name=id_name, class_names=manifest.class_names)
    submission.write_table(table, path)
    half = uncertain.photos_with_half_of_the_errors(found)
    sheet, shown = path.with_suffix(".jpg"), table.head(SHEET_PHOTOS)
    captions = {
        name: f"{name}\n{' or '.join(short_names((first, second), length=14))}"
        for name, first, second in zip(shown[id_name], shown["class"], shown["second"], strict=True)
    }
    title = f"The {len(shown)} least certain of {len(table)} answers"
    draw_photos_of(captions, manifest=manifest, split=split, path=sheet, title=title)
    print(
        f"Uncertain: {path}, {sheet} (about {found.wrong.sum():.0f} of {len(table)} answers are likely wrong, half of "
        f"these among the first {half})"
    )
