"""What predicting in ten views costs beside ten bare forward passes, how often photos are decoded, and memory.

The control is the classifier alone on images that are ready in memory, alternating with ours. Memory is that of the
whole command at two numbers of photos and of views.
Example: python benchmarks/predict.py --photos=64 --json=predict.json"""

import dataclasses
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import ROOT, in_tree, run_measured, scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, same_option
from carclf.train_options import TrainOptions

if TYPE_CHECKING:
    from carclf.data.manifest import Manifest
    from carclf.runs import Run

TARGETS = {"cpu": 1.10, "gpu": 1.03}
VIEWS = "random({count})"


@dataclasses.dataclass(frozen=True)
class PredictBenchmarkOptions(Options):
    """Every option of this benchmark."""

    photos: int = option(64, "Test photos, drawn at 640x480; memory is measured at four times as many, too.", low=1)
    views: int = option(10, "Views of each.", low=1)
    backbone: str = same_option(TrainOptions, "backbone", default="efficientnet_b0")
    image_size: int = option(224, "Pixels per side.", low=1)
    batch_size: int = option(32, "Photos per step.", low=1)
    repeats: int = option(3, "How often both are timed, alternately; the least time of each counts.", low=1)
    memory: bool = option(True, "Also run the whole command and watch its memory.")
    device: str = option("cpu", "cpu or gpu.", choices=("cpu", "gpu"))
    json: str = option("", "Also write the figures to this file.")


def main(options: PredictBenchmarkOptions) -> None:
    """Measures and prints."""
    with scratch_folder() as scratch:
        sizes = (options.photos, 4 * options.photos) if options.memory else (options.photos,)
        sets = {photos: make_set(scratch / str(photos), photos=photos) for photos in sizes}
        run = make_run(scratch / "run", sets[options.photos], backbone=options.backbone, image_size=options.image_size)
        memory = measure_memory(run, sets, options=options) if options.memory else []
        figures = measure_speed(run, sets[options.photos], options=options) | {"memory": memory}
    print(table(figures, options=options))
    if options.json:
        content = {"options": dataclasses.asdict(options)} | figures
        Path(options.json).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def make_set(folder: Path, *, photos: int, tree: Path = ROOT) -> Path:
    """Returns a data set with so many test photos of the built-in sample, made by a checkout of carclf."""
    folder = folder.resolve()
    drawn = folder / "photos"
    commands = [
        ["-m", "carclf.sample", f"--output={drawn}", f"--photos={4 * photos}", "--width=640", "--height=480"],
        [str(tree / "tools" / "make_tfrecords.py"), f"--input={drawn}", f"--output={folder / 'data'}", "--folds=3"],
    ]
    for command in commands:
        subprocess.run([sys.executable, *command], check=True, capture_output=True, **in_tree(tree))
    return folder / "data"


def make_run(
    folder: Path, data: Path, *, backbone: str, image_size: int, weights: str = "none", tree: Path = ROOT
) -> Path:
    """Returns a run of the backbone after one step, made by a checkout: its weights do not matter to the clock."""
    folder = folder.resolve()
    flags = {
        "data": data.resolve(),
        "run": folder,
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size,
        "batch_size": 4,
        "epochs": 1,
        "steps": 1,
        "device": "cpu",
    }
    command = [sys.executable, "-m", "carclf.train", *(f"--{name}={value}" for name, value in flags.items())]
    answer = subprocess.run(command, capture_output=True, text=True, **in_tree(tree))
    if answer.returncode:
        raise UserError(f"The training ended with exit code {answer.returncode}: {answer.stderr.strip()[-2000:]}")
    return folder


def measure_memory(run: Path, sets: dict[int, Path], *, options: PredictBenchmarkOptions) -> list[dict[str, Any]]:
    """Returns the private memory of the command at each number of photos, in one view and in all."""
    rows = []
    for (photos, data), views in itertools.product(sets.items(), (1, options.views)):
        measured = run_measured(
            [
                *(sys.executable, "-m", "carclf.predict", f"--run={run}", f"--data={data}"),
                *(f"--output={run / 'submission.csv'}", f"--tta={VIEWS.format(count=views)}"),
                *(f"--batch_size={options.batch_size}", f"--device={options.device}"),
            ]
        )
        rows.append({"photos": photos, "views": views, "process_mb": measured.process_mb, "seconds": measured.seconds})
    return rows


def measure_speed(folder: Path, data: Path, *, options: PredictBenchmarkOptions) -> dict[str, Any]:
    """Returns seconds of ours and of the control, their ratio, and how many photos were decoded a prediction.

    `busy_ratio` is that of processor seconds, which other work on the machine disturbs less.
    """
    from carclf import runs
    from carclf.data.manifest import load_manifest
    from carclf.device import select_device

    run, manifest = runs.load_run(folder), load_manifest(str(data))
    device = select_device(options.device)
    print(device.describe(), file=sys.stderr, flush=True)
    predict, decoded = ours(run, manifest, options=options, jit=device.jit)
    control = bare_passes(run, manifest, options=options, jit=device.jit)
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    busy: dict[str, list[float]] = {"ours": [], "bare": []}
    predict(), control()  # they compile
    decoded.clear()
    for _ in range(options.repeats):
        for name, function in (("ours", predict), ("bare", control)):
            started, busy_before = time.perf_counter(), time.process_time()
            function()
            seconds[name].append(time.perf_counter() - started)
            busy[name].append(time.process_time() - busy_before)
    return {
        "photos": manifest.photos("test"),
        "seconds": seconds,
        "ratio": min(seconds["ours"]) / min(seconds["bare"]),
        "busy_ratio": min(busy["ours"]) / min(busy["bare"]),
        "decoded": len(decoded) / options.repeats,
        "device": device.describe(),
    }


def ours(run: "Run", manifest: "Manifest", *, options: PredictBenchmarkOptions, jit: bool) -> tuple[Any, list[int]]:
    """Returns a function that predicts all test photos, and a list with an entry for each photo it has decoded."""
    from carclf.data import loader
    from carclf.inference.dataset_predictions import predict_programs
    from carclf.inference.programs import build_programs
    from carclf.recipe import parse_views

    views = parse_views(VIEWS.format(count=options.views))
    programs = build_programs(run, views=views, jit=jit)
    decoded: list[int] = []
    decode = loader.decode
    loader.decode = lambda *args, **kwargs: decoded.append(1) or decode(*args, **kwargs)  # type: ignore[func-returns-value]

    def predict() -> None:
        predict_programs([programs], manifest=manifest, split="test", views=views, batch_size=options.batch_size)

    return predict, decoded


def bare_passes(run: "Run", manifest: "Manifest", *, options: PredictBenchmarkOptions, jit: bool) -> Any:
    """Returns a function that sends as many ready images through the same classifier, once for each view."""
    import numpy as np
    import tensorflow as tf

    from carclf.inference.programs import load_classifier

    classifier, framing = load_classifier(run)
    forward = tf.function(lambda images: classifier(images, training=False), jit_compile=jit or None, autograph=False)
    rng = np.random.default_rng(0)
    shape = (options.batch_size, *framing.image_size, 3)
    images = tf.constant(rng.uniform(0, 255, shape).astype(np.float32))
    batches = -(-manifest.photos("test") // options.batch_size)

    def passes() -> None:
        for _ in range(batches * options.views):
            logits = forward(images)
        logits.numpy()

    return passes


def table(figures: dict[str, Any], *, options: PredictBenchmarkOptions) -> str:
    """Returns the figures as a printable table."""
    photos, passes = figures["photos"], figures["photos"] * options.views
    lines = [f"{options.backbone} at {options.image_size} px, {photos} photos in {options.views} views"]
    for name, what in (("ours", "predicted"), ("bare", f"{options.views} bare passes")):
        least = min(figures["seconds"][name])
        lines.append(f"{what:<18}{least:>8.2f} s{passes / least:>10.1f} views/s")
    target = TARGETS[options.device]
    busy = f"; of processor seconds {figures['busy_ratio']:.3f}" if options.device == "cpu" else ""
    lines.append(f"ratio {figures['ratio']:.3f} (wanted: at most {target:.2f}){busy}")
    lines.append(f"{figures['decoded']:.0f} photos decoded (wanted: {photos})")
    for row in figures["memory"]:
        lines.append(f"{row['photos']:>6} photos, {row['views']:>3} views: {row['process_mb']:>6.0f} MB")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, PredictBenchmarkOptions, description=__doc__ or "")
