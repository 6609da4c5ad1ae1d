"""Measures the search for duplicates on a folder of photos: recall of planted copies, other pairs, and time.

A copy of some photos is planted among all of them. Found is a copy that stands in one `near` group of duplicates.csv
with its photo; a turned copy may stand in one of a scene, too, since that keeps it in the fold of its photo. Every
other pair in a `near` group is listed as false, unless both have the same bytes: look at those.
"""

import csv
import dataclasses
import functools
import io
import itertools
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measuring import scratch_folder
from PIL import Image, ImageOps

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option

PLANT = "planted"
TURN_FILLS = ("edge", "reflect", "black")  # the modes of ImageDataGenerator, albumentations and torchvision
FALSE_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class DuplicatesOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of class folders of photos.", path=True)
    every: int = option(4, "A copy of every how many photos is planted.", low=1)
    turned: bool = option(False, "Plant copies that were turned instead of the others.")
    workers: int = option(2, "Processes of the conversion.", low=1)

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.photos:
            raise UserError("--photos is missing: give a folder of class folders of photos.")


def main(options: DuplicatesOptions) -> None:
    """Measures and prints."""
    rng = np.random.default_rng(0)
    with scratch_folder() as scratch:
        folder = scratch / "photos"
        shutil.copytree(options.photos, folder)
        photos = sorted(path for path in folder.rglob("*") if path.is_file())
        kinds = turned_kinds() if options.turned else copy_kinds(rng)
        for number, path in enumerate(photos[:: options.every]):
            kind = list(kinds)[number % len(kinds)]
            image = Image.open(path).convert("RGB")
            kinds[kind](image, path.with_name(f"{path.name}.{PLANT}.{kind.replace(' ', '-')}.jpg"))
        seconds = {
            near: convert(folder, scratch / f"near-{near}", near=near, options=options) for near in (False, True)
        }
        report(scratch / "near-True" / "duplicates.csv", photos=len(photos), seconds=seconds, folder=folder)


def copy_kinds(rng: np.random.Generator) -> dict[str, Callable[[Image.Image, Path], None]]:
    """Returns the ways to make a copy: (photo, file to write)."""

    def crop(image: Image.Image, most: float) -> Image.Image:
        left, top, right, bottom = rng.uniform(0, most, 4)
        width, height = image.size
        return image.crop(
            (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
        )

    return {
        "recompressed": lambda image, path: image.save(path, quality=40),
        "cropped by 0-6 %": lambda image, path: crop(image, 0.06).save(path, quality=85),
        "half the size": lambda image, path: image.resize((image.width // 2, image.height // 2)).save(path, quality=85),
        "mirrored": lambda image, path: ImageOps.mirror(image).save(path, quality=85),
    }


def turned_kinds() -> dict[str, Callable[[Image.Image, Path], None]]:
    """Returns the ways to make a copy that is turned: (photo, file to write)."""
    return {
        f"turned by {degrees}, {fill} outside": functools.partial(_save_turned, degrees=degrees, fill=fill)
        for degrees in (5, 12)
        for fill in TURN_FILLS
    }


def _save_turned(image: Image.Image, path: Path, *, degrees: int, fill: str) -> None:
    """Writes a copy turned clockwise or counter-clockwise; `fill` is a mode of `np.pad`, or black."""
    width, height = image.size
    room = max(width, height) // 4
    around = ((room, room), (room, room), (0, 0))
    padded = np.pad(np.asarray(image), around, mode="constant" if fill == "black" else fill)  # type: ignore[call-overload]
    sign = 1 if len(path.name) % 2 else -1
    turned = Image.fromarray(padded).rotate(sign * degrees, Image.Resampling.BICUBIC)
    turned.crop((room, room, room + width, room + height)).save(path, quality=85)


def convert(folder: Path, output: Path, *, near: bool, options: DuplicatesOptions) -> float:
    """Returns the seconds of a conversion, with or without the search for near-duplicates."""
    from carclf.convert.converter import convert as run
    from carclf.convert.options import ConvertOptions

    started = time.perf_counter()
    run(ConvertOptions(input=str(folder), output=str(output), near_duplicates=near, workers=options.workers))
    return time.perf_counter() - started


def report(path: Path, *, photos: int, seconds: dict[bool, float], folder: Path) -> None:
    """Prints recall by kind, other pairs, and times."""
    groups: dict[str, list[str]] = defaultdict(list)
    kind_of: dict[str, str] = {}
    for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")):
        groups[row["group"]].append(row["id"])
        kind_of[row["group"]] = row["kind"]
    pairs = {
        kind: {
            pair for group, ids in groups.items() if kind_of[group] == kind for pair in itertools.combinations(ids, 2)
        }
        for kind in ("exact", "near", "scene")
    }
    found = {kind: {frozenset(pair) for pair in here} for kind, here in pairs.items()}
    planted = [(copy.name.split(f".{PLANT}.")[0], copy.name) for copy in folder.rglob(f"*.{PLANT}.*")]
    for kind in sorted({copy.split(f".{PLANT}.")[1] for _, copy in planted}):
        mine = [frozenset(pair) for pair in planted if pair[1].endswith(kind)]
        hits = sum(pair in found["near"] or (pair in found["scene"] and "turned" in kind) for pair in mine)
        print(f"{kind.removesuffix('.jpg'):28} {hits} of {len(mine)} found ({hits / len(mine):.1%})")
    false = found["near"] - found["exact"] - {frozenset(pair) for pair in planted}
    true = len(found["near"] & {frozenset(pair) for pair in planted})
    print(f"near: {true} planted pairs and {len(false)} others; scene: {len(found['scene'])} pairs")
    for pair in sorted(map(sorted, false))[:FALSE_SHOWN]:
        print("  other:", *pair)
    print(f"{photos} photos; conversion {seconds[False]:.1f} s without the search, {seconds[True]:.1f} s with it")


if __name__ == "__main__":
    run_command(main, DuplicatesOptions, description=__doc__ or "")
