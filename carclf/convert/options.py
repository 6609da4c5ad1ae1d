"""Every option of the converter."""

import dataclasses
import os
import re

from carclf.advice import argument
from carclf.errors import UserError
from carclf.flags import Options, option
from carclf.workers import MOST_WORKERS

_WHERE, _PHOTOS, _SPLIT, _HOW = "Input and output", "Photos", "Folds", "How it runs"
STRATIFIED, FIRST_FILES = "stratified", "first_files"


@dataclasses.dataclass(frozen=True)
class ConvertOptions(Options):
    """Every option of `python -m carclf.make_tfrecords`."""

    input: str = option(
        "",
        "Photos: the competition's archive or folder, class folders, or photos with a list of labels. The command "
        "prints the layout that it recognised.",
        group=_WHERE,
        path=True,
        urls=True,
    )
    output: str = option("", "Folder to write the data set to.", group=_WHERE, path=True, urls=True)
    verify: str = option(
        "",
        "Data set to verify instead of converting: check all hashes and decode every photo.",
        group=_WHERE,
        path=True,
        urls=True,
    )
    labels: str = option(
        "", "CSV or JSON file with the Id and the label of every training photo.", group=_WHERE, path=True, urls=True
    )
    sample: str = option(
        "",
        "The sample submission, if it is not at the root of the input: its Ids are the test photos, and its columns "
        "show what an answer looks like.",
        group=_WHERE,
        path=True,
        urls=True,
    )
    test_csv: str = option("", "Another name for --sample.", group=_WHERE, path=True, urls=True)
    label_pattern: str = option(
        "",
        r"Regular expression, such as '(cat|dog)\.\d+', that is searched for in the name or the path of each photo; "
        r"its first group is the class.",
        group=_WHERE,
        check="carclf.convert.by_name:check_pattern",
    )
    form: str = option(
        "auto",
        "Form of the answers, if the sample submission does not show it: label, probability, probabilities, or "
        "'ranking(5)'.",
        group=_WHERE,
        check="carclf.forms:check_form",
    )
    zip_encoding: str = option(
        "",
        "Encoding of the names in zips without the UTF-8 flag, such as cp866 or gbk, if it is not recognised.",
        group=_WHERE,
        check="carclf.convert.options:check_encoding",
    )
    id_column: str = option("", "Column of the Ids, if it is not recognised.", group=_WHERE)
    label_column: str = option(
        "", "Column of the labels, also in TFRecord and Parquet files, if it is not recognised.", group=_WHERE
    )
    classes: str = option(
        "", "Names of the classes: a,b,c in the order of the labels, or a file with one name per line.", group=_WHERE
    )
    external: str = option(
        "",
        "Class folders with additional photos for training, never used for validation.",
        group=_WHERE,
        path=True,
        urls=True,
    )
    overwrite: bool = option(False, "Replace the data set in --output once the new one is complete.", group=_WHERE)

    max_side: int = option(
        640, "Longest side of a stored photo in pixels; longer ones are reduced.", low=8, high=8192, group=_PHOTOS
    )
    on_bad: str = option(
        "fail",
        "What to do with unusable photos and damaged archives: fail stops the conversion, skip leaves them out and "
        "lists them in rejected.csv.",
        choices=("fail", "skip"),
        group=_PHOTOS,
    )
    near_duplicates: bool = option(
        True, "Also search for near-duplicates, photos of the same picture, and keep them in one fold.", group=_PHOTOS
    )
    limit: int = option(
        0, "Number of training photos to convert, every class in proportion; 0 converts all.", low=0, group=_PHOTOS
    )

    min_photos_per_class: int = option(
        0,
        "Least number of training photos of a class; classes with fewer are left out; 0 keeps all.",
        low=0,
        group=_PHOTOS,
    )

    folds: int = option(
        10,
        "Number of folds that the training photos are split into, each with every class in proportion.",
        low=2,
        high=1000,
        group=_SPLIT,
    )
    split: str = option(
        "stratified",
        "How folds are made: stratified, or first_files:0.05 for the first 5 % of each class's sorted files as fold 0 "
        "and the rest as fold 1.",
        check="carclf.convert.options:parse_split",
        group=_SPLIT,
    )
    keep_folds: str = option(
        "", "dataset.json of an earlier data set, whose photos keep their folds.", group=_SPLIT, path=True, urls=True
    )
    group_column: str = option(
        "",
        "Column by which photos are grouped, such as the driver or the patient; each group stays in one fold.",
        group=_SPLIT,
    )
    seed: int = option(42, "Seed of folds and record order.", low=0, group=_SPLIT)

    workers: int = option(
        0, "Number of processes; 0 is one per CPU, or fewer for few photos.", low=0, high=MOST_WORKERS, group=_HOW
    )
    runner: str = option(
        "local",
        "What does the work: processes on this machine, or Apache Beam, whose workers must reach input and output "
        "under the same paths.",
        choices=("local", "beam"),
        group=_HOW,
    )
    beam_options: str = option(
        "",
        "Options for Beam, such as '--runner=PortableRunner --job_endpoint=HOST:8099'; by default it runs on this "
        "machine.",
        group=_HOW,
    )
    dry_run: bool = option(
        False, "Check and report everything, with the exit code of a real conversion, but write nothing.", group=_HOW
    )

    def __post_init__(self) -> None:
        """Checks each option, then the rules between them."""
        super().__post_init__()
        if self.runner == "beam" and (self.verify or self.dry_run):
            flag = "verify" if self.verify else "dry_run"
            raise UserError(f"--{flag} writes nothing for Beam's workers to meet in: leave --runner=beam out.")
        if self.beam_options and self.runner != "beam":
            raise UserError(f"--beam_options={self.beam_options} is for --runner=beam: add that.")
        fetched = [name for name in ("input", "external") if "://" in getattr(self, name)]
        if self.runner == "beam" and fetched:
            raise UserError(
                f"--{fetched[0]} is a URL, which the launcher would fetch for itself, and Beam's workers read photos "
                "where they lie: give a folder that all of them reach, or leave --runner=beam out."
            )
        if self.verify:
            return
        for name in ("input", "output"):
            if not getattr(self, name) and not (name == "output" and self.dry_run):
                raise UserError(f"--{name} is missing: see --help for what it takes.")
        if self.output and _folder(self.input) == _folder(self.output):
            raise UserError(
                f"--output={self.output} is the folder of the photos, which would then hold both: give another, such "
                f"as {argument('output', os.path.join(self.output, 'data'))}."
            )
        if self.sample and self.test_csv:
            raise UserError("--sample and --test_csv are the same: give one of them.")
        if self.labels and self.label_pattern:
            raise UserError("--labels and --label_pattern both give the classes: give one of them.")
        if self.group_column and self.split != STRATIFIED:
            raise UserError("--group_column and --split=first_files exclude each other: give one of them.")
        if self.keep_folds and self.split != STRATIFIED:
            raise UserError("--keep_folds and --split=first_files exclude each other: give one of them.")
        if self.keep_folds and self.output and _folder(self.keep_folds) == _folder(self.output):
            raise UserError(
                f"--keep_folds={self.keep_folds} is the data set that would be replaced, and afterwards it would keep "
                "other folds: give another --output."
            )

    @property
    def first_files_fraction(self) -> float | None:
        """Returns the fraction of each class that the notebook's split holds out; None for the stratified split."""
        return parse_split(self.split)


def check_encoding(name: str) -> None:
    """Checks that an encoding of this name exists.

    Raises:
      UserError: there is none.
    """
    try:
        b"a".decode(name)
    except (LookupError, UnicodeError):
        raise UserError(f"--zip_encoding={name} is not known: write a name such as cp866, gbk or utf-8.") from None


def parse_split(text: str) -> float | None:
    """Returns the fraction of each class that `first_files:0.05` holds out; None for `stratified`.

    Raises:
      UserError: the text is neither.
    """
    if text == STRATIFIED:
        return None
    match = re.fullmatch(rf"{FIRST_FILES}:(0?\.\d+)", text)
    if not match or not 0 < float(match[1]) < 1:
        raise UserError(f"--split={text} is not known: write {STRATIFIED}, or {FIRST_FILES}:0.05.")
    return float(match[1])


def _folder(path: str) -> str:
    path = path.removesuffix("dataset.json")
    return path.rstrip("/") if "://" in path else os.path.realpath(path)
