"""The whole competition rehearsed: a drawn photo for every Id of its CSV files, converted, explored, trained a little,
predicted.

Each part is measured at a quarter of the photos and at all of them: seconds, photos per second, and memory, which must
not grow with the photos.
Example: python benchmarks/full_scale.py --train_csv=train.csv --sample_csv=sample-submission.csv --output=rehearsal"""

import csv
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from measuring import run_measured

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option

ROOT = Path(__file__).resolve().parent.parent
FRACTIONS = (0.25, 1.0)


@dataclasses.dataclass(frozen=True)
class RehearsalOptions(Options):
    """Every option of this benchmark."""

    train_csv: str = option("", "The competition's train.csv: Id and class of every training photo.")
    sample_csv: str = option("", "The competition's sample submission: Id of every test photo.")
    output: str = option("rehearsal", "Folder for photos, data sets, runs and submissions; kept.")
    width: int = option(640, "Width of the drawn photos in pixels.", low=1)
    height: int = option(480, "Height of the drawn photos in pixels.", low=1)
    steps: int = option(20, "Training steps.", low=1)
    workers: int = option(0, "Processes that draw and convert; 0 is one per CPU.", low=0)
    json: str = option("", "Also write the figures to this file.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        for name in ("train_csv", "sample_csv"):
            if not Path(getattr(self, name)).is_file():
                raise UserError(f"--{name}={getattr(self, name)} is no file: give the competition's own.")


def main(options: RehearsalOptions) -> None:
    """Rehearses at both scales and prints the table."""
    figures = [rehearse(options, fraction=fraction) for fraction in FRACTIONS]
    print(table(figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def rehearse(options: RehearsalOptions, *, fraction: float) -> dict[str, Any]:
    """Returns the figures of one scale: photos, and for each part seconds, photos per second and memory."""
    train, test = (read_rows(path, fraction=fraction) for path in (options.train_csv, options.sample_csv))
    folder = Path(options.output) / f"{len(train) + len(test)}"
    photos, data, run = folder / "photos", folder / "data", folder / "runs" / "rehearsal"
    submission = folder / "submission.csv"
    if not photos.is_dir():
        draw(photos, train, test, options=options)
    python, tool = sys.executable, str(ROOT / "tools" / "make_tfrecords.py")
    total = len(train) + len(test)
    shown = {"convert": total, "verify": total, "explore": total, "train": None, "predict": len(test)}
    commands = {
        "convert": [python, tool, f"--input={photos}", f"--output={data}", f"--workers={options.workers}"],
        "verify": [python, tool, f"--verify={data}", f"--workers={options.workers}"],
        "explore": [python, "-m", "carclf.explore", f"--data={data}", f"--output={folder / 'eda.html'}"],
        "train": [
            *(python, "-m", "carclf.train", "--stage=demo_1", f"--data={data}", f"--run={run}", "--overwrite"),
            *("--epochs=1", f"--steps={options.steps}"),
        ],
        "predict": [
            *(python, "-m", "carclf.predict", f"--run={run}", f"--data={data}", f"--output={submission}"),
            "--tta=clean|flip",
        ],
    }
    parts = {}
    for name, command in commands.items():
        print(f"{total:,} photos: {name}", file=sys.stderr, flush=True)
        measured = run_measured(command)
        count = shown[name]
        parts[name] = {
            "seconds": measured.seconds,
            "photos_per_second": None if count is None else count / measured.seconds,
            "process_mb": measured.process_mb,
            "total_mb": measured.total_mb,
        }
    check_submission(submission, [name for name, _ in test])
    return {"photos": total, "submission_rows": len(test), "parts": parts}


def read_rows(path: str, *, fraction: float) -> list[tuple[str, int]]:
    """Returns (Id, class) of a CSV, the first `fraction` of every class's rows in the file's order."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [(row[0], int(row[1])) for row in list(csv.reader(file))[1:]]
    left = {category: round(fraction * sum(c == category for _, c in rows)) for category in {c for _, c in rows}}
    kept = []
    for name, category in rows:
        if left[category] > 0:
            left[category] -= 1
            kept.append((name, category))
    return kept


def draw(folder: Path, train: list[tuple[str, int]], test: list[tuple[str, int]], *, options: RehearsalOptions) -> None:
    """Draws a photo for every Id; test photos show each kind in turn, since a sample does not tell."""
    from tqdm import tqdm

    from carclf.synthetic import dataset
    from carclf.synthetic.drawing import PHOTOS_PER_WORKER
    from carclf.synthetic.kinds import CAR_KINDS
    from carclf.workers import worker_count

    total = len(train) + len(test)
    started = time.perf_counter()
    with tqdm(total=total, unit=" photos", disable=None, file=sys.stderr) as bar:
        dataset.write_competition(
            folder,
            train=train,
            test=[(name, number % len(CAR_KINDS)) for number, (name, _) in enumerate(test)],
            seed=42,
            size=(options.width, options.height),
            workers=worker_count(options.workers, photos=total, photos_per_worker=PHOTOS_PER_WORKER),
            on_photo=bar.update,
        )
    print(f"{total:,} photos drawn in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def check_submission(path: Path, ids: list[str]) -> None:
    """Returns nothing when the submission has exactly these Ids, in this order.

    Raises:
      UserError: it has not.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if rows[0] != ["Id", "Category"] or [row[0] for row in rows[1:]] != ids:
        raise UserError(f"{path} does not have the {len(ids)} Ids of the sample in its order.")


def table(figures: list[dict[str, Any]]) -> str:
    """Returns the figures as a printable table."""
    lines = [f"{'part':<10}{'photos':>9}{'seconds':>10}{'photos/s':>10}{'MB, largest process':>21}{'MB, all':>10}"]
    for part in figures[0]["parts"]:
        for scale in figures:
            row = scale["parts"][part]
            rate = "" if row["photos_per_second"] is None else f"{row['photos_per_second']:,.0f}"
            memory = f"{row['process_mb']:>21,.0f}{row['total_mb']:>10,.0f}"
            lines.append(f"{part:<10}{scale['photos']:>9,}{row['seconds']:>10.1f}{rate:>10}{memory}")
    lines.append(f"The submission of {figures[-1]['submission_rows']:,} rows has the sample's Ids in its order.")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, RehearsalOptions, description=__doc__ or "")
