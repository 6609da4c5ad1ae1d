"""How long `--help` takes to answer, of every command, beside the Python that runs it; and how long Render compiles.

The control of the first is `python -c pass`, that of the second Keras's own bilinear resize of the same batch, compiled
by XLA as well. Each is the least of its repeats, since a busy machine only ever adds.
Example: python benchmarks/start.py --json=start.json"""

import dataclasses
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from carclf.__main__ import commands
from carclf.command import run_command
from carclf.flags import Options, option

TARGET_SECONDS = 1.0  # in which --help answers
BATCH = 2
SIZES = ((224, 320), (512, 640))  # (side of the image, side of the canvas) in pixels


@dataclasses.dataclass(frozen=True)
class StartOptions(Options):
    """Every option of this benchmark."""

    repeats: int = option(3, "Times that each is measured.", low=1)
    compiling: bool = option(True, "Also measure how long Render compiles.")
    json: str = option("", "Also write the figures to this file.")


def main(options: StartOptions) -> None:
    """Measures and prints."""
    figures: dict[str, Any] = {"help_seconds": help_seconds(options.repeats)}
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
    lines = [f"seconds of --help (wanted: below {TARGET_SECONDS:g}), and how many times those of python -c pass"]
    lines += [f"  {name:<16}{value:7.3f}{value / bare:7.1f}" for name, value in figures["help_seconds"].items()]
    if "compile_seconds" in figures:
        lines.append("seconds until the first batch, compiled by XLA")
    for sizes, ways in figures.get("compile_seconds", {}).items():
        lines.append(f"  {sizes:<16} Render {ways['render']:.2f}, resize {ways['resize']:.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, StartOptions, description=__doc__ or "")
