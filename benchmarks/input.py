"""Compares the input path with its limit and with other tools: from shards to batches, with and without Render.

Every way reads the same photos and applies the notebook's augmentation (rotate, shift, flip, brightness); the limit
only decodes. The ways alternate on the same cores, and medians count. "halved to fit" decodes as version 0.1.0 did:
photos are halved until they fit a canvas chosen from --max_side alone, though they then have too few pixels.
Example: python benchmarks/input.py --photos=data/cars --json=input.json"""

import dataclasses
import functools
import importlib.util
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from decode_size import halving_canvas
from measuring import scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option
from carclf.framing import Framing

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "make_tfrecords.py"
PHOTO_PX = (640, 480)
SIZES = (224, 512)
RECIPE = "notebook"
Rate = Callable[[float], float]
"""Runs for this many seconds and returns images per second."""


@dataclasses.dataclass(frozen=True)
class InputOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of class folders of JPEG photos; they are resized first.")
    photo_size: str = option("640x480", "WIDTHxHEIGHT in pixels that photos are resized to.")
    most: int = option(400, "Maximum number of photos.", low=1)
    batch_size: int = option(32, "Photos per batch.", low=1)
    seconds: float = option(4.0, "Seconds per measurement.", above=0)
    repeats: int = option(3, "Number of measurements of each way, alternating.", low=1)
    peers: bool = option(True, "Also measure other tools that are installed.")
    render: bool = option(True, "Also measure Render.")
    processor: bool = option(False, "Divide by processor seconds instead, which other processes do not change.")
    sizes: str = option("224,512", "Image sizes, pixels.")
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.photos:
            raise UserError("--photos is missing: give a folder of JPEG photos.")
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.photo_size):
            raise UserError(f"--photo_size={self.photo_size} is no WIDTHxHEIGHT: write 500x375.")

    @property
    def photo_px(self) -> tuple[int, int]:
        """(width, height) of the photos."""
        width, height = map(int, self.photo_size.split("x"))
        return width, height


def main(options: InputOptions) -> None:
    """Measures and prints."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from carclf.device import select_device

    select_device("cpu")
    with scratch_folder() as scratch:
        photos = prepare_photos(Path(options.photos), scratch / "photos", most=options.most, size=options.photo_px)
        figures: dict[str, Any] = {"photos": len(photos), "mean_bytes": mean_bytes(photos), "sizes": {}}
        data = convert(scratch / "photos", scratch / "data")
        for size in [int(text) for text in options.sizes.split(",")]:
            figures["sizes"][size] = measure_size(size, data, photos, options)
            print(table(size, figures["sizes"][size]), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def prepare_photos(source: Path, folder: Path, *, most: int, size: tuple[int, int] = PHOTO_PX) -> list[Path]:
    """Returns JPEG photos of one (width, height) and of quality 90 in class folders, so that every way reads the same.

    Raises:
      UserError: there are no photos.
    """
    from PIL import Image, ImageOps

    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    step = max(1, len(found) // most)
    chosen = found[::step][:most]
    if not chosen:
        raise UserError(f"There is no JPEG photo under --photos={source}: give another folder.")
    made = []
    for number, path in enumerate(chosen):
        target = folder / str(number % 2) / f"{number:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as photo:
            upright = ImageOps.exif_transpose(photo).convert("RGB")
            upright.resize(size, Image.Resampling.LANCZOS).save(target, quality=90)
        made.append(target)
    return made


def mean_bytes(photos: Sequence[Path]) -> int:
    """Returns bytes of a photo on average."""
    return sum(path.stat().st_size for path in photos) // len(photos)


def convert(photos: Path, output: Path) -> str:
    """Returns the folder of the data set made of the photos."""
    command = [sys.executable, str(TOOL), f"--input={photos}", f"--output={output}", "--folds=2", "--nonear_duplicates"]
    subprocess.run(command, check=True, capture_output=True)
    return str(output)


def measure_size(size: int, data: str, photos: Sequence[Path], options: InputOptions) -> dict[str, Any]:
    """Images per second of every way at one size: lists of measurements, medians, and ratios to the limit."""
    framings = {"limit": Framing((size, size)), "limit, halved to fit": HalvedToFit((size, size))}
    ways: dict[str, Rate] = {
        name: limit(photos, framing=framing, photo_px=options.photo_px) for name, framing in framings.items()
    }
    ours = our_ways(data, size=size, batch_size=options.batch_size)
    ways |= {name: way for name, way in ours.items() if options.render or "Render" not in name}
    ways |= render_ways(data, size=size, batch_size=options.batch_size) if options.render else {}
    if options.peers:
        ways |= peers(photos[0].parent.parent, size=size, batch_size=options.batch_size)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, rate in ways.items():
            started, worked = time.perf_counter(), time.process_time()
            rates[name].append(rate(options.seconds))
            if options.processor:
                rates[name][-1] *= (time.perf_counter() - started) / (time.process_time() - worked)
    median = {name: statistics.median(values) for name, values in rates.items()}
    steps = flow(data, size=size, options=options) if options.render else {}
    return {
        "rates": rates,
        "median": median,
        "flow": steps,
        "second": "processor second" * options.processor or "second",
    }


def count_images(batches: Iterator[int], seconds: float) -> float:
    """Returns the images per second of an iterator over the sizes of batches; the first three are not counted."""
    for _ in range(3):
        next(batches)
    started, images = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        images += next(batches)
    return images / elapsed


class HalvedToFit(Framing):
    """A framing whose photos are decoded as version 0.1.0 did."""

    def has_detail(self, height: Any, width: Any, xp: Any) -> Any:
        """Returns whether twice the size does not fit the canvas, so that a photo may be halved to this size."""
        return 2 * xp.maximum(height, width) > halving_canvas(max(self.image_size))


def limit(photos: Sequence[Path], *, framing: Framing, photo_px: tuple[int, int]) -> Rate:
    """Returns the rate of bare libjpeg-turbo, one thread per core, on bytes in memory, at the size of ours."""
    import simplejpeg

    from carclf.data.decoder import decode_sizes

    sizes = decode_sizes(np.array([photo_px[::-1]]), framing=framing)
    (ratio,), (height, width) = sizes.ratios.tolist(), sizes.canvas_size
    reduced = {"min_height": height, "min_width": width, "min_factor": ratio} if ratio > 1 else {}
    encoded = [path.read_bytes() for path in photos]
    cores = os.cpu_count() or 2

    def decode(content: bytes) -> int:
        return int(simplejpeg.decode_jpeg(content, fastdct=True, fastupsample=True, **reduced).shape[0] > 0)

    def rate(seconds: float) -> float:
        with ThreadPoolExecutor(cores) as pool:
            decoded: list[int] = []
            started = time.perf_counter()
            while (elapsed := time.perf_counter() - started) < seconds:
                decoded += pool.map(decode, encoded)
            return len(decoded) / elapsed

    return rate


def our_batches(data: str, *, size: int, batch_size: int, cached: bool = False, kind: type[Framing] = Framing) -> Any:
    """Returns the training batches of carclf, without end; with a cache in memory if wanted."""
    from carclf.data.cache import open_cache
    from carclf.data.index import sizes_for
    from carclf.data.manifest import load_manifest
    from carclf.data.pipeline import training_batches
    from carclf.recipe import parse_recipe

    manifest = load_manifest(data)
    framing = kind((size, size))
    sizes = sizes_for(manifest, framing=framing)
    wanted = np.arange(len(sizes.ratios))
    return training_batches(
        manifest=manifest,
        folds=manifest.folds,
        framing=framing,
        recipe=parse_recipe(RECIPE),
        batch_size=batch_size,
        epochs=10_000,
        seed=1,
        cache=open_cache("ram", manifest=manifest, wanted=wanted, sizes=sizes) if cached else None,
    )


def our_ways(data: str, *, size: int, batch_size: int) -> dict[str, Rate]:
    """Returns the rates of carclf: the host alone, and host and Render on the same cores."""
    from carclf.data.manifest import load_manifest
    from carclf.model.render import Render

    layer = Render(image_size=size, mixing=False, erasing=False)

    def host(seconds: float, *, kind: type[Framing] = Framing) -> float:
        batches = iter(our_batches(data, size=size, batch_size=batch_size, kind=kind))
        return count_images((int(inputs["canvas"].shape[0]) for inputs, _, _ in batches), seconds)

    def rendered(seconds: float) -> float:
        batches = iter(our_batches(data, size=size, batch_size=batch_size))
        return count_images((int(layer(inputs).shape[0]) for inputs, _, _ in batches), seconds)

    def second_epoch(seconds: float) -> float:
        batches = iter(our_batches(data, size=size, batch_size=batch_size, cached=True))
        photos = load_manifest(data).photos("train")
        for _ in range(photos // batch_size + 1):  # the remainder of an epoch is decoded in a later one
            next(batches)
        return count_images((int(inputs["canvas"].shape[0]) for inputs, _, _ in batches), seconds)

    return {
        "carclf, host": host,
        "carclf, host, halved to fit": functools.partial(host, kind=HalvedToFit),
        "carclf, host, from --cache=ram": second_epoch,
        "carclf, host and Render": rendered,
    }


def render_ways(data: str, *, size: int, batch_size: int) -> dict[str, Rate]:
    """Returns the rates of Render on one ready batch, of a plain version, and of the same recipe in Keras layers."""
    import keras
    import tensorflow as tf

    from carclf.model.render import Render

    inputs, _, _ = next(iter(our_batches(data, size=size, batch_size=batch_size)))
    layers = keras.Sequential(
        [
            keras.layers.Resizing(size, size),
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(10 / 360, fill_mode="nearest"),
            keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
            keras.layers.RandomBrightness(0.5),
        ]
    )
    photos = tf.cast(inputs["canvas"], tf.float32)
    plain = tf.function(lambda batch: plain_render(batch, size=size), jit_compile=True, autograph=False)
    augment = tf.function(lambda images: layers(images, training=True))
    layer = Render(image_size=size, mixing=False, erasing=False)
    functions: dict[str, Callable[[], Any]] = {
        "Render": lambda: layer(inputs),
        "plain render (einsum)": lambda: plain(inputs),
        "Keras layers": lambda: augment(photos),
    }

    def timed(function: Callable[[], Any]) -> Rate:
        def batches() -> Iterator[int]:
            while True:
                function().numpy()
                yield batch_size

        return lambda seconds: count_images(batches(), seconds)

    return {name: timed(function) for name, function in functions.items()}


def plain_render(batch: dict[str, Any], *, size: int) -> Any:
    """Returns the images by a plain version of Render: four gathers of pixels, one einsum for the colours."""
    import tensorflow as tf

    canvas, extent = batch["canvas"], batch["extent"]
    count, side = canvas.shape[0], canvas.shape[1]
    centres = (2.0 * tf.range(size, dtype=tf.float32) + 1.0 - size) / size
    v, u = tf.meshgrid(centres, centres, indexing="ij")
    points = tf.stack([u, v, tf.ones_like(u)], axis=-1)
    mapped = tf.einsum("bij,hwj->bhwi", batch["geometry"], points)
    mapped = mapped[..., :2] / mapped[..., 2:]
    wide, high = extent[:, 1, None, None], extent[:, 0, None, None]
    x = tf.clip_by_value((mapped[..., 0] + 1) * wide / 2 - 0.5, 0.0, wide - 1)
    y = tf.clip_by_value((mapped[..., 1] + 1) * high / 2 - 0.5, 0.0, high - 1)
    left, top = tf.floor(x), tf.floor(y)
    image = tf.zeros([count, size, size, 3])
    table = tf.reshape(tf.cast(canvas, tf.float32), [-1, 3])
    first = tf.range(count)[:, None, None] * side * side
    for down in (0, 1):
        for across in (0, 1):
            column, row = tf.minimum(left + across, wide - 1), tf.minimum(top + down, high - 1)
            weight = (x - left if across else 1 - (x - left)) * (y - top if down else 1 - (y - top))
            index = first + tf.cast(row, tf.int32) * side + tf.cast(column, tf.int32)
            image += weight[..., None] * tf.gather(table, index)
    image = tf.einsum("bij,bhwj->bhwi", batch["colour"][:, :, :3], image) + batch["colour"][:, None, None, :, 3]
    return tf.clip_by_value(image, 0.0, 255.0)


def peers(folder: Path, *, size: int, batch_size: int) -> dict[str, Rate]:
    """Returns the rates of the other installed tools, used as is usual for them."""
    found: dict[str, Rate] = {}
    if importlib.util.find_spec("scipy"):
        found["ImageDataGenerator"] = lambda seconds: image_data_generator(folder, size, batch_size, seconds)
    found["image_dataset_from_directory and Keras layers"] = lambda seconds: keras_guide(
        folder, size, batch_size, seconds
    )
    if all(importlib.util.find_spec(name) for name in ("torch", "albumentations", "cv2")):
        found["torch and albumentations, 2 workers"] = lambda seconds: torch_loader(folder, size, batch_size, seconds)
    return found


def image_data_generator(folder: Path, size: int, batch_size: int, seconds: float) -> float:
    """Returns the notebook's way."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    generator = ImageDataGenerator(
        rotation_range=10,
        width_shift_range=0.1,
        height_shift_range=0.1,
        brightness_range=[0.5, 1.5],
        horizontal_flip=True,
    )
    batches = generator.flow_from_directory(str(folder), target_size=(size, size), batch_size=batch_size, shuffle=True)
    return count_images((len(next(batches)[0]) for _ in iter(int, 1)), seconds)


def keras_guide(folder: Path, size: int, batch_size: int, seconds: float) -> float:
    """Returns the Keras guide's way."""
    import keras

    layers = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(10 / 360),
            keras.layers.RandomTranslation(0.1, 0.1),
            keras.layers.RandomBrightness(0.5),
        ]
    )
    photos = keras.utils.image_dataset_from_directory(
        str(folder), image_size=(size, size), batch_size=batch_size, verbose=False
    ).repeat()
    batches = iter(photos.map(lambda x, y: layers(x, training=True), num_parallel_calls=2).prefetch(2))
    return count_images((int(batch.shape[0]) for batch in batches), seconds)


def torch_loader(folder: Path, size: int, batch_size: int, seconds: float) -> float:
    """Returns DataLoader, OpenCV and albumentations with two workers."""
    import albumentations
    import cv2
    import torch

    files = sorted(str(path) for path in folder.rglob("*.jpg"))
    cv2.setNumThreads(0)
    transform = albumentations.Compose(
        [
            albumentations.Resize(size, size),
            albumentations.HorizontalFlip(),
            albumentations.Affine(rotate=(-10, 10), translate_percent=0.1),
            albumentations.RandomBrightnessContrast(brightness_limit=0.5, contrast_limit=0, p=1),
        ]
    )

    class Photos(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 10**6

        def __getitem__(self, index: int) -> Any:
            pixels = cv2.cvtColor(cv2.imread(files[index % len(files)]), cv2.COLOR_BGR2RGB)
            return transform(image=pixels)["image"]

    loader = torch.utils.data.DataLoader(Photos(), batch_size, num_workers=2, multiprocessing_context="fork")
    return count_images((len(batch.float()) for batch in loader), seconds)


def flow(data: str, *, size: int, options: InputOptions) -> dict[str, float]:
    """Returns the milliseconds that each step adds to a batch, host steps on all cores."""
    from carclf import storage
    from carclf.data import index, loader
    from carclf.data.decoder import decode
    from carclf.data.index import sizes_for
    from carclf.data.manifest import load_manifest
    from carclf.model.render import Render

    manifest = load_manifest(data)
    entries = index.read_index(manifest)
    sizes = sizes_for(manifest, framing=Framing((size, size)))
    photos = loader.PhotoLoader(manifest, entries, numbers=np.arange(len(entries)), sizes=sizes)
    ratios = sizes.ratios
    pool = ThreadPoolExecutor(loader.usable_cores())

    def batch_of(step: Callable[[int], Any]) -> Callable[[np.ndarray], Any]:
        """Returns a function that runs a step for every photo of a batch, one part per core as in the loader."""

        def part(indices: np.ndarray) -> None:
            for photo in indices:
                step(photo)

        return lambda indices: list(pool.map(part, np.array_split(indices, loader.usable_cores())))

    def milliseconds(function: Callable[[np.ndarray], Any]) -> float:
        def batches() -> Iterator[int]:
            for number in itertools.count():
                function((np.arange(options.batch_size) + number * options.batch_size) % len(entries))
                yield options.batch_size

        return 1000 * options.batch_size / count_images(batches(), options.seconds / 2)

    whole = iter(our_batches(data, size=size, batch_size=options.batch_size))
    inputs, _, _ = next(whole)
    layer = Render(image_size=size, mixing=False, erasing=False)
    cores = loader.usable_cores()
    ranges = storage.RangeReader()

    def read_photo(photo: int) -> memoryview:
        return index.read_photo(manifest, entries[photo], read=ranges)

    read = batch_of(read_photo)
    decoded = batch_of(lambda photo: decode(read_photo(photo), ratio=int(ratios[photo])))
    totals = {
        "read": milliseconds(read),
        "decode": milliseconds(decoded),
        "batch": milliseconds(lambda indices: list(pool.map(photos.load, np.array_split(indices, cores)))),
        "draw and hand over": milliseconds(lambda _: next(whole)),
    }
    before = [0.0, *totals.values()]
    added = {name: total - earlier for (name, total), earlier in zip(totals.items(), before, strict=False)}
    added["render"] = milliseconds(lambda _: layer(inputs).numpy())
    return added


def table(size: int, figures: dict[str, Any]) -> str:
    """Returns the figures of one size as people read them."""
    median = figures["median"]
    lines = ["", f"{size} px, images per {figures['second']} (median, minimum, maximum)"]
    for name, values in figures["rates"].items():
        fraction = f"{median[name] / median['limit']:>8.2f} of the limit" if name != "limit" else ""
        if name == "carclf, host, halved to fit":
            fraction += f", {median[name] / median['limit, halved to fit']:.2f} of its own"
        lines.append(f"  {name:<48}{median[name]:>8,.0f}{min(values):>8,.0f}{max(values):>8,.0f}{fraction}")
    if not figures["flow"]:
        return "\n".join(lines)
    for name in ("plain render (einsum)", "Keras layers"):
        lines.append(f"  Render is {median['Render'] / median[name]:.2f} times {name}")
    parts = ", ".join(f"{name} {value:.1f}" for name, value in figures["flow"].items())
    lines.append(f"  milliseconds per batch, added by each step: {parts}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, InputOptions, description=__doc__ or "")
