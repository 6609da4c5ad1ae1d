"""Measures what each change of the recipe wins and costs, from the 2020 notebook's to the best, on held-out photos.

Each row is a flag file of stages/ledger: it repeats the row it is compared with and changes one thing. All rows are
screened on one fold at a small size; those that matter are confirmed on all folds at the size of each backbone. The
predictions of the folds are pooled, and McNemar's test compares them with the other row's. Stages that rows share are
trained once. A ledger that was cut off resumes by the same command. --rows measures some rows alone, not screened.
Example: python benchmarks/ledger.py --data=data/porsche,data/adverts --backbones=mobilenet_v2,efficientnet_lite0"""

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from held_out import correct
from ledger_page import pooled, write_page
from ledger_rows import PROBE, ROWS, STAGE_SIZES, Row, find_rows
from measuring import run_python

from carclf.command import parse_command_line, run_command
from carclf.data.manifest import load_manifest
from carclf.errors import UserError
from carclf.files import write_atomically
from carclf.flags import Options, option, same_option
from carclf.framing import parse_image_size
from carclf.probe import ProbeOptions
from carclf.probing.extractors import Extractor, parse_extractors
from carclf.train_options import TrainOptions

FIGURES = "figures.json"  # in the folder of --work
FLAG_FILES = Path(__file__).resolve().parent.parent / "stages" / "ledger"


@dataclasses.dataclass(frozen=True)
class LedgerOptions(Options):
    """Every option of this benchmark."""

    data: str = option("", "Folders that tools/make_tfrecords.py wrote, separated by commas.")
    backbones: str = same_option(
        ProbeOptions,
        "backbones",
        default="mobilenet_v2",
        help="Backbones to train, separated by commas: NAME, NAME@SIZE, NAME@SIZE=FILE with the backbone's weights.",
    )
    screen_size: str = option("96", "Image size to screen all rows at, with the first backbone; '' skips that.")
    device: str = same_option(TrainOptions, "device")
    rows: str = option("", "Rows to measure instead, separated by commas: with every backbone and fold, not screened.")
    folds: int = option(3, "How many folds to hold out, one after the other.", low=1)
    seeds: int = option(1, "How many seeds to train each row with.", low=1)
    minutes: float = option(0.0, "Begin no further row after this time; 0 measures all.", low=0)
    work: str = option("bench/ledger", "Folder of the runs and figures, kept for the next call.")
    output: str = option(
        "",
        "Also write the page with all figures of --work to this file, and the figures beside it, as .json; where they "
        "are, each new figure is compared with the one there.",
    )
    note: str = option("", "Sentence about the machine, for the page.")

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.data:
            raise UserError("--data is missing: give the folders that tools/make_tfrecords.py wrote.")


@dataclasses.dataclass(frozen=True)
class Case:
    """What one training of a row depends on beside the row."""

    data: Path
    backbone: str
    image_size: str
    fold: int
    seed: int
    weights: str = "imagenet"

    @property
    def key(self) -> dict[str, Any]:
        """What names the case in the figures."""
        named = ("backbone", "image_size", "fold", "seed")
        return {"data": self.data.name, **{name: getattr(self, name) for name in named}}

    def scaled(self, factor: float, *, joined: str = "x") -> str:
        """Returns the image size times the factor, in whole pixels."""
        return joined.join(str(round(int(side) * factor)) for side in self.image_size.split("x"))

    def folder(self, work: Path) -> Path:
        """The folder of its runs and answers."""
        return work / self.data.name / f"{self.backbone}-{self.image_size}-fold{self.fold}-seed{self.seed}"


def main(options: LedgerOptions) -> None:
    """Measures what is missing, prints each row as it comes, and writes the page."""
    work, page, started = Path(options.work), Path(options.output), time.monotonic()
    figures = read_figures(work / FIGURES)
    shown = read_figures(page.with_suffix(".json")) if options.output else []
    for row, case in plan(options):
        if is_measured(row, case, figures):
            continue
        if options.minutes and time.monotonic() - started > options.minutes * 60:
            print("The time is over: the same command measures what is missing.")
            break
        figures.append({"row": row.name, **case.key, **measure(options, row, case, work)})
        write_figures(work / FIGURES, figures)
        print(describe(figures[-1]) + compared(figures[-1], shown), flush=True)
    if options.output:
        write_page(page, figures, note=options.note)
        write_figures(page.with_suffix(".json"), figures)


def read_figures(path: Path) -> list[dict[str, Any]]:
    """Returns what earlier calls measured."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def write_figures(path: Path, figures: Sequence[Mapping[str, Any]]) -> None:
    """Keeps what was measured for the next call, a figure in each line."""
    lines = ",\n".join(json.dumps(figure) for figure in figures)
    write_atomically(path, f"[\n{lines}\n]\n".encode())


def is_measured(row: Row, case: Case, figures: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether a row is measured with a case."""
    return any(figure["row"] == row.name and case.key.items() <= figure.items() for figure in figures)


def plan(options: LedgerOptions) -> Iterator[tuple[Row, Case]]:
    """Yields every row with every case: what is screened, then all rows on the first fold, then on the next."""
    rows = find_rows(options.rows) if options.rows else tuple(row for row in ROWS if row.confirmed)
    backbones = parse_extractors(options.backbones)
    if options.screen_size and not options.rows:
        screened = dataclasses.replace(backbones[0], image_size=parse_image_size(options.screen_size))
        for case in cases(dataclasses.replace(options, folds=1, seeds=1), [screened]):
            for row in ROWS:
                yield row, case
    for case in cases(options, backbones):
        for row in rows:
            yield row, case


def cases(options: LedgerOptions, backbones: Sequence[Extractor]) -> Iterator[Case]:
    """Yields every data set and backbone with the first fold, then with the next, and so on for each seed."""
    for seed in range(42, 42 + options.seeds):
        for fold in range(options.folds):
            for backbone in backbones:
                for data in map(Path, options.data.split(",")):
                    load_manifest(str(data))  # a folder that is no data set is refused before the first training
                    yield Case(data, backbone.backbone, backbone.size, fold, seed, backbone.weights)


def measure(options: LedgerOptions, row: Row, case: Case, work: Path) -> dict[str, Any]:
    """Trains the runs of a row and predicts the held-out photos.

    Returns:
      right: a 1 or 0 for each held-out photo, in the order of the fold.
      seconds: duration of its stages, those of other rows that it starts from included.
    """
    folder = case.folder(work)
    folder.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    for name in row.runs:
        if name == PROBE:
            probe(options, case, folder, seconds)
        else:
            train(options, name, case, folder, seconds)
    runs = make_soup(options, row, case, folder) if row.soup else ",".join(row.runs)
    return {"right": predict(options, row, runs, case, folder), "seconds": round(sum(seconds.values()), 1)}


def predict(options: LedgerOptions, row: Row, runs: str, case: Case, folder: Path) -> str:
    """Predicts the held-out photos with a row's runs, names separated by commas; returns `right` of `measure`."""
    answers = folder / f"{row.name}.csv"
    views = row.views.format(larger=case.scaled(9 / 8, joined=","))
    flags = [f"--run={runs}", f"--runs={folder}", f"--data={case.data}", f"--tta={views}"]
    run_python("-m", "carclf.predict", *flags, "--split=val", f"--output={answers}", f"--device={options.device}")
    return "".join(str(int(one)) for one in correct(case.data, answers))


def train(options: LedgerOptions, name: str, case: Case, folder: Path, seconds: dict[str, float]) -> None:
    """Trains the stage of a flag file after the stages that it starts from, and notes the seconds of each."""
    flags = stage_flags(name, case, folder)
    stage = parse_command_line(TrainOptions, flags, description="")
    assert stage is not None, "a flag file asks for no help"
    if stage.init_from:
        train(options, stage.init_from, case, folder, seconds)
    weights = [] if stage.init_from else [f"--weights={case.weights}"]
    run_python("-m", "carclf.train", *flags, f"--run={name}", *weights, f"--device={options.device}")
    seconds[name] = seconds_of(folder / name)


def stage_flags(name: str, case: Case, folder: Path) -> list[str]:
    """Returns the flags of a stage, except its run's name, its device, and the weights if it has no parent."""
    own = [f"--flagfile={FLAG_FILES / name}.flags", f"--runs={folder}", f"--data={case.data}", "--notensorboard"]
    named = {"size": case.image_size, "smaller": case.scaled(2 / 3), "finer": case.scaled(9 / 7)}
    image_size = STAGE_SIZES.get(name, "{size}").format(**named)
    shared = [f"--backbone={case.backbone}", f"--image_size={image_size}", f"--seed={case.seed}", "--cache=ram"]
    return [*own, *shared, f"--val_fold={case.fold}"]


def make_soup(options: LedgerOptions, row: Row, case: Case, folder: Path) -> str:
    """Averages the weights of a row's runs, and returns the name of the run that holds them."""
    name = f"{row.name}_averaged"
    own = [f"--run={','.join(row.runs)}", f"--runs={folder}", f"--data={case.data}", f"--output={folder / name}"]
    run_python("-m", "carclf.soup", *own, *row.soup, "--overwrite", f"--device={options.device}")
    return name


def probe(options: LedgerOptions, case: Case, folder: Path, seconds: dict[str, float]) -> None:
    """Fits the logistic regression on features of photos and their mirror images, and notes its seconds."""
    if not (folder / PROBE / "metrics.json").is_file():
        file = "" if case.weights == "imagenet" else f"={case.weights}"
        backbone = f"--backbones={case.backbone}@{case.image_size}{file}"
        own = [f"--data={case.data}", f"--val_fold={case.fold}", f"--output={folder / 'probes'}"]
        run_python("-m", "carclf.probe", *own, backbone, f"--device={options.device}")
        os.replace(folder / "probes" / "best", folder / PROBE)
    seconds[PROBE] = seconds_of(folder / PROBE)


def seconds_of(directory: Path) -> float:
    """Returns how long a run has trained."""
    return float(json.loads((directory / "metrics.json").read_text(encoding="utf-8"))["train_seconds"])


def describe(figure: dict[str, Any]) -> str:
    """Returns a line about one measurement."""
    right = figure["right"]
    place = f"{figure['data']} {figure['backbone']} {figure['image_size']} px fold {figure['fold']}"
    return f"{place}, {figure['row']}: {right.count('1') / len(right):.3f} in {figure['seconds']:.0f} s"


def compared(figure: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> str:
    """Returns what to add to the line of a figure: whether the figure shown for the same case agrees with it."""
    case = [name for name in figure if name not in ("right", "seconds")]
    for other in shown:
        if all(figure[name] == other[name] for name in case):
            accuracy, low, high = pooled([other])
            agrees = low <= pooled([figure])[0] <= high
            return f"; {'as' if agrees else 'not'} on the page, {accuracy:.3f} ({low:.2f}–{high:.2f})"
    return ""


if __name__ == "__main__":
    run_command(main, LedgerOptions, description=__doc__ or "")
