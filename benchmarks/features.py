"""Measures the gain from stored features of a frozen backbone: a head trained on them against one trained on photos.

Both use the same command except for --feature_views, from a random head, on the same photos and folds.
Example: python benchmarks/features.py --photos=data/cars --weights=mobilenet.h5 --views=1 --json=features.json"""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

from measuring import scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, same_option
from carclf.train_options import TrainOptions

TOOL = Path(__file__).resolve().parent.parent / "tools" / "make_tfrecords.py"
TARGET = 0.8  # of the epochs saved


@dataclasses.dataclass(frozen=True)
class FeatureBenchmarkOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of class folders of photos.")
    backbone: str = same_option(TrainOptions, "backbone", default="mobilenet_v2")
    weights: str = same_option(TrainOptions, "weights", default="none")
    image_size: int = option(224, "Pixels per side.", low=1)
    batch_size: int = option(32, "Photos per step.", low=1)
    epochs: int = option(10, "Number of epochs of both.", low=1)
    views: int = option(1, "Number of draws per photo with stored features.", low=1)
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.photos:
            raise UserError("--photos is missing: give a folder of class folders of photos.")


def main(options: FeatureBenchmarkOptions) -> None:
    """Measures and prints."""
    with scratch_folder() as scratch:
        data = scratch / "data"
        command = [sys.executable, str(TOOL), f"--input={options.photos}", f"--output={data}", "--folds=5"]
        subprocess.run(command, check=True, capture_output=True)
        results = {
            name: train(options, data, scratch / "runs" / name.replace(" ", "_"), views=views)
            for name, views in (("features", options.views), ("photos", 0))
        }
    ratio = results["photos"]["train_seconds"] / results["features"]["train_seconds"]
    noise = accuracy_noise(results["photos"]["val_accuracy"], photos=results["photos"]["val_photos"])
    figures = {"options": dataclasses.asdict(options), "results": results, "ratio": ratio, "noise": noise}
    for name, result in results.items():
        print(
            f"{name:<10}{result['train_seconds']:>8.1f} s of training, val_accuracy {result['val_accuracy']:.3f} "
            f"on {result['val_photos']} photos"
        )
    wanted = TARGET * options.epochs / options.views
    print(f"{ratio:.1f} times faster with {options.views} draws for {options.epochs} epochs (wanted: {wanted:.1f})")
    difference = results["features"]["val_accuracy"] - results["photos"]["val_accuracy"]
    print(f"val_accuracy differs by {difference:+.3f} (noise: up to {noise:.3f})")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def accuracy_noise(accuracy: float, *, photos: int) -> float:
    """Returns by how much two equally good accuracies on `photos` photos differ at most, in 95 % of cases.

    Both accuracies are on the same photos, so they are correlated and their difference varies less than this.
    """
    return 1.96 * math.sqrt(2 * accuracy * (1 - accuracy) / photos)


def train(options: FeatureBenchmarkOptions, data: Path, run: Path, *, views: int) -> dict[str, Any]:
    """Returns metrics.json of a head stage."""
    flags = {
        "data": data,
        "run": run,
        "backbone": options.backbone,
        "weights": options.weights,
        "image_size": options.image_size,
        "batch_size": options.batch_size,
        "epochs": options.epochs,
        "feature_views": views,
        "keep_features": str(views > 0).lower(),
        "head_start": "random",
        "patience": 0,
        "unfreeze": "head",
        "device": "cpu",
    }
    command = [sys.executable, "-m", "carclf.train", *(f"--{name}={value}" for name, value in flags.items())]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise UserError(f"The training ended with exit code {answer.returncode}: {answer.stderr.strip()[-2000:]}")
    return dict(json.loads((run / "metrics.json").read_text()))


if __name__ == "__main__":
    run_command(main, FeatureBenchmarkOptions, description=__doc__ or "")
