"""`make demo`: all steps on drawn photos, with the commands that a user types, and the score next to a control.

Example: python benchmarks/demo.py --output=demo"""

import csv
import dataclasses
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option

ROOT = Path(__file__).resolve().parent.parent
MIN_ACCURACY = 0.90
MAX_CONTROL_ACCURACY = 0.50
LAST_RUN = "demo_3"
PRETRAINED = "efficientnet_lite0"
PRETRAINED_STAGE, PRETRAINED_RUN = "lite0_224_head", "lite0_224_head"
VIEWS = "clean|flip|zoom(1.1)|flip+zoom(1.1)"


@dataclasses.dataclass(frozen=True)
class DemoOptions(Options):
    """Every option of the demo."""

    output: str = option("demo", "Folder for photos, data set, runs and submission; finished parts are kept.")
    photos: int = option(1600, "Number of training photos to draw; a quarter as many test photos.", low=1)
    width: int = option(320, "Width of a drawn photo in pixels.", low=1)
    height: int = option(240, "Height of a drawn photo in pixels.", low=1)
    seed: int = option(42, "Seed of photos, folds and training.", low=0)
    json: str = option("", "Also write the figures to this file.")


def main(options: DemoOptions) -> int:
    """Runs every step, and returns 1 if the accuracy of submission or control is out of range."""
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    seconds = {}
    for name, command in steps(output, options).items():
        started = time.perf_counter()
        run(command)
        seconds[name] = time.perf_counter() - started
    started = time.perf_counter()
    control = control_accuracy(output / "photos")
    seconds["control"] = time.perf_counter() - started
    accuracy, photos = score(output / "submission.csv", output / "photos" / "solution.csv")
    figures = {"accuracy": accuracy, "control_accuracy": control, "test_photos": photos, "seconds": seconds}
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(closing_lines(figures, output))
    return exit_code(accuracy=accuracy, control=control)


def steps(output: Path, options: DemoOptions) -> dict[str, list[str]]:
    """Returns the commands by name, in order, without the interpreter."""
    data = f"--data={output / 'data'}"
    runs = f"--runs={output / 'runs'}"
    size = [f"--width={options.width}", f"--height={options.height}"]
    commands = {
        "draw": [
            *("-m", "carclf.sample", f"--output={output / 'photos'}", f"--photos={options.photos}"),
            *(*size, f"--seed={options.seed}"),
        ],
        "convert": [
            *("tools/make_tfrecords.py", f"--input={output / 'photos'}", f"--output={output / 'data'}"),
            f"--seed={options.seed}",
        ],
        "train": [
            *("-m", "carclf.train", "--flagfile=stages/demo.flags", data, runs),
            f"--seed={options.seed}",
        ],
        "evaluate": ["-m", "carclf.evaluate", f"--run={LAST_RUN}", runs, data, f"--tta={VIEWS}"],
        "predict": [
            *("-m", "carclf.predict", f"--run={LAST_RUN}", runs, data, f"--tta={VIEWS}"),
            f"--output={output / 'submission.csv'}",
        ],
    }
    if has_pretrained():
        commands["pretrained"] = [
            *("-m", "carclf.train", f"--flagfile=stages/{PRETRAINED_STAGE}.flags", data, runs),
            f"--seed={options.seed}",
        ]
    return commands


def has_pretrained() -> bool:
    """Returns whether the extra lite is installed, with ImageNet weights of a small network."""
    from carclf.model.local_weights import backbones_with_local_weights

    return any(backbone.name == PRETRAINED for backbone in backbones_with_local_weights())


def run(command: list[str]) -> None:
    """Prints a command as a user types it, and runs it.

    Raises:
      UserError: it failed.
    """
    print(f"\n$ python {shlex.join(command)}", flush=True)
    paths = [str(ROOT / word) if word.startswith("tools/") else word for word in command]
    paths = [word.replace("=stages/", f"={ROOT}/stages/") for word in paths]
    if code := subprocess.run([sys.executable, *paths]).returncode:
        raise UserError(f"The step above ended with exit code {code}: see its messages.")


def control_accuracy(photos: Path) -> float:
    """Returns test accuracy of a logistic regression on 16x16 pixels."""
    from sample_control import measure_control

    return float(measure_control(photos)["control_accuracy"])


def score(submission: Path, solution: Path) -> tuple[float, int]:
    """Returns (accuracy, photos) of a submission against the true labels."""

    def labels(path: Path) -> dict[str, str]:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["Id"]: row["Category"] for row in csv.DictReader(file)}

    predicted, true = labels(submission), labels(solution)
    return sum(predicted[photo] == label for photo, label in true.items()) / len(true), len(true)


def validation(run: Path) -> str:
    """Returns the accuracies that `evaluate` found for a run, such as '0.981 and 0.987 of 160'."""
    path = run / "metrics.json"
    if not path.is_file():
        return "not evaluated"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    return (
        f"{metrics['val_accuracy']:.3f} and {metrics['tta']['evaluation']['accuracy']:.3f} of {metrics['val_photos']}"
    )


def pretrained_line(run: Path) -> str:
    """Returns what the head of the pretrained network reached."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return (
        f"A head on a frozen {PRETRAINED} with ImageNet weights: {metrics['val_accuracy']:.3f} of "
        f"{metrics['val_photos']} held-out photos; stages/best.flags trains its other layers, too."
    )


def closing_lines(figures: dict[str, Any], output: Path) -> str:
    """Returns the last lines of the demo."""
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in figures["seconds"].items())
    pretrained = output / "runs" / PRETRAINED_RUN
    return "\n".join(
        [
            "",
            f"Time: {sum(figures['seconds'].values()):.0f} s ({parts}).",
            f"Held-out photos, clean and in {VIEWS.count('|') + 1} views: {validation(output / 'runs' / LAST_RUN)}.",
            f"Accuracy on {figures['test_photos']} test photos: {figures['accuracy']:.3f}; the control, a logistic "
            f"regression on 16x16 pixels: {figures['control_accuracy']:.3f}.",
            *([pretrained_line(pretrained)] if "pretrained" in figures["seconds"] else []),
            f"Submission: {output / 'submission.csv'}",
            f"Report: {output / 'runs' / LAST_RUN / 'report.html'}",
        ]
    )


def exit_code(*, accuracy: float, control: float) -> int:
    """Returns 0 if both accuracies are in range, else 1, after printing which one is not."""
    missed = []
    if accuracy < MIN_ACCURACY:
        missed.append(f"the submission's accuracy is {accuracy:.3f}, below {MIN_ACCURACY:.2f}")
    if control > MAX_CONTROL_ACCURACY:
        missed.append(f"the control's accuracy is {control:.3f}, above {MAX_CONTROL_ACCURACY:.2f}")
    if missed:
        print(f"The demo failed: {' and '.join(missed)}.", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    run_command(main, DemoOptions, description=__doc__ or "")
