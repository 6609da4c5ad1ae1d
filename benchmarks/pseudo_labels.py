"""Measures what pseudo-labels bring: it hides the labels of a third of the photos, and trains with and without them.

The control knows the true labels of the very photos that got a pseudo-label.
Example: python benchmarks/pseudo_labels.py --photos=photos --weights=mobilenet.h5 --image_size=96"""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import run_python, scratch_folder
from scipy.stats import binomtest

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, same_option
from carclf.predict import PredictOptions
from carclf.train_options import TrainOptions

TOOL = Path(__file__).resolve().parent.parent / "tools" / "make_tfrecords.py"
HIDDEN_FRACTION = 1 / 3
TEACHER, STUDENT, CONTROL = "without", "pseudo-labels", "true labels of the same photos"


@dataclasses.dataclass(frozen=True)
class PseudoBenchmarkOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of class folders of photos.")
    backbone: str = same_option(TrainOptions, "backbone", default="mobilenet_v2")
    weights: str = same_option(TrainOptions, "weights", default="none")
    unfreeze: str = same_option(TrainOptions, "unfreeze", default="head")
    augment: str = same_option(TrainOptions, "augment", default="flip")
    image_size: int = option(96, "Pixels per side.", low=1)
    epochs: int = option(4, "Number of epochs of every run.", low=1)
    tta: str = same_option(PredictOptions, "tta", default="clean|flip")
    pseudo_confidence: float = same_option(PredictOptions, "pseudo_confidence")
    folds: int = option(5, "Number of folds of the photos with labels.", low=2)
    evaluated: int = option(1, "Number of them that are held out in turn.", low=1)
    seed: int = option(0, "Seed of the choice of hidden photos.", low=0)
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.photos:
            raise UserError("--photos is missing: give a folder of class folders of photos.")


def main(options: PseudoBenchmarkOptions) -> None:
    """Measures and prints."""
    with scratch_folder() as scratch:
        truth = hide(Path(options.photos), scratch / "photos", seed=options.seed)
        data = scratch / "data"
        run_python(str(TOOL), f"--input={scratch / 'photos'}", f"--output={data}", f"--folds={options.folds}")
        found = [one_fold(options, data, scratch / f"fold{fold}", fold, truth) for fold in range(options.evaluated)]
    figures = pooled(found)
    print(report(figures))
    if options.json:
        content = {"options": dataclasses.asdict(options), "folds": found, "pooled": figures}
        Path(options.json).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def hide(source: Path, target: Path, *, seed: int) -> dict[str, str]:
    """Copies the photos into train/ with train.csv, and a third of each class into test/; returns their classes."""
    rng = np.random.default_rng(seed)
    listed: list[tuple[str, str]] = []
    hidden: dict[str, str] = {}
    for split in ("train", "test"):
        (target / split).mkdir(parents=True)
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        photos = sorted(folder.iterdir())
        chosen = set(rng.permutation(len(photos))[: round(HIDDEN_FRACTION * len(photos))].tolist())
        for number, photo in enumerate(photos):
            name = f"{folder.name}__{photo.name}"
            shutil.copyfile(photo, target / ("test" if number in chosen else "train") / name)
            if number in chosen:
                hidden[name] = folder.name
            else:
                listed.append((name, folder.name))
    pd.DataFrame(listed, columns=["Id", "Category"]).to_csv(target / "train.csv", index=False)
    return hidden


def one_fold(
    options: PseudoBenchmarkOptions, data: Path, folder: Path, fold: int, truth: Mapping[str, str]
) -> dict[str, Any]:
    """Returns what the three runs say of the held-out photos, their seconds, and how right the pseudo-labels are."""
    pseudo, true = folder / "pseudo.csv", folder / "true.csv"
    seconds = {TEACHER: train(options, data, folder / "teacher", fold)}
    flags = {"run": folder / "teacher", "data": data, "output": folder / "submission.csv", "tta": options.tta,
             "pseudo_labels": pseudo, "pseudo_confidence": options.pseudo_confidence, "device": "cpu"}  # fmt: skip
    run_python("-m", "carclf.predict", *(f"--{name}={value}" for name, value in flags.items()))
    right = with_true_labels(pseudo, true, truth)
    seconds[STUDENT] = train(options, data, folder / "student", fold, pseudo_labels=pseudo)
    seconds[CONTROL] = train(options, data, folder / "control", fold, pseudo_labels=true)
    return {
        "seconds": seconds,
        "hidden": len(truth),
        "pseudo": len(right),
        "right": int(sum(right)),
        "hits": hits(data, [folder / name for name in ("teacher", "student", "control")], fold),
    }


def with_true_labels(pseudo: Path, true: Path, truth: Mapping[str, str]) -> list[bool]:
    """Writes pseudo-labels with the true classes, and returns which of the predicted ones are right."""
    from carclf import hashed_json
    from carclf.data.pseudo_labels import Provenance, provenance_file, write_pseudo_labels
    from carclf.schema import typed_fields

    frame = pd.read_csv(pseudo, dtype={"id": str, "class": str})
    classes = [truth[photo] for photo in frame["id"]]
    content = hashed_json.parse(provenance_file(pseudo).read_bytes())
    hashed_json.take_hash(content)
    provenance = Provenance(**typed_fields(content, Provenance))
    ids = frame["id"].tolist()
    write_pseudo_labels(true, ids=ids, classes=classes, confidences=[1.0] * len(ids), provenance=provenance)
    return [predicted == known for predicted, known in zip(frame["class"], classes, strict=True)]


def train(options: PseudoBenchmarkOptions, data: Path, directory: Path, fold: int, **changes: Path) -> float:
    """Trains a run and returns its seconds."""
    shared = ("backbone", "weights", "unfreeze", "augment", "image_size", "epochs")
    flags = {name: getattr(options, name) for name in shared}
    flags |= {"data": data, "run": directory, "val_fold": fold, "patience": 0, "device": "cpu", **changes}
    run_python("-m", "carclf.train", *(f"--{name}={value}" for name, value in flags.items()))
    return float(json.loads((directory / "metrics.json").read_text())["train_seconds"])


def hits(data: Path, directories: Sequence[Path], fold: int) -> list[list[int]]:
    """Returns for each run which photos of the fold it gets right, in the order of their rows: 1 or 0."""
    from carclf.data.manifest import load_manifest
    from carclf.device import select_device
    from carclf.runs import load_runs

    device, manifest = select_device("cpu", precision="float32"), load_manifest(str(data))

    from carclf.inference.evaluation import labels_of
    from carclf.inference.predictor import predict_runs
    from carclf.recipe import parse_views

    predictions = predict_runs(
        load_runs(",".join(map(str, directories)), runs=""), manifest=manifest, split="train", folds=[fold],
        views=parse_views("clean"), batch_size=32, jit=device.jit,
    )  # fmt: skip
    labels = labels_of(predictions[0], manifest)
    return [(one.probabilities.argmax(axis=1) == labels).astype(int).tolist() for one in predictions]


def pooled(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the figures of all folds together: accuracies, and photos fixed and broken against the first run."""
    right = np.concatenate([np.array(fold["hits"]) for fold in found], axis=1).astype(bool)
    names = (TEACHER, STUDENT, CONTROL)
    return {
        "photos": int(right.shape[1]),
        "accuracy": dict(zip(names, right.mean(axis=1).tolist(), strict=True)),
        "fixed": {name: int((right[n] & ~right[0]).sum()) for n, name in enumerate(names)},
        "broken": {name: int((~right[n] & right[0]).sum()) for n, name in enumerate(names)},
        "seconds": {name: sum(fold["seconds"][name] for fold in found) for name in names},
        **{name: sum(fold[name] for fold in found) for name in ("hidden", "pseudo", "right")},
    }


def report(figures: Mapping[str, Any]) -> str:
    """Returns the table: accuracies on the held-out photos with McNemar's exact test, and the pseudo-labels' own."""
    lines = [
        f"{figures['pseudo']} of {figures['hidden']} hidden photos got a pseudo-label, and "
        f"{figures['right'] / max(figures['pseudo'], 1):.1%} of these are right; {figures['photos']} held-out photos"
    ]
    for name, accuracy in figures["accuracy"].items():
        fixed, broken = figures["fixed"][name], figures["broken"][name]
        p = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
        against = "" if name == TEACHER else f", +{fixed} −{broken} against without, p = {p:.2g}"
        lines.append(f"{name:<32}{accuracy:.3f} in {figures['seconds'][name]:.1f} s{against}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, PseudoBenchmarkOptions, description=__doc__ or "")
