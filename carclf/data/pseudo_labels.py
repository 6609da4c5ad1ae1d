"""Predicted labels of test photos: a CSV that `carclf.predict` writes and `carclf.train` adds to its training photos.

pseudo.csv       id, class and confidence of each photo
pseudo.csv.json  what predicted them (`Provenance`), with the hash of the CSV and its own
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from carclf import hashed_json
from carclf.data.lists import DUPLICATES, SCENE
from carclf.data.manifest import PSEUDO, Manifest, PseudoLabels, Shard
from carclf.errors import UserError
from carclf.files import write_atomically
from carclf.schema import typed_fields
from carclf.storage import copies

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("id", "class", "confidence")
ADVICE = "write them again with python -m carclf.predict --pseudo_labels=FILE"


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A run that predicted pseudo-labels.

    Attributes:
      run: its folder.
      weights_sha256: hash of its best weights.
      data_fingerprint: of the data set it was trained on.
      val_fold: the fold that it held out; −1 for a soup of runs of several folds.
    """

    run: str
    weights_sha256: str
    data_fingerprint: str
    val_fold: int


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where pseudo-labels come from.

    Attributes:
      csv_sha256: hash of the CSV.
      data_fingerprint: of the data set whose test photos they label.
      teachers: the runs that predicted them.
      views: names of the views that they were predicted in, joined by '|'.
      confidence: the lowest accepted one.
      temperature: the one that calibrated the probabilities.
    """

    csv_sha256: str
    data_fingerprint: str
    teachers: tuple[Teacher, ...]
    views: str
    confidence: float
    temperature: float


def provenance_file(path: Path) -> Path:
    """Returns the path of the file beside pseudo-labels that says where they come from."""
    return path.with_name(f"{path.name}.json")


def write_pseudo_labels(
    path: Path, *, ids: Sequence[str], classes: Sequence[str], confidences: Sequence[float], provenance: Provenance
) -> None:
    """Writes both files; the hash of the CSV is filled in.

    Args:
      path: of the CSV.
      ids: of N test photos.
      classes: their N names.
      confidences: N numbers above 0 and at most 1.
      provenance: with any hash.
    """
    import pandas as pd

    text = io.StringIO()
    rows = pd.DataFrame(dict(zip(COLUMNS, (ids, classes, confidences), strict=True)))
    rows.to_csv(text, index=False, lineterminator="\n", float_format="%.6f")
    content = text.getvalue().encode("utf-8", errors="surrogateescape")
    whole = dataclasses.replace(provenance, csv_sha256=hashlib.sha256(content).hexdigest())
    write_atomically(path, content)
    hashed_json.write(provenance_file(path), dataclasses.asdict(whole))


def apply_pseudo_labels(path: str, manifest: Manifest, *, val_fold: int) -> Manifest:
    """Returns the data set with the pseudo-labelled test photos in the split 'pseudo', or unchanged if `path` is empty.

    Args:
      path: of the CSV, or "".
      manifest: the data set.
      val_fold: the fold that is held out; a test photo that is a copy of one of its photos is left out.

    Raises:
      UserError: see `read_pseudo_labels`; or every photo is such a copy.
    """
    if not path:
        return manifest
    file, _ = (copies.local_path(f"{path}{ending}") for ending in ("", ".json"))  # fetched if they are at a URL
    labels = _without_copies(read_pseudo_labels(file, manifest), manifest, path=path, val_fold=val_fold)
    shards = (*manifest.shards, *_shards_of(labels.labels, manifest))
    return dataclasses.replace(manifest, shards=shards, pseudo_labels=labels)


def _without_copies(labels: PseudoLabels, manifest: Manifest, *, path: str, val_fold: int) -> PseudoLabels:
    """Returns the labels without those of photos that show the same picture as a held-out photo."""
    leaking = _test_copies(manifest, val_fold)
    kept = [row for row in labels.labels if row not in leaking]
    if not kept:
        raise UserError(
            f"Every photo of the pseudo-labels {path} is a copy of a photo that is held out (fold {val_fold}): train "
            "without --pseudo_labels, or with another --val_fold."
        )
    return dataclasses.replace(
        labels,
        labels={row: labels.labels[row] for row in kept},
        confidences={row: labels.confidences[row] for row in kept},
        copies=len(labels.labels) - len(kept),
    )


def _test_copies(manifest: Manifest, fold: int) -> set[int]:
    """Returns the rows of the test photos that show the same picture as a training photo of the fold."""
    import pandas as pd

    if DUPLICATES not in manifest.lists:
        return set()
    content = manifest.read_list(manifest.lists[DUPLICATES])
    table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    table = table[table["kind"] != SCENE]
    held_out = table["group"][(table["split"] == "train") & (table["fold"] == str(fold))]
    tests = table["id"][(table["split"] == "test") & table["group"].isin(held_out)]
    row_of = {name: row for row, name in enumerate(manifest.read_ids("test")["id"])} if len(tests) else {}
    return {row_of[name] for name in tests}


def read_pseudo_labels(path: Path, manifest: Manifest) -> PseudoLabels:
    """Returns the pseudo-labels in a CSV that `write_pseudo_labels` wrote, for this data set.

    Raises:
      UserError: a file is missing, damaged or changed, the labels are of another data set, a run that predicted them
        was trained on another one, or a line has an unknown photo, an unknown class or no confidence.
    """
    content, beside = _read(path), _read(provenance_file(path))
    provenance = _provenance(path, beside)
    if hashlib.sha256(content).hexdigest() != provenance.csv_sha256:
        raise UserError(f"The pseudo-labels {path} were changed after carclf.predict wrote them: {ADVICE}.")
    if provenance.data_fingerprint != manifest.fingerprint:
        raise UserError(
            f"The pseudo-labels {path} are of the data set {provenance.data_fingerprint[:12]}, but "
            f"{manifest.directory} is {manifest.fingerprint[:12]}: {ADVICE} on this data set."
        )
    for teacher in provenance.teachers:
        if teacher.data_fingerprint != manifest.fingerprint:
            raise UserError(
                f"The run {teacher.run}, which predicted the pseudo-labels {path}, was trained on the data set "
                f"{teacher.data_fingerprint[:12]} and may have seen the photos' own labels: predict them with runs of "
                f"{manifest.directory}."
            )
    labels, confidences = _rows(path, _frame(path, content), manifest)
    folds = tuple(sorted({teacher.val_fold for teacher in provenance.teachers}))
    return PseudoLabels(labels, confidences, content=content, provenance=beside, teacher_folds=folds)


def _rows(path: Path, frame: pd.DataFrame, manifest: Manifest) -> tuple[dict[int, int], dict[int, float]]:
    """Returns label and confidence of each test photo, by its row."""
    row_of = {name: row for row, name in enumerate(manifest.read_ids("test")["id"])}
    label_of = {entry.name: entry.label for entry in manifest.classes}
    labels: dict[int, int] = {}
    confidences: dict[int, float] = {}
    for line, (photo, name, confidence) in enumerate(zip(*(frame[column] for column in COLUMNS), strict=True), start=2):
        where = f"{path}, line {line}"
        if photo not in row_of:
            raise UserError(f"{where}: the data set has no test photo {photo!r}: {ADVICE}.")
        if name not in label_of:
            raise UserError(f"{where}: there is no class {name!r}: {ADVICE}.")
        row = row_of[photo]
        if row in labels:
            raise UserError(f"{where}: the photo {photo!r} has an earlier line: {ADVICE}.")
        labels[row], confidences[row] = label_of[name], _confidence(confidence)
        if not 0 < confidences[row] <= 1:
            raise UserError(f"{where}: {confidence!r} is not a confidence above 0 and at most 1: {ADVICE}.")
    if not labels:
        raise UserError(f"The pseudo-labels {path} name no photo: {ADVICE} and a lower --pseudo_confidence.")
    return labels, confidences


def _confidence(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _shards_of(labels: Mapping[int, int], manifest: Manifest) -> list[Shard]:
    """Returns a shard of the split 'pseudo' for each test shard that holds photos with these rows."""
    import numpy as np

    from carclf.data.index import read_index

    index, rows = read_index(manifest), np.array(list(labels))
    made = []
    for number, shard in enumerate(manifest.shards):
        if shard.split == "test":
            count = int(np.isin(index["row"][index["shard"] == number], rows).sum())
            made += [dataclasses.replace(shard, split=PSEUDO, count=count)] if count else []
    return made


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} of the pseudo-labels cannot be read ({error.strerror or error}): keep the CSV and its .json "
            f"together, or {ADVICE}."
        ) from None


def _provenance(path: Path, content: bytes) -> Provenance:
    try:
        parsed = hashed_json.parse(content)
        if not hashed_json.take_hash(parsed):
            raise ValueError("it has no hash")
        return Provenance(**typed_fields(parsed, Provenance, others=True))
    except ValueError as error:
        raise UserError(f"{provenance_file(path)} is damaged ({error}): copy it again, or {ADVICE}.") from None


def _frame(path: Path, content: bytes) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, encoding="utf-8")
        frame[list(COLUMNS)]
    except (ValueError, KeyError) as error:
        raise UserError(f"The pseudo-labels {path} cannot be read ({error}): {ADVICE}.") from None
    return frame
