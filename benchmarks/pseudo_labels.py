"""Measures what pseudo-labels bring: it hides the labels of a third of the photos, and trains with and without them.

Pictures of one scene are hidden together, so that no held-out photo has a copy with a pseudo-label. The control knows
the true labels of the very photos that got a pseudo-label. The hidden photos are predicted, too.
Example: python benchmarks/pseudo_labels.py --photos=photos --weights=mobilenet.h5 --image_size=96
--stages=mobilenet_v2_224_head,mobilenet_v2_224_all"""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from held_out import compare_right
from measuring import run_python, scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, same_option
from carclf.inference.metrics import wilson_interval
from carclf.predict import PredictOptions
from carclf.stage_lists import listed_stages
from carclf.train_options import TrainOptions

TOOL = Path(__file__).resolve().parent.parent / "tools" / "make_tfrecords.py"
PARTS = 3  # one of them is hidden
SHARED = ("backbone", "weights", "image_size", "batch_size")  # options of every run
ALONE = ("unfreeze", "augment", "epochs")  # those that stages have themselves
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
    batch_size: int = option(32, "Photos per step.", low=1)
    epochs: int = option(4, "Number of epochs of every run.", low=1)
    stages: str = option(
        "",
        "Train every run by these stages, one after the other, as in carclf.train; then --unfreeze, --augment and "
        "--epochs are those of the stages.",
    )
    tta: str = same_option(PredictOptions, "tta", default="clean|flip")
    pseudo_confidence: float = same_option(PredictOptions, "pseudo_confidence")
    folds: int = option(5, "Number of folds of the photos with labels.", low=2)
    evaluated: int = option(1, "Number of them that are held out in turn.", low=1)
    seed: int = option(42, "Seed of the choice of hidden photos.", low=0)
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.photos:
            raise UserError("--photos is missing: give a folder of class folders of photos.")


def main(options: PseudoBenchmarkOptions) -> None:
    """Measures and prints."""
    with scratch_folder() as scratch:
        whole, data = scratch / "whole", scratch / "data"
        run_python(str(TOOL), f"--input={options.photos}", f"--output={whole}", f"--folds={PARTS}",
                   f"--seed={options.seed}")  # fmt: skip
        truth = hide(Path(options.photos), whole, scratch / "photos")
        run_python(str(TOOL), f"--input={scratch / 'photos'}", f"--output={data}", f"--folds={options.folds}")
        found = [one_fold(options, data, scratch / f"fold{fold}", fold, truth) for fold in range(options.evaluated)]
    figures = pooled(found)
    print(report(figures))
    if options.json:
        content = {"options": dataclasses.asdict(options), "folds": found, "pooled": figures}
        Path(options.json).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def hide(source: Path, converted: Path, target: Path) -> dict[str, str]:
    """Copies the photos into train/ with train.csv, and those of fold 0 into test/; returns the classes of these.

    Args:
      source: folder of class folders.
      converted: the data set of these photos, whose folds keep pictures of one scene together.
      target: folder to make.
    """
    listed: list[tuple[str, str]] = []
    hidden: dict[str, str] = {}
    for split in ("train", "test"):
        (target / split).mkdir(parents=True)
    photos = pd.read_csv(converted / "ids-train.csv", dtype=str, keep_default_na=False)
    for path, label, fold in photos[["source", "class_name", "fold"]].itertuples(index=False):
        name = path.replace("/", "__")
        shutil.copyfile(source / path, target / ("test" if fold == "0" else "train") / name)
        if fold == "0":
            hidden[name] = label
        else:
            listed.append((name, label))
    pd.DataFrame(listed, columns=["Id", "Category"]).to_csv(target / "train.csv", index=False)
    return hidden


def one_fold(
    options: PseudoBenchmarkOptions, data: Path, folder: Path, fold: int, truth: Mapping[str, str]
) -> dict[str, Any]:
    """Returns what the three runs say of the held-out photos, their seconds, and how right the pseudo-labels are."""
    pseudo, true = folder / "pseudo.csv", folder / "true.csv"
    runs, seconds = {}, {}
    runs[TEACHER], seconds[TEACHER] = train(options, data, folder / "teacher", fold)
    flags = {"run": runs[TEACHER], "data": data, "output": folder / "submission.csv", "tta": options.tta,
             "pseudo_labels": pseudo, "pseudo_confidence": options.pseudo_confidence, "device": "cpu"}  # fmt: skip
    run_python("-m", "carclf.predict", *(f"--{name}={value}" for name, value in flags.items()))
    right = with_true_labels(pseudo, true, truth)
    runs[STUDENT], seconds[STUDENT] = train(options, data, folder / "student", fold, pseudo_labels=pseudo)
    runs[CONTROL], seconds[CONTROL] = train(options, data, folder / "control", fold, pseudo_labels=true)
    return {
        "seconds": seconds,
        "hidden": len(truth),
        "pseudo": len(right),
        "right": int(sum(right)),
        "hits": [hits(data, runs[name], folds=[fold]) for name in (TEACHER, STUDENT, CONTROL)],
        "hidden_hits": [hits(data, runs[name], truth=truth) for name in (TEACHER, STUDENT)],
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


def train(
    options: PseudoBenchmarkOptions, data: Path, directory: Path, fold: int, **changes: Path
) -> tuple[Path, float]:
    """Trains and returns the run, the last of several stages, and the seconds of all."""
    names = SHARED if options.stages else SHARED + ALONE
    flags = {name: getattr(options, name) for name in names}
    flags |= {"data": data, "val_fold": fold, "patience": 0, "device": "cpu", **changes}
    flags |= {"stages": options.stages, "runs": directory} if options.stages else {"run": directory}
    run_python("-m", "carclf.train", *(f"--{name}={value}" for name, value in flags.items()))
    runs = [directory / stage.run for stage in listed_stages(options.stages)] or [directory]
    return runs[-1], sum(json.loads((run / "metrics.json").read_text())["train_seconds"] for run in runs)


def hits(
    data: Path, directory: Path, *, folds: Sequence[int] = (), truth: Mapping[str, str] | None = None
) -> list[int]:
    """Returns which photos of the folds, or hidden ones with their classes, a run gets right, row by row: 1 or 0."""
    from carclf.data.manifest import load_manifest
    from carclf.device import select_device
    from carclf.runs import load_runs

    device, manifest = select_device("cpu", precision="float32"), load_manifest(str(data))

    from carclf.inference.dataset_predictions import predict_runs
    from carclf.inference.evaluation import labels_of
    from carclf.recipe import parse_views

    (found,) = predict_runs(
        load_runs(str(directory), runs=""), manifest=manifest, split="train" if folds else "test", folds=folds or None,
        views=parse_views("clean"), batch_size=32, jit=device.jit,
    )  # fmt: skip
    if truth is None:
        labels = labels_of(found, manifest)
    else:
        ids = manifest.read_ids("test")["id"].iloc[found.rows]
        labels = np.array([manifest.class_names.index(truth[photo]) for photo in ids])
    return (found.probabilities.argmax(axis=1) == labels).astype(int).tolist()


def pooled(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the figures of all folds together: accuracies, and photos fixed and broken against the first run."""
    names = (TEACHER, STUDENT, CONTROL)
    return {
        "held_out": compared(names, [fold["hits"] for fold in found]),
        "test": compared(names[:2], [fold["hidden_hits"] for fold in found]),
        "seconds": {name: sum(fold["seconds"][name] for fold in found) for name in names},
        **{name: sum(fold[name] for fold in found) for name in ("hidden", "pseudo", "right")},
    }


def compared(names: Sequence[str], hits: Sequence[Sequence[Sequence[int]]]) -> dict[str, dict[str, Any]]:
    """Returns how many photos of all folds each run gets right, and how many it fixed and broke against the first."""
    right = np.concatenate([np.array(fold) for fold in hits], axis=1).astype(bool)
    return {
        name: {"photos": len(own), "right": int(own.sum()), **compare_right(own.tolist(), right[0].tolist())._asdict()}
        for name, own in zip(names, right, strict=True)
    }


def accuracy_lines(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns a line for each run of `compared`: its accuracy with Wilson's 95 % interval, and McNemar's exact test."""
    lines: list[str] = []
    for name, own in figures.items():
        low, high = wilson_interval(own["right"], own["photos"])
        against = f", +{own['fixed']} −{own['broken']} against without, p = {own['p_value']:.2g}"
        accuracy = f"{own['right'] / own['photos']:.3f} ({low:.3f}–{high:.3f})"
        lines.append(f"  {name:<32}{accuracy}{against if lines else ''}")
    return lines


def report(figures: Mapping[str, Any]) -> str:
    """Returns the tables: accuracies with Wilson's 95 % interval, McNemar's exact test, and the pseudo-labels' own."""
    lines = [
        f"{figures['pseudo']} of {figures['hidden']} hidden photos got a pseudo-label, and "
        f"{figures['right'] / max(figures['pseudo'], 1):.1%} of these are right"
    ]
    for title, key in (("held-out photos", "held_out"), ("hidden photos", "test")):
        lines += [f"{figures[key][TEACHER]['photos']} {title}:", *accuracy_lines(figures[key])]
    lines += [f"{name}: {seconds:.1f} s" for name, seconds in figures["seconds"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, PseudoBenchmarkOptions, description=__doc__ or "")
