"""Takes miniatures of well-known competitions from their files to a submission, and checks each step.

Example: python benchmarks/competitions.py --convert_only"""

import csv
import dataclasses
import io
import json
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measuring import scratch_folder
from miniatures import COMPETITIONS, Competition, colour
from PIL import Image

from carclf.command import parse_command_line, run_command
from carclf.convert.converter import convert
from carclf.convert.options import ConvertOptions
from carclf.data import index
from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.flags import Options, option

ROOT = Path(__file__).resolve().parent.parent
TRAINED = ("--backbone=tiny", "--weights=none", "--image_size=32", "--batch_size=4", "--epochs=2", "--steps=2")
SMALL = ("--folds=2", "--workers=1")


@dataclasses.dataclass(frozen=True)
class CompetitionsOptions(Options):
    """Every option of this benchmark."""

    only: str = option("", "Names of competitions, separated by commas; empty takes all.")
    convert_only: bool = option(False, "Convert and check, but neither train nor predict.")
    draw: str = option("", "Only write the files of the miniatures to folders in this folder.", path=True)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one miniature.

    Attributes:
      name: of the competition.
      flags: that it needed.
      form: that was found.
      metric: that the training followed; "" if nothing was trained.
      verdict: 'right', or what is wrong.
    """

    name: str
    flags: tuple[str, ...]
    form: str
    metric: str
    verdict: str


def main(options: CompetitionsOptions) -> None:
    """Runs the miniatures and prints the table.

    Raises:
      UserError: one of them was misread or refused.
    """
    names = options.only.split(",") if options.only else [one.name for one in COMPETITIONS]
    if options.draw:
        for one in COMPETITIONS:
            if one.name in names:
                write(one, Path(options.draw) / one.name)
        return
    with scratch_folder() as scratch:
        outcomes = [
            run(one, scratch.resolve() / str(number), convert_only=options.convert_only)
            for number, one in enumerate(COMPETITIONS)
            if one.name in names
        ]
    print(shown(outcomes))
    if wrong := [outcome.name for outcome in outcomes if outcome.verdict != "right"]:
        raise UserError(f"{len(wrong)} of {len(outcomes)} are not right: {', '.join(wrong)}.")


def run(one: Competition, folder: Path, *, convert_only: bool) -> Outcome:
    """Returns what becomes of a miniature that is written to `folder`."""
    try:
        source = write(one, folder / "input")
        manifest = converted(source, folder / "data", one.flags)
        form = form_of(manifest)
        faults, metric = conversion_faults(one, manifest), ""
        if not faults and not convert_only:
            text, metric = train_and_predict(folder, split="test" if one.test else "val")
            faults = submission_faults(one, manifest, text)
    except UserError as error:
        return Outcome(one.name, one.flags, "", "", f"refused: {error}")
    except Exception:
        return Outcome(one.name, one.flags, "", "", traceback.format_exc())
    return Outcome(one.name, one.flags, form, metric, "; ".join(faults) or "right")


def write(one: Competition, folder: Path) -> Path:
    """Writes the files of a miniature; returns the folder."""
    for name, content in one.draw().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def converted(source: Path, output: Path, flags: Sequence[str]) -> Manifest:
    """Returns the data set that the converter makes with these flags."""
    given = [f"--input={source}", f"--output={output}", *SMALL, *flags]
    options = parse_command_line(ConvertOptions, given, description="")
    assert options is not None
    manifest = convert(options)
    assert manifest is not None
    return manifest


def form_of(manifest: Manifest) -> str:
    """Returns the kind of answer that the data set wants; "" without a sample submission."""
    return manifest.form.kind if manifest.form else ""


def conversion_faults(one: Competition, manifest: Manifest) -> list[str]:
    """Returns what is wrong with a data set: classes, counts, test Ids, form, and the label of every photo."""
    counts = {entry.category: entry.count for entry in manifest.classes}
    tests = sorted(manifest.read_ids("test")["id"])
    wanted = {
        "classes": (list(counts), list(one.counts)),
        "counts": (counts, dict(one.counts)),
        "names": (manifest.class_names, one.names or tuple(one.counts)),
        "test Ids": (tests, sorted(one.test)),
        "form": (form_of(manifest), one.form),
    }
    faults = [f"{what} {found}, not {right}" for what, (found, right) in wanted.items() if found != right]
    misread = wrong_labels(manifest)
    return faults + ([f"{len(misread)} photos misread, such as {misread[0]}"] if misread else [])


def wrong_labels(manifest: Manifest) -> list[str]:
    """Returns the Ids of training photos whose colour is that of another class than their label says."""
    palette = np.array([colour(label) for label in range(manifest.class_count)])
    ids = manifest.read_ids("train")["id"]
    wrong = []
    for entry in index.read_index(manifest):
        pixels = np.asarray(Image.open(io.BytesIO(index.read_photo(manifest, entry))).convert("RGB"))
        left = pixels[:, : pixels.shape[1] // 3].mean(axis=(0, 1))
        if entry["label"] >= 0 and ((palette - left) ** 2).sum(axis=1).argmin() != entry["label"]:
            wrong.append(ids[entry["row"]])
    return wrong


def train_and_predict(folder: Path, *, split: str) -> tuple[str, str]:
    """Returns (the submission of a tiny network, trained for a few steps; the metric that its training followed)."""
    run_folder, data, output = folder / "run", folder / "data", folder / "submission.csv"
    places = (f"--data={data}", "--device=cpu")
    command("carclf.train", *places, f"--run={run_folder}", *TRAINED)
    command("carclf.predict", *places, f"--run={run_folder}", f"--output={output}", f"--split={split}")
    metrics = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    return output.read_text(encoding="utf-8"), str(metrics["metric"])


def command(module: str, *flags: str) -> None:
    """Runs a command of carclf.

    Raises:
      UserError: it failed; the sentence is its own.
    """
    answer = subprocess.run([sys.executable, "-m", module, *flags], cwd=ROOT, capture_output=True, text=True)
    if answer.returncode:
        raise UserError(f"{module} failed: {answer.stderr.strip().splitlines()[-1]}")


def submission_faults(one: Competition, manifest: Manifest, text: str) -> list[str]:
    """Returns what is wrong with a submission: header, Ids and their order, cells."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if not manifest.sample_submission:
        photos = manifest.read_ids("test" if one.test else "train")
        wanted = photos["id"] if one.test else photos["id"][photos["fold"] == 0]
        right = sorted(row[0] for row in rows[1:]) == sorted(wanted)
        return [] if right else ["the submission has other Ids"]
    with open(manifest.sample_submission, encoding="utf-8-sig", newline="") as file:
        sample = list(csv.reader(file))
    faults = [] if rows[0] == sample[0] else [f"header {rows[0]}, not {sample[0]}"]
    faults += [] if [row[0] for row in rows] == [row[0] for row in sample] else ["the Ids differ from the sample's"]
    bad = [row for row in rows[1:] if not CELLS_RIGHT[one.form](row[1:], list(one.counts))]
    return faults + ([f"{len(bad)} rows are wrong, such as {bad[0]}"] if bad else [])


def _fractions(cells: Sequence[str]) -> bool:
    return all(0 <= float(cell) <= 1 for cell in cells)


CELLS_RIGHT = {
    "label": lambda cells, labels: len(cells) == 1 and cells[0] in labels,
    "probability": lambda cells, labels: len(cells) == 1 and _fractions(cells),
    "probabilities": lambda cells, labels: _fractions(cells) and abs(sum(map(float, cells)) - 1) < 1e-3,
    "ranking": lambda cells, labels: len(set(found := " ".join(cells).split(" "))) == 5 and set(found) <= set(labels),
}


def shown(outcomes: Sequence[Outcome]) -> str:
    """Returns the table of the outcomes."""
    lines = [
        f"{outcome.name:26}{outcome.form or 'no sample':15}{outcome.metric or '-':10}"
        f"{' '.join(outcome.flags) or '-':28}{outcome.verdict}"
        for outcome in outcomes
    ]
    right = [outcome for outcome in outcomes if outcome.verdict == "right"]
    bare = sum(not outcome.flags for outcome in right)
    lines.append(f"{len(right)} of {len(outcomes)} are right, {bare} of them without a flag.")
    head = f"{'competition':26}{'form':15}{'metric':10}{'flags':28}verdict"
    return "\n".join([head, *lines])


if __name__ == "__main__":
    run_command(main, CompetitionsOptions, description=__doc__ or "")
