"""How long commands take to start: `import carclf`, every `--help`, Render's compilation, the first step of a training.

The control of the first two is `python -c pass`, that of the third Keras's own bilinear resize of the same batch,
compiled by XLA as well. The first step is measured with --data, and beside that of another checkout with --before: from
the start of the process to the end of the step, in seconds and in processor seconds, which a busy machine changes less.
Each is the least of its repeats, since a busy machine only ever adds; of the first step the table has the medians, too.
Example: python benchmarks/start.py --data=data/cars --before=../carclf-before --json=start.json"""

import dataclasses
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from measuring import ROOT, busy_of_children, in_tree, scratch_folder

from carclf.__main__ import commands
from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option

TARGET_SECONDS = 1.0  # in which --help answers
BATCH = 2
IMPORT_REPEATS = 10  # an import is short
# Runs carclf.train and ends the process after its first step; the device is chosen before Keras can be imported.
FIRST_STEP = """
import os, runpy, sys
import carclf.device as device
choose = device.select_device
def select_device(*arguments, **named):
    chosen = choose(*arguments, **named)
    import keras
    def ended(self, batch, logs=None):
        float(next(iter(logs.values())))
        os._exit(0)
    keras.callbacks.CallbackList.on_train_batch_end = ended
    return chosen
device.select_device = select_device
runpy.run_module("carclf.train", run_name="__main__", alter_sys=True)
sys.exit("no step was taken")
"""
SIZES = ((224, 320), (512, 640))  # (side of the image, side of the canvas) in pixels


@dataclasses.dataclass(frozen=True)
class StartOptions(Options):
    """Every option of this benchmark."""

    repeats: int = option(3, "Times that each is measured.", low=1)
    data: str = option("", "Data set of which a training takes its first step; none measures no first step.", path=True)
    backbone: str = option("efficientnet_b0", "Backbone of that training, all of whose layers learn.")
    image_size: int = option(224, "Pixels per side of its images.", low=1)
    before: str = option("", "Another checkout of carclf, measured alternately with this one.", path=True)
    compiling: bool = option(True, "Also measure how long Render compiles.")
    json: str = option("", "Also write the figures to this file.")


def main(options: StartOptions) -> None:
    """Measures and prints."""
    trees = {"now": ROOT} | ({"before": Path(options.before).resolve()} if options.before else {})
    figures: dict[str, Any] = {
        "import_ms": import_ms(trees, repeats=options.repeats),
        "help_seconds": help_seconds(options.repeats),
    }
    if options.data:
        figures["first_step"] = first_steps(trees, options=options)
    if options.compiling:
        figures["compile_seconds"] = compile_seconds()
    print(table(figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def help_seconds(repeats: int) -> dict[str, float]:
    """Seconds of `python -m carclf.COMMAND --help` by command, and of `python -c pass`."""
    ways = {"python -c pass": ["-c", "pass"]} | {name: ["-m", f"carclf.{name}", "--help"] for name in commands()}

    def once(arguments: list[str]) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    return {name: min(timed(once(arguments)) for _ in range(repeats)) for name, arguments in ways.items()}


def import_ms(trees: Mapping[str, Path], *, repeats: int) -> dict[str, float]:
    """Milliseconds of `import carclf` in a Python that runs already, by checkout."""
    program = "import time; t = time.perf_counter(); import carclf; print(1000 * (time.perf_counter() - t))"

    def once(tree: Path) -> float:
        command = [sys.executable, "-c", program]
        return float(subprocess.run(command, check=True, capture_output=True, text=True, **in_tree(tree)).stdout)

    return {name: min(once(tree) for _ in range(max(repeats, IMPORT_REPEATS))) for name, tree in trees.items()}


def first_steps(trees: Mapping[str, Path], *, options: StartOptions) -> dict[str, dict[str, list[float]]]:
    """Seconds and processor seconds from the start of a training to the end of its first step, by checkout.

    Raises:
      UserError: a training failed.
    """
    found: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "processor": []} for name in trees}
    with scratch_folder() as scratch:
        for number in range(options.repeats):
            for name, tree in trees.items():
                flags = {
                    "data": Path(options.data).resolve(), "run": (scratch / f"{name}{number}").resolve(),
                    "backbone": options.backbone, "weights": "none", "unfreeze": "all", "device": "cpu",
                    "image_size": options.image_size, "batch_size": 8, "epochs": 1,
                }  # fmt: skip
                command = [sys.executable, "-c", FIRST_STEP, *(f"--{flag}={value}" for flag, value in flags.items())]
                busy = busy_of_children()
                started = time.perf_counter()
                answer = subprocess.run(command, capture_output=True, text=True, **in_tree(tree))
                if answer.returncode:
                    raise UserError(f"A training of {tree} failed: {answer.stderr.strip()[-2000:]}")
                found[name]["seconds"].append(time.perf_counter() - started)
                found[name]["processor"].append(busy_of_children() - busy)
                print(f"{name}: {found[name]['seconds'][-1]:.1f} s", file=sys.stderr, flush=True)
    return found


def compile_seconds() -> dict[str, dict[str, float]]:
    """Seconds from a new layer to its first batch, by the sizes of image and canvas: Render's, and a plain resize's."""
    import keras
    import numpy as np

    from carclf.model.compile import xla
    from carclf.model.render import Render

    figures = {}
    for side, canvas_side in SIZES:
        inputs = {
            "canvas": np.zeros((BATCH, canvas_side, canvas_side, 3), np.uint8),
            "extent": np.full((BATCH, 2), canvas_side, np.float32),
            "geometry": np.tile(np.eye(3, dtype=np.float32), (BATCH, 1, 1)),
            "colour": np.tile(np.eye(3, 4, dtype=np.float32), (BATCH, 1, 1)),
        }

        def resize(canvas: Any, side: int = side) -> Any:
            return keras.ops.image.resize(keras.ops.cast(canvas, "float32"), (side, side))

        render, control = Render(image_size=(side, side)), xla(resize)
        figures[f"{side} px from {canvas_side}"] = {
            "render": timed(functools.partial(called, render, inputs)),
            "resize": timed(functools.partial(called, control, inputs["canvas"])),
        }
    return figures


def called(function: Callable[[Any], Any], argument: Any) -> Any:
    """Returns what the function computes, on the host."""
    import numpy as np

    return np.asarray(function(argument))


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def table(figures: dict[str, Any]) -> str:
    """The figures as people read them."""
    bare = figures["help_seconds"]["python -c pass"]
    milliseconds = ", ".join(f"{name} {value:.1f}" for name, value in figures["import_ms"].items())
    lines = [f"milliseconds of import carclf: {milliseconds}"]
    steps = figures.get("first_step", {})
    if steps:
        lines.append("seconds until the first step of a training has ended: least, median; the same of the processor")
    for name, of in steps.items():
        both = [f"{min(values):6.1f}{statistics.median(values):7.1f}" for values in of.values()]
        lines.append(f"  {name:<16}{both[0]}   {both[1]}{compared(of, steps.get('before'))}")
    lines += [f"seconds of --help (wanted: below {TARGET_SECONDS:g}), and how many times those of python -c pass"]
    lines += [f"  {name:<16}{value:7.3f}{value / bare:7.1f}" for name, value in figures["help_seconds"].items()]
    if "compile_seconds" in figures:
        lines.append("seconds until the first batch, compiled by XLA")
    for sizes, ways in figures.get("compile_seconds", {}).items():
        lines.append(f"  {sizes:<16} Render {ways['render']:.2f}, resize {ways['resize']:.2f}")
    return "\n".join(lines)


def compared(of: dict[str, list[float]], before: dict[str, list[float]] | None) -> str:
    """The medians as shares of those before."""
    if before is None or of is before:
        return ""
    shares = {name: statistics.median(of[name]) / statistics.median(before[name]) for name in of}
    return f"   {shares['seconds']:.2f} x before, processor {shares['processor']:.2f} x"


if __name__ == "__main__":
    run_command(main, StartOptions, description=__doc__ or "")
