"""Compares the input of training from an object store, simulated with latency, with the same from a local disk.

Both read the same files, in turn; the store answers each request after --latency_ms. Without --photos they are drawn.
The processor time of an image tells what the requests themselves cost, also on a machine that does other work.
Example: python benchmarks/storage.py --photos=data/cars --json=storage.json"""

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from input import convert, count_images, our_batches, prepare_photos
from measuring import run_python, scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option

WANTED = 0.9
WARM_UP_BATCHES = 20  # until as many photos are announced as ever are


@dataclasses.dataclass(frozen=True)
class StorageOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of JPEG photos, resized to 640x480 first; by default drawn.")
    most: int = option(400, "Maximum number of photos.", low=1)
    latency_ms: float = option(30.0, "Milliseconds from a request to its answer.", low=0)
    batch_size: int = option(32, "Photos per batch.", low=1)
    sizes: str = option("224,512", "Image sizes, pixels.")
    seconds: float = option(4.0, "Seconds per measurement.", above=0)
    repeats: int = option(7, "Measurements of each, alternating.", low=1)
    json: str = option("", "Also write the figures to this file.")


def main(options: StorageOptions) -> None:
    """Measures and prints."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from carclf.device import select_device

    select_device("cpu")
    register_slow_store(options.latency_ms / 1000)
    with scratch_folder() as scratch:
        source = Path(options.photos)
        if not options.photos:
            source = scratch / "drawn"
            run_python("-m", "carclf.sample", f"--output={source}", f"--photos={options.most}")
        prepare_photos(source, scratch / "photos", most=options.most)
        data = convert(scratch / "photos", scratch.resolve() / "data")
        figures: dict[str, Any] = {"latency_ms": options.latency_ms, "sizes": {}}
        for size in [int(text) for text in options.sizes.split(",")]:
            figures["sizes"][size] = measure_size(size, data, options)
            print(table(size, figures["sizes"][size], latency_ms=options.latency_ms), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def register_slow_store(latency: float) -> None:
    """Makes slow://PATH the local file PATH, each of whose reads is answered after `latency` seconds.

    Raises:
      UserError: fsspec is not installed.
    """
    try:
        import fsspec
        from fsspec.implementations.local import LocalFileSystem
    except ModuleNotFoundError:
        raise UserError("This benchmark needs fsspec: pip install fsspec.") from None

    class SlowFiles(LocalFileSystem):
        """Local files behind a slow network."""

        protocol = "slow"

        def open(self, *arguments: Any, **how: Any) -> Any:
            """Returns an opened file, after the latency."""
            time.sleep(latency)
            return super().open(*arguments, **how)

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path.removeprefix("slow://").rstrip("/") or "/"

    fsspec.register_implementation("slow", SlowFiles, clobber=True)


def measure_size(size: int, data: str, options: StorageOptions) -> dict[str, Any]:
    """Returns figures of both at one size: images per second, processor time of an image, medians, and their ratio."""
    places = {"local": data, "remote": f"slow://{data}"}
    rates: dict[str, list[float]] = {name: [] for name in places}
    milliseconds: dict[str, list[float]] = {name: [] for name in places}
    for _ in range(options.repeats):
        for name, where in places.items():
            batches = iter(our_batches(where, size=size, batch_size=options.batch_size))
            for _ in range(WARM_UP_BATCHES):
                next(batches)
            counts = [0]
            started = time.process_time()
            rates[name].append(count_images(_counted(batches, counts), options.seconds))
            milliseconds[name].append(1000 * (time.process_time() - started) / counts[0])
    median = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "rates": rates,
        "median": median,
        "ratio": median["remote"] / median["local"],
        "cpu_ms": {name: statistics.median(values) for name, values in milliseconds.items()},
    }


def _counted(batches: Iterator[Any], counts: list[int]) -> Iterator[int]:
    """Yields the size of each batch and adds it to `counts[0]`."""
    for inputs, _, _ in batches:
        size = int(inputs["canvas"].shape[0])
        counts[0] += size
        yield size


def table(size: int, figures: dict[str, Any], *, latency_ms: float) -> str:
    """Returns the figures of one size as people read them."""
    lines = [f"{size} px, images per second (median, minimum, maximum), processor time of an image"]
    for name, values in figures["rates"].items():
        rates = "".join(f"{rate:>8,.0f}" for rate in (figures["median"][name], min(values), max(values)))
        lines.append(f"  {name:<8}{rates}{figures['cpu_ms'][name]:>8.2f} ms")
    reached = "reached" if figures["ratio"] >= WANTED else "missed"
    lines.append(f"  remote, {latency_ms:g} ms a request: {figures['ratio']:.2f} of local (wanted {WANTED}: {reached})")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, StorageOptions, description=__doc__ or "")
