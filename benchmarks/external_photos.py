"""Measures what external photos bring (`--external` of the converter), like the others and not like them.

It takes a third of the photos, whole scenes, as external ones, and trains without them, with them, with a fifth of
their classes wrong, and with small grey copies of them. All runs are scored on the same held-out photos.
Example: python benchmarks/external_photos.py --photos=photos --weights=mobilenet.h5 --image_size=96
--stages=mobilenet_v2_224_head,mobilenet_v2_224_all"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import run_python, scratch_folder
from PIL import Image
from pseudo_labels import PARTS, TOOL, PseudoBenchmarkOptions, accuracy_lines, compared, hits, train

from carclf.command import run_command
from carclf.flags import refuse_inherited

WITHOUT = "without external photos"
WRONG = 0.2  # of the classes
SMALL_PX = 64  # the longer side of a small copy


@dataclasses.dataclass(frozen=True)
class ExternalBenchmarkOptions(PseudoBenchmarkOptions):
    """Every option of this benchmark."""

    refused = ("tta", "pseudo_confidence")

    def __post_init__(self) -> None:
        """Checks each option, and that none is given which only pseudo-labels have."""
        super().__post_init__()
        refuse_inherited(self, "no photo is predicted for labels here")


def main(options: ExternalBenchmarkOptions) -> None:
    """Measures and prints."""
    with scratch_folder() as scratch:
        data = data_sets(options, scratch)
        found = [one_fold(options, data, scratch / f"fold{fold}", fold) for fold in range(options.evaluated)]
    names = list(data)
    pooled = compared(names, [fold["hits"] for fold in found])
    seconds = {name: sum(fold["seconds"][name] for fold in found) for name in names}
    print(report(pooled, seconds))
    if options.json:
        content = {"options": dataclasses.asdict(options), "folds": found, "pooled": pooled, "seconds": seconds}
        Path(options.json).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def data_sets(options: ExternalBenchmarkOptions, scratch: Path) -> dict[str, Path]:
    """Converts the photos without external ones and with each kind of them; returns the folders by name."""
    run_python(str(TOOL), f"--input={options.photos}", f"--output={scratch / 'whole'}", f"--folds={PARTS}",
               f"--seed={options.seed}")  # fmt: skip
    own, external = divide(Path(options.photos), scratch / "whole")
    copy(own, Path(options.photos), scratch / "photos")
    data = {WITHOUT: scratch / "data0"}
    convert(options, scratch, data[WITHOUT])
    kinds: dict[str, tuple[dict[str, str], Callable[[Path, Path], object]]] = {
        "external photos like the others": (external, shutil.copyfile),
        f"{WRONG:.0%} of their classes wrong": (with_wrong_classes(external, options.seed), shutil.copyfile),
        "small grey copies of them": (external, write_small),
    }
    for number, (name, (classes, write)) in enumerate(kinds.items(), 1):
        copy(classes, Path(options.photos), scratch / f"external{number}", write=write)
        data[name] = scratch / f"data{number}"
        same = f"--keep_folds={data[WITHOUT] / 'dataset.json'}"
        convert(options, scratch, data[name], f"--external={scratch / f'external{number}'}", same)
    folds = [folds_of(folder) for folder in data.values()]
    assert all(one == folds[0] for one in folds), "external photos changed the folds of the others"
    return data


def convert(options: ExternalBenchmarkOptions, scratch: Path, output: Path, *more: str) -> None:
    """Converts the photos that are not external."""
    run_python(str(TOOL), f"--input={scratch / 'photos'}", f"--output={output}", f"--folds={options.folds}", *more)


def divide(source: Path, converted: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the photos to train on and the external ones, those of fold 0: classes by path below the source."""
    photos = pd.read_csv(converted / "ids-train.csv", dtype=str, keep_default_na=False)
    first = photos["fold"] == "0"
    own, external = (
        dict(zip(one["source"], one["class_name"], strict=True)) for one in (photos[~first], photos[first])
    )
    assert all((source / path).is_file() for path in (*own, *external)), "the photos must lie in class folders"
    return own, external


def copy(
    classes: Mapping[str, str], source: Path, target: Path, *, write: Callable[[Path, Path], object] = shutil.copyfile
) -> None:
    """Writes photos into folders of their classes."""
    for path, name in classes.items():
        (target / name).mkdir(parents=True, exist_ok=True)
        write(source / path, target / name / path.replace("/", "__"))


def with_wrong_classes(classes: Mapping[str, str], seed: int) -> dict[str, str]:
    """Returns the photos with the fraction `WRONG` of them in another class."""
    rng = np.random.default_rng(seed)
    names = sorted(set(classes.values()))
    wrong = set(rng.permutation(list(classes))[: round(WRONG * len(classes))])
    return {
        path: str(rng.choice([one for one in names if one != name])) if path in wrong else name
        for path, name in classes.items()
    }


def write_small(source: Path, target: Path) -> None:
    """Writes a grey copy of a photo, at most `SMALL_PX` long."""
    with Image.open(source) as photo:
        grey = photo.convert("L")
    grey.thumbnail((SMALL_PX, SMALL_PX))
    grey.save(target, "JPEG", quality=75)


def folds_of(data: Path) -> dict[str, str]:
    """Returns the fold of each photo that is not external, by its Id."""
    photos = pd.read_csv(data / "ids-train.csv", dtype=str, keep_default_na=False)
    own = photos[photos["fold"] != "-1"]
    return dict(zip(own["id"], own["fold"], strict=True))


def one_fold(options: ExternalBenchmarkOptions, data: Mapping[str, Path], folder: Path, fold: int) -> dict[str, Any]:
    """Returns which held-out photos the run of each data set gets right, and how long each trained."""
    runs = {name: train(options, one, folder / one.name, fold) for name, one in data.items()}
    return {
        "hits": [hits(one, runs[name][0], folds=[fold]) for name, one in data.items()],
        "seconds": {name: seconds for name, (_, seconds) in runs.items()},
    }


def report(pooled: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float]) -> str:
    """Returns a line for each data set: accuracy and McNemar's test, as `accuracy_lines`, and the seconds."""
    lines = zip(accuracy_lines(pooled), seconds.values(), strict=True)
    return "\n".join(
        [f"{pooled[WITHOUT]['photos']} held-out photos:", *(f"{line}, {took:.0f} s" for line, took in lines)]
    )


if __name__ == "__main__":
    run_command(main, ExternalBenchmarkOptions, description=__doc__ or "")
