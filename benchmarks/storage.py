"""Compares the input of training from an object store, simulated with latency, with the same from a local disk.

Both read the same files, in turn, the first epoch and the one after it; the store answers each request after
--latency_ms. Without --photos they are drawn. The processor time of an image tells what the requests themselves cost,
also on a machine that does other work.
Example: python benchmarks/storage.py --photos=data/cars --json=storage.json"""

import dataclasses
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from input import convert, our_batches, prepare_photos
from measuring import run_python, scratch_folder

from carclf.command import run_command
from carclf.data.index import read_index
from carclf.data.manifest import load_manifest
from carclf.errors import UserError
from carclf.flags import Options, option

WANTED = 0.9
EPOCHS = ("first", "second")


@dataclasses.dataclass(frozen=True)
class StorageOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of JPEG photos, resized to 640x480 first; by default drawn.")
    most: int = option(3000, "Maximum number of photos.", low=1)
    latency_ms: float = option(30.0, "Milliseconds from a request to its answer.", low=0)
    batch_size: int = option(32, "Photos per batch.", low=1)
    sizes: str = option("224,512", "Image sizes, pixels.")
    repeats: int = option(5, "Measurements of each, alternating.", low=1)
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
    """Returns the figures of both at one size, for each epoch.

    images per second of each measurement, their medians, the ratio of these, and processor time of an image.
    """
    places = {"local": data, "remote": f"slow://{data}"}
    rates: dict[str, dict[str, list[float]]] = {epoch: {name: [] for name in places} for epoch in EPOCHS}
    milliseconds: dict[str, dict[str, list[float]]] = {epoch: {name: [] for name in places} for epoch in EPOCHS}
    for _ in range(options.repeats):
        for name, where in places.items():
            for epoch, (rate, cpu) in zip(EPOCHS, measure_epochs(where, size=size, options=options), strict=True):
                rates[epoch][name].append(rate)
                milliseconds[epoch][name].append(cpu)
    figures = {}
    for epoch in EPOCHS:
        median = {name: statistics.median(values) for name, values in rates[epoch].items()}
        figures[epoch] = {
            "rates": rates[epoch],
            "median": median,
            "ratio": median["remote"] / median["local"],
            "cpu_ms": {name: statistics.median(values) for name, values in milliseconds[epoch].items()},
        }
    return figures


def measure_epochs(where: str, *, size: int, options: StorageOptions) -> list[tuple[float, float]]:
    """Returns (images per second, milliseconds of processor time per image) of each epoch, the first from its start."""
    batch_size = options.batch_size
    batches = iter(our_batches(where, size=size, batch_size=batch_size))
    per_epoch = len(read_index(load_manifest(where))) // batch_size
    figures = []
    for _ in EPOCHS:
        started, processor = time.perf_counter(), time.process_time()
        for _ in range(per_epoch):
            next(batches)
        images = per_epoch * batch_size
        rate = images / (time.perf_counter() - started)
        figures.append((rate, 1000 * (time.process_time() - processor) / images))
    return figures


def table(size: int, figures: dict[str, Any], *, latency_ms: float) -> str:
    """Returns the figures of one size as people read them."""
    lines = [f"{size} px, images per second (median, minimum, maximum), processor time of an image"]
    for epoch, found in figures.items():
        for name, values in found["rates"].items():
            rates = "".join(f"{rate:>8,.0f}" for rate in (found["median"][name], min(values), max(values)))
            lines.append(f"  {epoch} epoch, {name:<8}{rates}{found['cpu_ms'][name]:>8.2f} ms")
        reached = "reached" if found["ratio"] >= WANTED else "missed"
        lines.append(f"    {latency_ms:g} ms a request: {found['ratio']:.2f} of local (wanted {WANTED}: {reached})")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, StorageOptions, description=__doc__ or "")
