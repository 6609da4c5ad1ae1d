"""Measures a head stage against its control: a logistic regression on the very features that the stage keeps.

It trains a head on photos from a random start, as carclf 0.1 did, then on kept features from a regression.
Example: python benchmarks/heads.py --photos=data/cars --weights=mobilenet.h5 --image_size=160"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from measuring import run_python, scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, same_option
from carclf.train_options import TrainOptions

TOOL = Path(__file__).resolve().parent.parent / "tools" / "make_tfrecords.py"
MARGIN = 0.01  # that the head may be below its control
STARTS: dict[str, dict[str, str]] = {
    "photos, random start": {"keep_features": "false", "head_start": "random"},
    "kept features, regression": {},
}


@dataclasses.dataclass(frozen=True)
class HeadBenchmarkOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of class folders of photos.")
    backbone: str = same_option(TrainOptions, "backbone", default="mobilenet_v2")
    weights: str = same_option(TrainOptions, "weights", default="none")
    augment: str = same_option(TrainOptions, "augment")
    image_size: int = option(160, "Pixels per side.", low=1)
    batch_size: int = option(32, "Photos per step.", low=1)
    epochs: int = option(4, "Number of epochs of both.", low=1)
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.photos:
            raise UserError("--photos is missing: give a folder of class folders of photos.")


def main(options: HeadBenchmarkOptions) -> None:
    """Measures and prints."""
    with scratch_folder() as scratch:
        data, results = scratch / "data", {}
        run_python(str(TOOL), f"--input={options.photos}", f"--output={data}", "--folds=5")
        for number, (name, changes) in enumerate(STARTS.items()):
            results[name] = train(options, data, scratch / f"run{number}", **changes)
        control = regression(scratch / f"run{number}" / "features", data)
    print(report(results, control))
    if options.json:
        figures = {"options": dataclasses.asdict(options), "results": results, "control": control}
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def report(results: dict[str, Any], control: float) -> str:
    """Returns the table: accuracies on the held-out fold, seconds, and whether the head is as good as its control."""
    lines = [f"{'control, the regression':<28}{control:.3f}"]
    lines += [f"{name:<28}{r['val_accuracy']:.3f} in {r['train_seconds']:.1f} s" for name, r in results.items()]
    before, after = results.values()
    verdict = "reached" if after["val_accuracy"] >= control - MARGIN else "missed"
    lines.append(f"no worse than the control - {MARGIN}: {verdict}")
    lines.append(f"{before['train_seconds'] / after['train_seconds']:.2f} times faster than on photos")
    return "\n".join(lines)


def regression(features: Path, data: Path) -> float:
    """Returns the accuracy on fold 0 of scikit-learn's regression on the undrawn features that a run kept."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from carclf.data.manifest import load_manifest
    from carclf.probing.photos import training_photos

    photos = training_photos(load_manifest(str(data)))
    held_out = photos.folds == 0
    model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=(0.001, 0.01, 0.1, 1.0), cv=3, max_iter=300))
    model.fit(np.load(features / "train-undrawn.npy"), photos.labels[~held_out])
    return float(model.score(np.load(features / "validation.npy"), photos.labels[held_out]))


def train(options: HeadBenchmarkOptions, data: Path, directory: Path, **changes: str) -> dict[str, Any]:
    """Returns metrics.json of a head stage."""
    shared = ("backbone", "weights", "augment", "image_size", "batch_size", "epochs")
    flags = {name: getattr(options, name) for name in shared}
    flags |= {"data": data, "run": directory, "unfreeze": "head", "patience": 0, "device": "cpu", **changes}
    run_python("-m", "carclf.train", *(f"--{name}={value}" for name, value in flags.items()))
    return dict(json.loads((directory / "metrics.json").read_text()))


if __name__ == "__main__":
    run_command(main, HeadBenchmarkOptions, description=__doc__ or "")
