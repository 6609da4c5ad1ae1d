"""Reads and writes stage.json and metrics.json: hashed, and of the types that their readers expect."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carclf import hashed_json
from carclf.advice import adds_hashes
from carclf.errors import UserError
from carclf.forms import Form
from carclf.schema import typed, typed_fields

FORMAT_VERSION = 1
METRICS_FILE = "metrics.json"  # written last: marks a run as finished
ADVICE = "copy the run again, or train it again with --overwrite"


@dataclasses.dataclass(frozen=True)
class PatchEntry:
    """The label patch of a run in its stage.json."""

    sha256: str
    photos: int = 0


@dataclasses.dataclass(frozen=True)
class PseudoEntry:
    """The pseudo-labels of a run in its stage.json: the hash of both files, and how many photos they are of."""

    sha256: str
    photos: int = 0


@dataclasses.dataclass(frozen=True)
class DataEntry:
    """The data set of a run in its stage.json."""

    class_names: tuple[str, ...]
    class_map_sha256: str
    fingerprint: str
    max_side: int
    class_labels: tuple[str, ...] = ()
    class_photos: tuple[int, ...] = ()
    form: Form | None = None
    directory: str = ""
    train_photos: int = 0
    val_photos: int = 0
    label_patch: PatchEntry | None = None
    pseudo_labels: PseudoEntry | None = None


@dataclasses.dataclass(frozen=True)
class DeviceEntry:
    """The device of a run in its stage.json."""

    kind: str = ""
    backend: str = ""
    replicas: int = 1
    precision: str = "float32"
    jit: bool = False
    onednn: str = ""


@dataclasses.dataclass(frozen=True)
class ParentEntry:
    """The parent run in a stage.json."""

    run: str = ""
    stage: str = ""
    val_accuracy: float | None = None


@dataclasses.dataclass(frozen=True)
class IngredientEntry:
    """A run whose weights were averaged, in the stage.json of the soup."""

    run: str
    weights_sha256: str
    val_fold: int
    share: float
    val_score: float | None = None


@dataclasses.dataclass(frozen=True)
class TrialEntry:
    """A mean that was tried for a soup: the share of each ingredient, and the metric on the held-out photos."""

    shares: tuple[float, ...]
    val_score: float


@dataclasses.dataclass(frozen=True)
class SoupEntry:
    """How weights were averaged, in the stage.json of a run that was not trained."""

    method: str
    command: tuple[str, ...]
    ingredients: tuple[IngredientEntry, ...]
    trials: tuple[TrialEntry, ...] = ()


@dataclasses.dataclass(frozen=True)
class StageEntries:
    """A stage.json: what must be there, and what may be."""

    format_version: int
    options: Mapping[str, Any]
    data: DataEntry
    stage: str = ""
    device: DeviceEntry | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    git_commit: str | None = None
    metric: str = ""
    phases: tuple[Mapping[str, Any], ...] = ()
    features: Mapping[str, Any] | None = None
    preset: Mapping[str, Any] | None = None
    parent: ParentEntry | None = None
    soup: SoupEntry | None = None


@dataclasses.dataclass(frozen=True)
class ScoreEntry:
    """The scores of a class in a metrics.json."""

    name: str
    photos: int
    precision: float
    recall: float
    f1: float


@dataclasses.dataclass(frozen=True)
class EvaluationEntry:
    """The figures of an evaluation in a metrics.json that are read again."""

    photos: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    per_class: tuple[ScoreEntry, ...] = ()
    metric: str = "accuracy"
    score: float | None = None
    log_loss: float | None = None
    top3_accuracy: float | None = None
    macro_f1: float | None = None


@dataclasses.dataclass(frozen=True)
class MetricsEntries:
    """A metrics.json: what must be there, and what may be; without held-out photos the accuracy is null."""

    val_accuracy: float | None
    metric: str = "accuracy"
    val_score: float | None = None
    val_loss: float | None = None
    val_photos: int | None = None
    best_epoch: int | None = None
    epochs: int = 0
    train_seconds: float = 0.0
    engines: tuple[str, ...] = ("keras",)
    evaluation: Mapping[str, Any] | None = None
    tta: Mapping[str, Any] | None = None
    files_sha256: Mapping[str, str] = dataclasses.field(default_factory=dict)


FIGURES = frozenset(field.name for field in dataclasses.fields(EvaluationEntry))


def read_stage(path: Path) -> dict[str, Any]:
    """Returns the content of a stage.json.

    Raises:
      UserError: it cannot be read, was changed, is of another format, or holds something of a wrong type.
    """
    try:
        content = hashed_json.parse(_read(path))
        version = typed(content.get("format_version"), int, at="format_version")
        if version != FORMAT_VERSION:
            raise UserError(
                f"{path} has format version {version} and this version of carclf reads {FORMAT_VERSION}: use the "
                "version of carclf that wrote it."
            )
        hashed = hashed_json.take_hash(content)
        typed_fields(content, StageEntries, others=hashed)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): {ADVICE}.") from None
    if not hashed:
        hashed_json.note_missing_hash(str(path), "a run that is trained again has one")
    return content


def read_metrics(path: Path) -> dict[str, Any]:
    """Returns the content of a metrics.json.

    Raises:
      UserError: it cannot be read, was changed, or holds something of a wrong type.
    """
    try:
        content = hashed_json.parse(_read(path))
        hashed = hashed_json.take_hash(content)
        entries = typed_fields(content, MetricsEntries, others=hashed)
        if evaluation := entries.get("evaluation"):
            figures = {name: value for name, value in evaluation.items() if name in FIGURES}
            typed(figures, EvaluationEntry, at="evaluation", others=hashed)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): {ADVICE}.") from None
    if not hashed:
        hashed_json.note_missing_hash(str(path), adds_hashes(path.parent))
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): make it readable, or {ADVICE}.") from None
