"""Predicting on a CPU by each engine beside Keras: the whole command, and bare passes over images in memory.

The control is the same with --engine=keras, alternating with the others; medians count. On a shared machine, processor
seconds tell more than seconds. The largest difference of a probability from Keras's is printed. With --before, another
checkout draws the same photos and trains the same step, and its command is the control of the commands.
Example: python benchmarks/engines.py --backbone=mobilenet_v2 --weights=mobilenet_v2.weights.h5 --json=engines.json"""

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import ROOT, busy_of_children, in_tree, scratch_folder
from predict import make_run, make_set

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, same_option
from carclf.train_options import TrainOptions

CONTROL = "keras"
BEFORE = "before"
OTHERS = ("onnxruntime", "openvino")


@dataclasses.dataclass(frozen=True)
class EnginesOptions(Options):
    """Every option of this benchmark."""

    data: str = option("", "Data set whose test photos are predicted; by default one is drawn.", path=True)
    photos: int = option(400, "Test photos to draw, of 640x480.", low=1)
    backbone: str = same_option(TrainOptions, "backbone", default="efficientnet_b0")
    weights: str = option("none", "Weights file of the backbone, or none for random ones.", path=True)
    image_size: int = option(224, "Pixels per side.", low=1)
    batch_size: int = option(32, "Photos per step.", low=1)
    repeats: int = option(5, "How often each is measured.", low=1)
    before: str = option("", "Another checkout of carclf, whose whole command is measured alternately.", path=True)
    commands: bool = option(True, "Also run the whole command; else only bare passes.")
    json: str = option("", "Also write the figures to this file.")


def main(options: EnginesOptions) -> None:
    """Measures and prints."""
    with scratch_folder() as scratch:
        data = Path(options.data) if options.data else make_set(scratch / "set", photos=options.photos)
        run = _run(scratch / "run", data, options=options)
        commands = measure_commands(run, data, scratch.resolve(), options=options) if options.commands else {}
        photos, bare = measure_bare(run, data, options=options)
    figures = {"photos": photos, "commands": commands, "bare": bare}
    print(table(figures, options=options))
    if options.json:
        content = {"options": dataclasses.asdict(options)} | figures
        Path(options.json).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def measure_commands(run: Path, data: Path, scratch: Path, *, options: EnginesOptions) -> dict[str, Any]:
    """Returns seconds and processor seconds of `carclf.predict` by each engine, and what it said of the engines."""
    names = (CONTROL, *OTHERS, "auto")
    inputs = [f"--run={run.resolve()}", f"--data={data.resolve()}", "--decision=plain"]
    commands = {name: (ROOT, [*inputs, f"--engine={name}"]) for name in names}
    if options.before:
        commands[BEFORE] = _before(scratch, options)
    found: dict[str, Any] = {name: {"seconds": [], "busy": [], "said": ""} for name in commands}
    for _ in range(options.repeats):
        for name, (tree, flags) in commands.items():
            started, busy_before = time.perf_counter(), busy_of_children()
            answer = subprocess.run(
                [
                    *(sys.executable, "-m", "carclf.predict", *flags, f"--output={scratch / name}.csv"),
                    *(f"--probabilities={scratch / name}-all.csv", "--device=cpu"),
                    f"--batch_size={options.batch_size}",
                ],
                capture_output=True,
                text=True,
                **in_tree(tree),
            )
            if answer.returncode:
                raise UserError(f"{name} ended with {answer.returncode}: {answer.stderr.strip()[-2000:]}")
            found[name]["seconds"].append(time.perf_counter() - started)
            found[name]["busy"].append(busy_of_children() - busy_before)
            print(
                f"{name}: {found[name]['seconds'][-1]:.1f} s, processor {found[name]['busy'][-1]:.1f}",
                file=sys.stderr,
                flush=True,
            )
            found[name]["said"] = "; ".join(line for line in answer.stdout.splitlines() if line.startswith("Engine"))
    for name in names:
        found[name]["difference"] = _difference(scratch / f"{name}-all.csv", scratch / f"{CONTROL}-all.csv")
    return found


def _before(scratch: Path, options: EnginesOptions) -> tuple[Path, list[str]]:
    """Returns the other checkout and its inputs, which it has made itself: it may not know the formats of today."""
    tree = Path(options.before).resolve()
    data = make_set(scratch / "before", photos=options.photos, tree=tree)
    run = _run(scratch / "before" / "run", data, options=options, tree=tree)
    return tree, [f"--run={run}", f"--data={data}"]


def _run(folder: Path, data: Path, *, options: EnginesOptions, tree: Path = ROOT) -> Path:
    weights = options.weights if options.weights == "none" else str(Path(options.weights).resolve())
    size = options.image_size
    return make_run(folder, data, backbone=options.backbone, image_size=size, weights=weights, tree=tree)


def _difference(path: Path, control: Path) -> float:
    """Returns the largest difference of a probability between two files."""
    import pandas as pd

    ours, theirs = pd.read_csv(path), pd.read_csv(control)
    names = [name for name in theirs.select_dtypes("number") if name not in ("Id", "id", "margin")]
    return float((ours[names] - theirs[names]).abs().to_numpy().max())


def measure_bare(folder: Path, data: Path, *, options: EnginesOptions) -> tuple[int, dict[str, Any]]:
    """Returns the number of test photos, and seconds and processor seconds per image of passes over images."""
    from carclf import runs
    from carclf.data.manifest import load_manifest
    from carclf.data.view_batches import view_batches
    from carclf.device import select_device

    select_device("cpu")

    from carclf.engines.frozen import freeze
    from carclf.engines.table import ENGINES
    from carclf.inference.programs import build_programs
    from carclf.model.photo_classifier import network_of
    from carclf.recipe import parse_views
    from carclf.workers import usable_cores

    (program,) = build_programs(runs.load_run(folder), views=parse_views("clean"), jit=False)
    manifest = load_manifest(str(data))
    batches = view_batches(
        manifest=manifest, split="test", folds=None, batch_size=options.batch_size, view_sets=[program.view_set]
    )
    batch = next(iter(batches))
    images = program.images({"canvas": batch["canvas"], "extent": batch["extent"]}, batch["draws"][0], 0)
    graph = freeze(network_of(program.photo_classifier))
    forwards: dict[str, Callable[..., Any]] = {CONTROL: graph.by_keras}
    for name in OTHERS:
        load = ENGINES[name].load
        assert load is not None
        forwards[name] = load(graph, usable_cores())
    found: dict[str, Any] = {name: {"seconds": [], "busy": []} for name in forwards}
    for forward in forwards.values():
        forward(images)
    for _ in range(2 * options.repeats):
        for name, forward in forwards.items():
            started, busy_before = time.perf_counter(), time.process_time()
            forward(images)
            found[name]["seconds"].append((time.perf_counter() - started) / len(images))
            found[name]["busy"].append((time.process_time() - busy_before) / len(images))
    return manifest.photos("test"), found


def table(figures: dict[str, Any], *, options: EnginesOptions) -> str:
    """Returns the medians as a printable table, each with how many times as fast as the control it is."""
    lines = [f"{options.backbone} at {options.image_size} px, {figures['photos']} photos"]
    for what, unit, factor in (("commands", "s", 1.0), ("bare", "ms an image", 1000.0)):
        if not figures[what]:
            continue
        beside = figures[what].get(BEFORE, figures[what][CONTROL])
        control = {key: statistics.median(beside[key]) for key in ("seconds", "busy")}
        for name, of in figures[what].items():
            seconds, busy = (statistics.median(of[key]) for key in ("seconds", "busy"))
            line = f"{what:<10}{name:<14}{factor * seconds:>8.2f} {unit} ({control['seconds'] / seconds:.2f} x)"
            line += f", processor {factor * busy:.2f} ({control['busy'] / busy:.2f} x)"
            if "difference" in of:
                line += f", differs by {of['difference']:.1g}"
            lines.append(f"{line}. {of['said']}" if of.get("said") else line)
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, EnginesOptions, description=__doc__ or "")
