"""Measures the converter's memory and its cost per photo at two counts of tiny photos: neither may grow with the count.

Example: python benchmarks/convert_memory.py --counts=20000,200000"""

import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import Any

from measuring import run_measured, scratch_folder

from carclf.command import run_command
from carclf.flags import Options, option

TOOL = Path(__file__).resolve().parent.parent / "tools" / "make_tfrecords.py"
PHOTOS_PER_FOLDER = 5000
NOISE_LEVELS = 160


@dataclasses.dataclass(frozen=True)
class MemoryOptions(Options):
    """Every option of this benchmark."""

    counts: str = option("20000,200000", "Number of photos of each run.")
    workers: int = option(2, "Number of processes of the converter.", low=0)
    json: str = option("", "Also write the figures to this file.")


def main(options: MemoryOptions) -> None:
    """Measures and prints."""
    figures = []
    for count in [int(text) for text in options.counts.split(",")]:
        with scratch_folder() as scratch:
            draw(scratch / "photos", count)
            flags = [f"--input={scratch}/photos", f"--output={scratch}/data", f"--workers={options.workers}"]
            measured = run_measured([sys.executable, str(TOOL), *flags])
        figures.append(
            {
                "photos": count,
                "seconds": measured.seconds,
                "microseconds_a_photo": 1e6 * measured.seconds / count,
                "process_mb": measured.process_mb,
                "total_mb": measured.total_mb,
            }
        )
        print(line(figures[-1]), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def draw(folder: Path, count: int) -> None:
    """Writes `count` different JPEG photos of 32x24 pixels in class folders."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(1)
    for start in range(0, count, PHOTOS_PER_FOLDER):
        target = folder / f"{start // PHOTOS_PER_FOLDER % 10}" / f"{start:06d}"
        target.mkdir(parents=True)
        for number in range(start, min(start + PHOTOS_PER_FOLDER, count)):
            pixels = rng.integers(0, NOISE_LEVELS, (24, 32, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG")
            (target / f"{number:06d}.jpg").write_bytes(buffer.getvalue())


def line(figures: dict[str, Any]) -> str:
    """Returns the figures as a printable line."""
    return (
        f"{figures['photos']:>9,} photos: {figures['seconds']:.1f} s, {figures['microseconds_a_photo']:.0f} µs each, "
        f"{figures['process_mb']:.0f} MB of private memory in the largest process, {figures['total_mb']:.0f} MB in all"
    )


if __name__ == "__main__":
    run_command(main, MemoryOptions, description=__doc__ or "")
