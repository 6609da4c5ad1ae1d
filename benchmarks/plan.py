"""Compares what `carclf.train --plan` predicts with the wall time of its stages, of its prediction and of all of them.

It also says how many cores the commands kept busy. If they are fewer in training than while the plan was timed, other
programs have taken more of the machine since, and the real time says little about the prediction.
Without --data it draws the demo's photos and converts them first.
Example: python benchmarks/plan.py --budget=4m --json=plan.json"""

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import busy_of_children, scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option

WITHIN = 0.15  # of the predicted time


@dataclasses.dataclass(frozen=True)
class PlanBenchmarkOptions(Options):
    """Every option of this benchmark."""

    data: str = option("", "Data set; by default one of drawn photos is made.", path=True)
    photos: int = option(1600, "Training photos to draw.", low=100)
    budget: str = option("4m", "Time to plan for.", check="carclf.planning.budget:parse_budget")
    flags: str = option("", "Further flags of the planning command, as in a shell.")
    json: str = option("", "Also write the figures to this file.", path=True)


def main(options: PlanBenchmarkOptions) -> None:
    """Plans, trains, predicts and prints."""
    with scratch_folder() as scratch:
        data = Path(options.data).resolve() if options.data else draw(scratch, options.photos)
        plan = [f"--data={data}", f"--budget={options.budget}", *shlex.split(options.flags)]
        started, busy = time.perf_counter(), busy_of_children()
        said = run(["carclf.train", "--plan", *plan], folder=scratch)[0]
        planning, timed_busy = time.perf_counter() - started, busy_of_children() - busy
        train, predict = (
            shlex.split(line)[2:] for line in re.findall(r"^(?:Train|Then): (.*)$", said, flags=re.MULTILINE)
        )
        content = json.loads((scratch / "plans" / "plan.json").read_text(encoding="utf-8"))
        busy = busy_of_children()
        real = stage_seconds(train, folder=scratch)
        started = time.perf_counter()
        run(predict, folder=scratch)
        figures = compare(content, [*real, time.perf_counter() - started]) | {
            "planning_seconds": planning,
            "planning_cores": timed_busy / planning,
        }
        figures["real_cores"] = (busy_of_children() - busy) / figures["rows"][-1]["real_seconds"]
    print(table(figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def draw(scratch: Path, photos: int) -> Path:
    """Draws and converts photos and returns the data set."""
    run(["carclf.sample", "--output=photos", f"--photos={photos}"], folder=scratch)
    run(["carclf.make_tfrecords", "--input=photos", "--output=data"], folder=scratch)
    return (scratch / "data").resolve()


def run(arguments: Sequence[str], *, folder: Path) -> tuple[str, list[tuple[float, str]]]:
    """Runs a command and returns what it printed, also as lines with the time of each.

    Raises:
      UserError: it failed.
    """
    command, lines = [sys.executable, "-m", *arguments], []
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append((time.perf_counter(), line))
            print(line, end="", flush=True)
    if process.returncode:
        raise UserError(f"{shlex.join(arguments)} ended with exit code {process.returncode}: see above.")
    return "".join(line for _, line in lines), lines


def stage_seconds(train: Sequence[str], *, folder: Path) -> list[float]:
    """Runs the stages by their one command and returns the seconds of each, the start of the command in the first."""
    started = time.perf_counter()
    _, lines = run(train, folder=folder)
    ended = time.perf_counter()
    begun = [moment for moment, line in lines if re.match(r"Stage \d+ of \d+: ", line)]
    return [end - begin for begin, end in zip([started, *begun[1:]], [*begun[1:], ended], strict=True)]


def compare(content: dict[str, Any], real: Sequence[float]) -> dict[str, Any]:
    """Returns predicted and real seconds of each stage, of the prediction and of all.

    Args:
      content: of plan.json.
      real: seconds of each stage, then of the prediction.
    """
    names = [*(stage["stage"] for stage in content["stages"]), "predict"]
    predicted = [*(stage["seconds"] for stage in content["stages"]), content["prediction_seconds"]]
    rows = [
        {"name": name, "predicted_seconds": guess, "real_seconds": seconds}
        for name, guess, seconds in zip(names, predicted, real, strict=True)
    ]
    rows.append({"name": "in all", "predicted_seconds": sum(predicted), "real_seconds": sum(real)})
    return {"rows": rows, "budget_seconds": content["budget_seconds"]}


def table(figures: dict[str, Any]) -> str:
    """Returns the figures as a printable table."""
    lines = [f"{'':<24}{'predicted':>10}{'real':>8}{'real against predicted':>26}"]
    for row in figures["rows"]:
        share = row["real_seconds"] / row["predicted_seconds"] - 1
        lines.append(f"{row['name']:<24}{row['predicted_seconds']:>8.0f} s{row['real_seconds']:>6.0f} s{share:>+26.1%}")
    total = figures["rows"][-1]["real_seconds"]
    off = abs(total / figures["rows"][-1]["predicted_seconds"] - 1)
    budget = figures["budget_seconds"]
    lines.append(
        f"in all off by {off:.1%} (at most {WITHIN:.0%}: {'reached' if off <= WITHIN else 'missed'}); "
        f"{total:.0f} s of a budget of {budget:.0f} s ({'kept' if total <= budget else 'exceeded'}); "
        f"planning itself took {figures['planning_seconds']:.0f} s"
    )
    lines.append(
        f"cores that were busy with it: {figures['real_cores']:.2f}, while planning {figures['planning_cores']:.2f}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, PlanBenchmarkOptions, description=__doc__ or "")
