"""CPU seconds of opening a data set, loading a run and saving its weights in this checkout, beside a control.

Hashes add to an epoch what they add to saving. Both checkouts read the same files, in processes that take turns; the
figures are medians.
Example: python benchmarks/opening.py --data=data/cars --run=runs/b0_224 --control=../carclf-0.1"""

import dataclasses
import json
import statistics
import subprocess
import sys
from pathlib import Path

from measuring import ROOT, in_tree

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, require_flags

WORK = """
import contextlib, io, json, statistics, sys, tempfile, time
from pathlib import Path
from carclf import runs
from carclf.data.index import read_index
from carclf.data.manifest import load_manifest
from carclf.inference.programs import load_classifier
from carclf.training.callbacks import save_weights

def opened():
    manifest = load_manifest(sys.argv[1])
    manifest.read_ids("train"), manifest.read_ids("test"), read_index(manifest)

def loaded():
    return load_classifier(runs.load_run(Path(sys.argv[2])))[0]

def saved(classifier, folder):
    save_weights(classifier, Path(folder) / "best.weights.h5")

def median(action, count):
    seconds = []
    for _ in range(count + 1):
        started = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            action()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds[1:])

figures = {"open the data set": median(opened, int(sys.argv[3])), "load the run": median(loaded, 3)}
classifier = loaded()
with tempfile.TemporaryDirectory() as folder:
    figures["save the weights"] = median(lambda: saved(classifier, folder), 10)
print(json.dumps(figures))
"""


@dataclasses.dataclass(frozen=True)
class OpeningOptions(Options):
    """Every option of this benchmark."""

    data: str = option("", "The data set.", path=True)
    run: str = option("", "The run.", path=True)
    control: str = option("", "Another checkout of carclf.", path=True)
    rounds: int = option(5, "Processes of each checkout.", low=1)
    repeats: int = option(50, "Times that each process opens the data set.", low=1)


def main(options: OpeningOptions) -> None:
    """Measures and prints the medians and their ratio."""
    require_flags(options, "data", "run", "control")
    trees = {"this": ROOT, "control": Path(options.control).resolve()}
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in trees}
    for _ in range(options.rounds):
        for name, tree in trees.items():
            for what, value in measured(tree, options).items():
                seconds[name].setdefault(what, []).append(value)
    print(f"{'median of ' + str(options.rounds):<20}{'this, ms':>10}{'control, ms':>13}{'ratio':>8}")
    for what, values in seconds["this"].items():
        ours, theirs = statistics.median(values), statistics.median(seconds["control"][what])
        print(f"{what:<20}{1e3 * ours:>10.2f}{1e3 * theirs:>13.2f}{ours / theirs:>8.3f}")


def measured(tree: Path, options: OpeningOptions) -> dict[str, float]:
    """Returns the median seconds of each action in one process of a checkout.

    Raises:
      UserError: it failed.
    """
    arguments = [str(Path(options.data).resolve()), str(Path(options.run).resolve()), str(options.repeats)]
    answer = subprocess.run(
        [sys.executable, "-c", WORK, *arguments], capture_output=True, text=True, **in_tree(tree),
    )  # fmt: skip
    if answer.returncode:
        raise UserError(f"The checkout {tree} failed: {answer.stderr.strip().splitlines()[-1]}")
    figures: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    run_command(main, OpeningOptions, description=__doc__ or "")
