"""How well can the sample data be classified without shapes? Logistic regression on 16x16 pixels.

This is the control for every accuracy on the sample: a network that is no better has only learnt colours and positions.

Example: python benchmarks/sample_control.py --data=data/sample --json=control.json
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option

SIDE_PX = 16
# Strengths of the l2 penalty; the best on the test photos is reported, which favours the control.
INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclasses.dataclass(frozen=True)
class ControlOptions(Options):
    """Every option of this benchmark."""

    data: str = option("", "Folder that `python -m carclf.sample` made (not --zip).")
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.data:
            raise UserError("--data is missing: give the folder that python -m carclf.sample made.")


def load_pixels(folder: Path, table: str, *, test: bool) -> tuple[Any, Any]:
    """Returns (float32 [N, 768] in 0..1, int [N]): the photos of `table` at 16x16 pixels, and their labels.

    Raises:
      UserError: the table or a photo is missing.
    """
    import numpy as np
    from PIL import Image

    try:
        lines = (folder / table).read_text(encoding="utf-8").splitlines()[1:]
        pixels, labels = np.zeros((len(lines), SIDE_PX * SIDE_PX * 3), np.float32), np.zeros(len(lines), np.int64)
        for row, line in enumerate(lines):
            photo_id, label = line.split(",")
            path = folder / ("test_upload" if test else f"train/{label}") / photo_id
            with Image.open(path) as photo:
                photo.draft("RGB", (8 * SIDE_PX, 8 * SIDE_PX))  # decoding a JPEG at an eighth is cheap
                small = photo.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
            pixels[row], labels[row] = np.asarray(small, np.float32).reshape(-1) / 255, int(label)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder} cannot be read: give --data a folder of python -m carclf.sample."
        ) from None
    return pixels, labels


def measure_control(folder: Path) -> dict[str, Any]:
    """Returns the control's accuracy on the test photos, per penalty and at best, and the largest class's fraction."""
    import warnings

    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train_pixels, train_labels = load_pixels(folder, "train.csv", test=False)
    test_pixels, test_labels = load_pixels(folder, "solution.csv", test=True)
    scores = {}
    for inverse_penalty in INVERSE_PENALTIES:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=300))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train_pixels, train_labels)
        scores[inverse_penalty] = float(model.score(test_pixels, test_labels))
    return {
        "control_accuracy": max(scores.values()),
        "accuracy_by_inverse_penalty": scores,
        "majority_share": float(np.max(np.bincount(test_labels)) / len(test_labels)),
        "train_photos": len(train_labels),
        "test_photos": len(test_labels),
    }


def main(options: ControlOptions) -> None:
    """Measures and prints."""
    figures = measure_control(Path(options.data))
    print("C of the l2 penalty   accuracy on the test photos")
    for inverse_penalty, accuracy in figures["accuracy_by_inverse_penalty"].items():
        print(f"{inverse_penalty:<22g}{accuracy:.3f}")
    print(
        f"Pixel control: {figures['control_accuracy']:.3f} on {figures['test_photos']:,} test photos after "
        f"{figures['train_photos']:,} training photos; the largest class alone gives {figures['majority_share']:.3f}."
    )
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main, ControlOptions, description=__doc__ or "")
