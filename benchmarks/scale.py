"""What a photo costs to convert and to read in an epoch, in CPU time and bytes, and what millions of them cost.

CPU time, not time on the clock: it is the same on a busy machine, and cores can be bought.

Example: python benchmarks/scale.py --photos=data/photos --json=scale.json"""

import dataclasses
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from convert_memory import draw as draw_tiny
from measuring import run_measured, scratch_folder

from carclf.command import run_command
from carclf.convert.shards import RECORDS_PER_SHARD
from carclf.flags import Options, option

TOOL = Path(__file__).resolve().parent.parent / "tools" / "make_tfrecords.py"
SIZES = (224, 512)
PHOTOS = (1_500_000, 150_000_000)
CORES = (2, 96, 1_000)
LINKS_MB = {"1 Gbit/s": 125, "a SATA SSD": 500, "10 Gbit/s": 1_250, "an NVMe SSD": 3_000}
READS = 2  # of each photo: validated, then written
TINY_PHOTOS = (5_000, 20_000)  # of 32x24 pixels, for what a photo costs the launcher
LAUNCHER = """
import sys, time
from carclf.convert.converter import convert
from carclf.convert.options import ConvertOptions
from carclf.command import parse_command_line
convert(parse_command_line(ConvertOptions, sys.argv[1:], description=""))
print(time.process_time())
"""


@dataclasses.dataclass(frozen=True)
class ScaleOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of class folders of photos; none draws --count of 640x480 pixels.")
    count: int = option(1500, "Photos to draw.", low=1)
    few: int = option(150, "Photos of a second run, which takes the start out of the figures.", low=1)
    batches: int = option(40, "Batches of 32 that are read at each size.", low=1)
    json: str = option("", "Also write the costs to this file.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """What one photo costs.

    Attributes:
      photo_kb: of its file.
      stored_kb: of its record.
      convert_ms: CPU time of validating and writing it.
      reduce_ms: the same where it is larger than a stored photo may be, 1600x1200 pixels, and encoded anew.
      near_ms: CPU time of searching for photos that look like it.
      launcher_kb: memory of the process that hands out the work.
      launcher_ms: CPU time of that process, which no other can take off it.
      epoch_ms: size in pixels → CPU time from its record to a batch.
    """

    photo_kb: float
    stored_kb: float
    convert_ms: float
    reduce_ms: float
    near_ms: float
    launcher_kb: float
    launcher_ms: float
    epoch_ms: dict[int, float]


def main(options: ScaleOptions) -> None:
    """Measures and prints."""
    with scratch_folder() as scratch:
        costs = measure(options, scratch)
    print("\n\n".join(("\n".join(cost_table(costs)), *("\n".join(lines) for lines in tables(costs)))))
    if options.json:
        Path(options.json).write_text(json.dumps(dataclasses.asdict(costs), indent=2) + "\n", encoding="utf-8")


def measure(options: ScaleOptions, scratch: Path) -> Costs:
    """Returns the costs on this machine."""
    source = Path(options.photos) if options.photos else drawn_photos(scratch / "drawn", options.count)
    files = [path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")]
    seconds = {
        (count, near): convert_seconds(source, scratch / f"{count}{near}", limit=count, near=near)
        for count in (options.few, len(files))
        for near in (False, True)
    }
    further = len(files) - options.few
    plain = 1e3 * (seconds[len(files), False] - seconds[options.few, False]) / further
    whole = 1e3 * (seconds[len(files), True] - seconds[options.few, True]) / further
    data = scratch / f"{len(files)}{True}"
    kilobytes, milliseconds = launcher_costs(scratch)
    stored = sum(path.stat().st_size for path in data.rglob("*.tfrecord"))
    return Costs(
        photo_kb=round(sum(path.stat().st_size for path in files) / len(files) / 1e3, 1),
        stored_kb=round(stored / len(files) / 1e3, 1),
        convert_ms=round(plain, 2),
        reduce_ms=round(reduce_ms(), 1),
        near_ms=round(whole - plain, 2),
        launcher_kb=round(kilobytes, 1),
        launcher_ms=round(milliseconds, 3),
        epoch_ms={size: round(epoch_ms(str(data), size=size, batches=options.batches), 2) for size in SIZES},
    )


def drawn_photos(folder: Path, count: int) -> Path:
    """Returns drawn training photos in class folders."""
    run(
        [
            sys.executable,
            "-m",
            "carclf.sample",
            f"--output={folder}",
            f"--photos={count}",
            "--width=640",
            "--height=480",
        ]
    )
    return folder / "train"


def convert_seconds(source: Path, output: Path, *, limit: int, near: bool) -> float:
    """Returns CPU time of one conversion in one process, its own start included."""
    flags = [f"--input={source}", f"--output={output}", f"--limit={limit}", "--workers=1", "--on_bad=skip"]
    return run([sys.executable, str(TOOL), *flags, f"--near_duplicates={near}"])


def run(command: Sequence[str]) -> float:
    """Returns CPU time of a command and its children, seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def reduce_ms() -> float:
    """Returns CPU time of validating a large photo twice: before and while it is written."""
    from carclf.data.validation import validate_photo
    from carclf.synthetic.draw import draw_jpeg

    photos = [draw_jpeg(kind=number, photo_id=f"{number}.jpg", seed=1, size=(1600, 1200)) for number in range(8)]
    started = time.process_time()
    for photo in photos * READS:
        validate_photo(photo, max_side=640)
    return 1e3 * (time.process_time() - started) / len(photos)


def launcher_costs(scratch: Path) -> tuple[float, float]:
    """Returns (kB, ms of a core) a photo of the process that hands out the work, from two counts of tiny photos."""
    held, worked = [], []
    for count in TINY_PHOTOS:
        draw_tiny(scratch / f"tiny{count}", count)
        flags = [f"--input={scratch}/tiny{count}", f"--output={scratch}/tiny{count}-out", "--workers=2"]
        measured = run_measured([sys.executable, "-c", LAUNCHER, *flags])
        held.append(measured.process_mb)
        worked.append(float(measured.output.splitlines()[-1]))
    further = TINY_PHOTOS[1] - TINY_PHOTOS[0]
    return 1e3 * (held[1] - held[0]) / further, 1e3 * (worked[1] - worked[0]) / further


def epoch_ms(data: str, *, size: int, batches: int) -> float:
    """Returns CPU time of a photo from its record to a training batch, on all threads."""
    from carclf.data.manifest import load_manifest
    from carclf.data.pipeline import training_batches
    from carclf.framing import Framing
    from carclf.recipe import parse_recipe

    manifest = load_manifest(data)
    stream = iter(
        training_batches(
            manifest=manifest,
            folds=manifest.folds,
            framing=Framing((size, size)),
            recipe=parse_recipe("notebook"),
            batch_size=32,
            epochs=1_000,
            seed=1,
        )
    )
    for _ in itertools.islice(stream, 10):  # threads have started, buffers are full
        pass
    started = time.process_time()
    photos = sum(int(inputs["canvas"].shape[0]) for inputs, _, _ in itertools.islice(stream, batches))
    return 1e3 * (time.process_time() - started) / photos


def cost_table(costs: Costs) -> list[str]:
    """Returns the costs of one photo, in Markdown."""
    rows = [
        ("size of its file", f"{costs.photo_kb} kB"),
        ("size of its record in a shard", f"{costs.stored_kb} kB"),
        ("checking and writing it", f"{costs.convert_ms} ms of CPU time"),
        ("the same, for a photo of 1600×1200 pixels that is reduced", f"{costs.reduce_ms} ms of CPU time"),
        ("searching for its near-duplicates", f"{costs.near_ms} ms of CPU time"),
        (
            "keeping track of it in the launcher, the process that starts a conversion",
            f"{costs.launcher_kb} kB of memory",
        ),
        ("listing and planning it in the launcher", f"{costs.launcher_ms} ms of CPU time"),
        *(
            (f"decoding it from its record into a batch, {size} px", f"{milliseconds} ms of CPU time")
            for size, milliseconds in costs.epoch_ms.items()
        ),
    ]
    return ["| for one photo | cost |", "| --- | --- |", *(f"| {what} | {cost} |" for what, cost in rows)]


def tables(costs: Costs) -> list[list[str]]:
    """Conversion, an epoch, and what ends first, each in Markdown."""
    return [convert_table(costs), epoch_table(costs), limit_table(costs)]


def convert_table(costs: Costs) -> list[str]:
    """What converting so many photos takes."""
    minutes = " | ".join(f"minutes on {cores:,} cores" for cores in CORES)
    lines = [
        f"| photos | shards | read, TB | written, TB | launcher, GB | launcher, min | core-hours | {minutes} |",
        f"|{' --- |' * (7 + len(CORES))}",
    ]
    for photos in PHOTOS:
        core_hours = photos * (costs.convert_ms + costs.near_ms) / 3.6e6
        figures = (
            f"{photos:,}",
            f"{-(-photos // RECORDS_PER_SHARD):,}",
            f"{READS * photos * costs.photo_kb / 1e9:.2f}",
            f"{photos * costs.stored_kb / 1e9:.2f}",
            f"{photos * costs.launcher_kb / 1e6:.1f}",
            f"{photos * costs.launcher_ms / 6e4:,.0f}",
            f"{core_hours:,.1f}",
            *(f"{60 * core_hours / cores:,.1f}" for cores in CORES),
        )
        lines.append(f"| {' | '.join(figures)} |")
    return lines


def epoch_table(costs: Costs) -> list[str]:
    """What reading so many photos once takes on the host."""
    sizes = " | ".join(f"core-hours at {size} px" for size in costs.epoch_ms)
    lines = [f"| photos | read, TB | {sizes} |", f"|{' --- |' * (2 + len(costs.epoch_ms))}"]
    for photos in PHOTOS:
        hours = (f"{photos * milliseconds / 3.6e6:,.1f}" for milliseconds in costs.epoch_ms.values())
        lines.append(f"| {photos:,} | {photos * costs.stored_kb / 1e9:.2f} | {' | '.join(hours)} |")
    return lines


def limit_table(costs: Costs) -> list[str]:
    """Returns the images per second that each part carries, and the cores that saturate it."""
    cores = " | ".join(f"cores that saturate it, {size} px" for size in costs.epoch_ms)
    lines = [f"| network or disk | images/s it can deliver | {cores} |", f"|{' --- |' * (2 + len(costs.epoch_ms))}"]
    for name, megabytes in LINKS_MB.items():
        rate = 1e3 * megabytes / costs.stored_kb
        needed = (f"{rate * milliseconds / 1e3:.1f}" for milliseconds in costs.epoch_ms.values())
        lines.append(f"| {name}, {megabytes:,} MB/s | {rate:,.0f} | {' | '.join(needed)} |")
    return lines


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    run_command(main, ScaleOptions, description=__doc__ or "")
