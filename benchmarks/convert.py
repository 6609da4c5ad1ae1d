"""Measures the speed of conversion against bare reading and decoding, and against a plain script without checks.

Photos of more than 640 pixels are also reduced and encoded, which neither of the others does.

Example: python benchmarks/convert.py --photos=data/cars --json=convert.json"""

import dataclasses
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from measuring import scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option
from carclf.start_messages import without_start_messages

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "make_tfrecords.py"
SUFFIXES = (".jpg", ".jpeg")
PHOTOS_PER_TASK = 32
FEW = 64  # photos to measure the startup of each way


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of JPEG photos, at any depth.")
    count: int = option(6000, "Number of photos to convert: those of the folder, then parts of them.", low=1)
    size: str = option("640x480", "Their width and height in pixels; '' keeps those of the folder.")
    workers: int = option(2, "Number of processes of the parallel runs; every way also runs with one.", low=0)
    repeats: int = option(3, "Number of runs of each way, alternating; the median counts.", low=1)
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.photos:
            raise UserError("--photos is missing: give a folder of JPEG photos.")
        if not re.fullmatch(r"([1-9]\d{0,4}x[1-9]\d{0,4})?", self.size):
            raise UserError(f"--size={self.size} is not possible: give a width and height in pixels, such as 640x480.")

    @property
    def extent(self) -> tuple[int, int] | None:
        """Width and height of the photos, pixels; None keeps those of the folder."""
        width, _, height = self.size.partition("x")
        return (int(width), int(height)) if self.size else None


def main(options: BenchmarkOptions) -> None:
    """Measures and prints."""
    found = sorted(path for path in Path(options.photos).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"There is no JPEG photo under --photos={options.photos}: give another folder.")
    with scratch_folder() as scratch:
        folder = prepare_photos(found, scratch / "photos", count=options.count, extent=options.extent)
        few = prepare_photos(found, scratch / "few", count=FEW, extent=options.extent)
        figures = measure(folder, few, scratch, workers=options.workers, repeats=options.repeats)
    print(table(figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def prepare_photos(found: Sequence[Path], folder: Path, *, count: int, extent: tuple[int, int] | None) -> Path:
    """Returns a folder of `count` photos in ten classes: those found, then random parts of them, no two similar."""
    tasks = []
    for number in range(count):
        path = folder / str(number % 10) / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        tasks.append((found[number % len(found)], path, number if number >= len(found) else None, extent))
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(draw_photo, tasks, chunksize=PHOTOS_PER_TASK))
    return folder


def draw_photo(task: tuple[Path, Path, int | None, tuple[int, int] | None]) -> None:
    """Writes a photo, or a part of it: half to nine tenths of its sides, and mirrored if the seed is odd.

    Args:
      task: the photo, the file to write, the seed of the part or None, and the size, by default that of the photo.
    """
    from PIL import Image, ImageOps

    source, path, seed, extent = task
    if seed is None and extent is None:
        shutil.copy(source, path)
        return
    with Image.open(source) as photo:
        width, height, left, top = *photo.size, 0, 0
        if seed is not None:
            rng = random.Random(seed)
            width, height = (round(side * rng.uniform(0.5, 0.9)) for side in photo.size)
            left, top = rng.randint(0, photo.width - width), rng.randint(0, photo.height - height)
        part = photo.convert("RGB").resize(extent or photo.size, box=(left, top, left + width, top + height))
        (ImageOps.mirror(part) if seed is not None and seed % 2 else part).save(path, "JPEG", quality=90)


def measure(folder: Path, few: Path, scratch: Path, *, workers: int, repeats: int) -> dict[str, Any]:
    """Returns the seconds of each way with one process and with `workers`, the ways alternating in each repeat.

    The startup of each way (processes, imports) is measured on a few photos: the time with it is what a user waits, the
    rest is the cost of each further photo.
    """
    seconds: dict[str, dict[str, list[float]]] = {}
    start: dict[str, dict[str, list[float]]] = {}
    photos = sorted(str(path) for path in folder.rglob("*.jpg"))
    for path in photos:  # puts the files into the system's cache for every way
        Path(path).read_bytes()
    for _ in range(repeats):
        for processes in (workers, 1):
            for way, run in WAYS.items():
                for times, source in ((seconds, folder), (start, few)):
                    started = time.perf_counter()
                    run(source, scratch / "output", processes)
                    elapsed = time.perf_counter() - started
                    times.setdefault(way, {}).setdefault(str(processes), []).append(elapsed)
                    shutil.rmtree(scratch / "output", ignore_errors=True)
    count, fewer = len(photos), sum(1 for _ in few.rglob("*.jpg"))

    def rate(way: str, processes: str, *, whole: bool) -> float:
        total, once = (statistics.median(times[way][processes]) for times in (seconds, start))
        return count / total if whole else (count - fewer) / (total - once)

    rates = {
        name: {way: {key: rate(way, key, whole=whole) for key in ("1", str(workers))} for way in WAYS}
        for name, whole in (("whole", True), ("further", False))
    }
    return {
        "photos": count,
        "mean_bytes": sum(os.path.getsize(path) for path in photos) // count,
        "workers": workers,
        "seconds": seconds,
        "start_seconds": start,
        "photos_per_second": rates,
        "ours_to_limit": {name: by["carclf"][str(workers)] / by["limit"][str(workers)] for name, by in rates.items()},
        "scaling_to_limit": {
            name: by["carclf"][str(workers)] / by["carclf"]["1"] * by["limit"]["1"] / by["limit"][str(workers)]
            for name, by in rates.items()
        },
        "largest_process_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def table(figures: dict[str, Any]) -> str:
    """Returns the figures as a printable table."""
    workers = str(figures["workers"])
    lines = [f"{figures['photos']:,} photos of {figures['mean_bytes']:,} bytes on average; medians."]
    for name, what in (("whole", "the whole command"), ("further", "every further photo, without the start")):
        lines += ["", f"{what + ', photos per second':<52}{'1 process':>12}{workers + ' processes':>14}{'scaling':>10}"]
        for way, rate in figures["photos_per_second"][name].items():
            lines.append(f"{way:<52}{rate['1']:>12,.0f}{rate[workers]:>14,.0f}{rate[workers] / rate['1']:>10.2f}")
        lines.append(
            f"carclf with {workers} processes: {figures['ours_to_limit'][name]:.2f} of the limit; its scaling is "
            f"{figures['scaling_to_limit'][name]:.2f} of the limit's."
        )
    return "\n".join(lines)


def decode_only(folder: Path, output: Path, processes: int) -> None:
    """Runs the limit: fresh processes that only read and decode with libjpeg-turbo at full size."""
    photos = sorted(str(path) for path in folder.rglob("*.jpg"))
    tasks = [photos[start : start + PHOTOS_PER_TASK] for start in range(0, len(photos), PHOTOS_PER_TASK)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(decode_task, tasks))


def decode_task(photos: Sequence[str]) -> int:
    """Reads and decodes photos."""
    import simplejpeg

    encoded = (Path(path).read_bytes() for path in photos)
    return sum(simplejpeg.decode_jpeg(one, fastdct=True, fastupsample=True).shape[0] for one in encoded)


def plain_script(folder: Path, output: Path, processes: int) -> None:
    """Runs a typical script: read, build an Example, write; no decoding, no hash, no check. One shard per process."""
    output.mkdir()
    photos = sorted(str(path) for path in folder.rglob("*.jpg"))
    parts = [photos[number::processes] for number in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_task, parts, [str(output / f"{number}.tfrecord") for number in range(processes)]))


def write_task(photos: Sequence[str], file: str) -> None:
    """Writes a shard."""
    with without_start_messages():
        import tensorflow as tf

    with tf.io.TFRecordWriter(file) as writer:
        for path in photos:
            encoded = tf.train.Feature(bytes_list=tf.train.BytesList(value=[Path(path).read_bytes()]))
            label = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(Path(path).parent.name)]))
            features = tf.train.Features(feature={"image/encoded": encoded, "image/class/label": label})
            writer.write(tf.train.Example(features=features).SerializeToString())


def convert(folder: Path, output: Path, processes: int) -> None:
    """Runs the converter's command as a user does."""
    command = [sys.executable, str(TOOL), f"--input={folder}", f"--output={output}", f"--workers={processes}"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise UserError(f"The converter ended with exit code {answer.returncode}: {answer.stderr.strip()}")


WAYS: dict[str, Callable[[Path, Path, int], None]] = {
    "limit": decode_only,
    "plain script": plain_script,
    "carclf": convert,
}

if __name__ == "__main__":
    run_command(main, BenchmarkOptions, description=__doc__ or "")
