"""How fast photos become shards, beside reading and decoding alone, and beside a plain script without any checks.

Example: python benchmarks/convert.py --photos=data/cars --json=convert.json"""

import dataclasses
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from carclf.config import option
from carclf.door import run_door
from carclf.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "make_tfrecords.py"
SUFFIXES = (".jpg", ".jpeg")
PHOTOS_A_TASK = 32


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions:
    """Every option of this benchmark."""

    photos: str = option("", "Folder of JPEG photos, at any depth.")
    count: int = option(6000, "Photos to convert: those of the folder, linked as often as it takes.")
    workers: int = option(2, "Processes of the parallel runs; every way is also run with one.")
    repeats: int = option(3, "Runs of each way, in turn; the median counts.")
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Refuses a call without photos."""
        if not self.photos:
            raise UserError("--photos is missing: give a folder of JPEG photos.")


def main(options: BenchmarkOptions) -> None:
    """Measures and prints."""
    found = sorted(path for path in Path(options.photos).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"There is no JPEG photo under --photos={options.photos}: give another folder.")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        folder = link_photos(found, Path(scratch) / "photos", count=options.count)
        figures = measure(folder, Path(scratch), workers=options.workers, repeats=options.repeats)
    print(table(figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def link_photos(found: Sequence[Path], folder: Path, *, count: int) -> Path:
    """A class folder for each of ten classes with `count` photos in all, hard links where the disk allows them.

    A repeated photo gets a comment that makes its bytes its own, so that it is hashed and searched like any other.
    """
    for number in range(count):
        photo = found[number % len(found)]
        path = folder / str(number % 10) / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < len(found):
            try:
                os.link(photo, path)
                continue
            except OSError:
                pass
        encoded = photo.read_bytes()
        comment = b"\xff\xfe\x00\x0a" + f"{number:08d}".encode()
        path.write_bytes(encoded[:2] + comment + encoded[2:] if number >= len(found) else encoded)
    return folder


def measure(folder: Path, scratch: Path, *, workers: int, repeats: int) -> dict[str, Any]:
    """Seconds of each way with one process and with `workers`, the ways in turn within each repeat."""
    photos = sorted(str(path) for path in folder.rglob("*.jpg"))
    ways: dict[str, Callable[[int], None]] = {
        "limit": lambda processes: spread(decode_task, photos, processes),
        "plain script": lambda processes: plain_script(photos, scratch / "plain", processes),
        "carclf": lambda processes: convert(folder, scratch / "ours", processes),
    }
    for path in photos:  # every way finds the files in the system's cache
        Path(path).read_bytes()
    seconds: dict[str, dict[int, list[float]]] = {way: {1: [], workers: []} for way in ways}
    for _ in range(repeats):
        for processes in (workers, 1):
            for way, run in ways.items():
                started = time.perf_counter()
                run(processes)
                seconds[way][processes].append(time.perf_counter() - started)
                clear(scratch)
    rates = {
        way: {str(processes): len(photos) / statistics.median(times) for processes, times in by_count.items()}
        for way, by_count in seconds.items()
    }
    scaling = {way: rate[str(workers)] / rate["1"] for way, rate in rates.items()}
    return {
        "photos": len(photos),
        "mean_bytes": sum(os.path.getsize(path) for path in photos) // len(photos),
        "workers": workers,
        "photos_per_second": rates,
        "seconds": seconds,
        "ours_to_limit": rates["carclf"][str(workers)] / rates["limit"][str(workers)],
        "ours_to_plain_script": rates["carclf"][str(workers)] / rates["plain script"][str(workers)],
        "scaling": scaling,
        "scaling_to_limit": scaling["carclf"] / scaling["limit"],
        "largest_process_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as people read them."""
    workers = str(figures["workers"])
    lines = [
        f"{figures['photos']:,} photos of {figures['mean_bytes']:,} bytes on average; photos a second, median, "
        "start of the processes included:",
        f"{'':<16}{'1 process':>12}{workers + ' processes':>14}{'scaling':>10}",
    ]
    for way, rate in figures["photos_per_second"].items():
        lines.append(f"{way:<16}{rate['1']:>12,.0f}{rate[workers]:>14,.0f}{figures['scaling'][way]:>10.2f}")
    lines.append(
        f"carclf is {figures['ours_to_limit']:.2f} of the limit and {figures['ours_to_plain_script']:.2f} of the plain "
        f"script; its scaling is {figures['scaling_to_limit']:.2f} of the limit's."
    )
    return "\n".join(lines)


def convert(folder: Path, output: Path, processes: int) -> None:
    """The converter's door, as a user runs it."""
    command = [sys.executable, str(TOOL), f"--input={folder}", f"--output={output}", f"--workers={processes}"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise UserError(f"The converter ended with exit code {answer.returncode}: {answer.stderr.strip()}")


def plain_script(photos: Sequence[str], output: Path, processes: int) -> None:
    """What people write: read, build an Example, write; no decoding, no hash, no check. A shard a process."""
    output.mkdir()
    parts = [list(photos[number::processes]) for number in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_task, parts, [str(output / f"{number}.tfrecord") for number in range(processes)]))


def write_task(photos: Sequence[str], file: str) -> None:
    """Writes a shard."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(file) as writer:
        for path in photos:
            encoded = tf.train.Feature(bytes_list=tf.train.BytesList(value=[Path(path).read_bytes()]))
            label = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(Path(path).parent.name)]))
            features = tf.train.Features(feature={"image/encoded": encoded, "image/class/label": label})
            writer.write(tf.train.Example(features=features).SerializeToString())


def spread(function: Callable[[Sequence[str]], int], photos: Sequence[str], processes: int) -> None:
    """Runs `function` over tasks of photos in fresh processes."""
    tasks = [photos[start : start + PHOTOS_A_TASK] for start in range(0, len(photos), PHOTOS_A_TASK)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(function, tasks))


def decode_task(photos: Sequence[str]) -> int:
    """Reads and decodes with libjpeg-turbo at full size; nothing else."""
    import simplejpeg

    return sum(simplejpeg.decode_jpeg(Path(path).read_bytes(), fastdct=True).shape[0] for path in photos)


def clear(scratch: Path) -> None:
    """Removes what a run wrote."""
    import shutil

    for name in ("plain", "ours"):
        shutil.rmtree(scratch / name, ignore_errors=True)


if __name__ == "__main__":
    run_door(main, BenchmarkOptions, description=__doc__ or "")
