"""Every option of the converter."""

import dataclasses
import os
import re

from carclf.errors import UserError
from carclf.flags import option

_WHERE, _PHOTOS, _SPLIT, _HOW = "Input and output", "Photos", "Folds", "How it runs"
FIRST_FILES = "first_files"


@dataclasses.dataclass(frozen=True)
class ConvertOptions:
    """Every option of `tools/make_tfrecords.py`."""

    input: str = option(
        "",
        "The photos: the competition's zip, a folder with train.zip and test.zip, the unpacked competition, class "
        "folders, or a folder of photos with --labels. What was recognised is printed.",
        group=_WHERE,
    )
    output: str = option("", "Folder of the data set to write.", group=_WHERE)
    verify: str = option("", "Re-read this data set instead: hashes, counts, every photo decoded.", group=_WHERE)
    labels: str = option("", "CSV with the Id and the label of every training photo.", group=_WHERE)
    test_csv: str = option("", "CSV whose first column names the test photos (a sample submission).", group=_WHERE)
    id_column: str = option("", "Column of the Ids in --labels, where it is not recognised.", group=_WHERE)
    label_column: str = option("", "Column of the labels in --labels, where it is not recognised.", group=_WHERE)
    classes: str = option("", "The classes' names: a,b,c in order of their labels, or a file of lines.", group=_WHERE)
    external: str = option("", "Class folders of further photos, for training only: never validated on.", group=_WHERE)
    overwrite: bool = option(False, "Replace the data set in --output once the new one is complete.", group=_WHERE)

    max_side: int = option(640, "Longest side of a stored photo in pixels; longer ones are reduced.", group=_PHOTOS)
    on_bad: str = option(
        "fail",
        "What a photo that cannot be used does: stop the run, or be left out and listed in rejected.csv.",
        choices=("fail", "skip"),
        group=_PHOTOS,
    )
    near_duplicates: bool = option(True, "Also search photos that show the same picture.", group=_PHOTOS)
    limit: int = option(0, "Take only so many training photos, every class in proportion; 0 is all.", group=_PHOTOS)

    folds: int = option(10, "Parts of the training photos, each with every class in proportion.", group=_SPLIT)
    split: str = option(
        "stratified",
        "stratified, or first_files:0.05: fold 0 is the first 5 % of each class's sorted files, fold 1 the rest.",
        group=_SPLIT,
    )
    keep_folds: str = option("", "dataset.json whose photos keep the folds they have there.", group=_SPLIT)
    seed: int = option(42, "Seed of folds and record order.", group=_SPLIT)

    workers: int = option(0, "Processes; 0 is one a CPU, fewer for few photos.", group=_HOW)
    runner: str = option(
        "local",
        "Who does the work: processes of this machine, or Apache Beam, whose workers reach input and output under the "
        "same paths.",
        choices=("local", "beam"),
        group=_HOW,
    )
    beam_options: str = option(
        "",
        "Beam's own flags, such as '--runner=PortableRunner --job_endpoint=HOST:8099'; none is this machine.",
        group=_HOW,
    )
    dry_run: bool = option(False, "Judge every photo and report, but write nothing.", group=_HOW)

    def __post_init__(self) -> None:
        """Refuses values that no conversion could have."""
        if self.runner == "beam" and (self.verify or self.dry_run):
            flag = "verify" if self.verify else "dry_run"
            raise UserError(f"--{flag} writes nothing for Beam's workers to meet in: leave --runner=beam out.")
        if self.beam_options and self.runner != "beam":
            raise UserError(f"--beam_options={self.beam_options} is for --runner=beam: add that.")
        if self.verify:
            return
        for name in ("input", "output"):
            if not getattr(self, name) and not (name == "output" and self.dry_run):
                raise UserError(f"--{name} is missing: see --help for what it takes.")
        for name, low, high in (
            ("max_side", 8, 8192),
            ("folds", 2, 1000),
            ("limit", 0, None),
            ("workers", 0, 1024),
            ("seed", 0, None),
        ):
            value = getattr(self, name)
            if value < low or (high is not None and value > high):
                allowed = f"between {low} and {high}" if high is not None else f"{low} or more"
                raise UserError(f"--{name}={value} is not possible: it must be {allowed}.")
        if self.split != "stratified" and self.first_files_fraction is None:
            raise UserError(f"--split={self.split} is not known: write stratified, or first_files:0.05.")
        if self.keep_folds and self.split != "stratified":
            raise UserError("--keep_folds and --split=first_files exclude each other: give one of them.")
        if self.keep_folds and self.output and _folder(self.keep_folds) == _folder(self.output):
            raise UserError(
                f"--keep_folds={self.keep_folds} is the data set that would be replaced, and afterwards it would keep "
                "other folds: give another --output."
            )

    @property
    def first_files_fraction(self) -> float | None:
        """The share of each class that the notebook's split holds out, or None for the stratified split."""
        match = re.fullmatch(rf"{FIRST_FILES}:(0?\.\d+)", self.split)
        return float(match[1]) if match and 0 < float(match[1]) < 1 else None


def _folder(path: str) -> str:
    path = path.removesuffix("dataset.json")
    return path.rstrip("/") if "://" in path else os.path.abspath(path)
