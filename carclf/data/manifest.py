"""dataset.json: the content of a data set, file by file. A folder without it is not a data set."""

import collections
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from carclf import hashed_json, storage
from carclf.advice import command
from carclf.data.manifest_check import ID_SPLITS as ID_SPLITS
from carclf.data.manifest_check import SPLITS, check_content
from carclf.errors import UserError
from carclf.forms.form import Form
from carclf.schema import typed, typed_fields

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 2
MANIFEST_FILE = "dataset.json"
SAMPLE_LIST = "sample-submission"  # the name of the list, and of its file beside dataset.json
PSEUDO = "pseudo"  # the split of the test photos that have pseudo-labels; its shards are those of the test photos
OUTSIDE = ("directory", "label_patch", "pseudo_labels")  # attributes of a manifest that are not in the file


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file.

    Attributes:
      file: its path inside the data set, with forward slashes.
      split: 'train', 'extra' (trained on, never held out) or 'test'.
      fold: the fold it belongs to; None for 'extra' and 'test'.
      count: number of records.
      bytes: its exact size.
      sha256: the hash of the whole file, hexadecimal.
    """

    file: str
    split: str
    fold: int | None
    count: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class ClassEntry:
    """One class.

    Attributes:
      label: in 0..K−1.
      category: the label as in the source, and in a submission.
      name: its display name; the category itself if it was given none.
      count: number of its training photos, without external ones.
    """

    label: int
    category: str
    name: str
    count: int


@dataclasses.dataclass(frozen=True)
class ListFile:
    """A CSV, or the index, next to the shards: its path inside the data set, its rows, the SHA-256 of its bytes."""

    file: str
    count: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class LabelPatch:
    """Labels that replace those of a data set.

    Attributes:
      labels: row of a training photo → label, only those that differ from the data set's.
      content: the bytes of the file.
    """

    labels: Mapping[int, int]
    content: bytes

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """Predicted labels of test photos, to train on.

    Attributes:
      labels: row of a test photo → label.
      confidences: row of a test photo → its weight in training, above 0 and at most 1.
      content: the bytes of the file.
      provenance: the bytes of the file beside it, which says what predicted them.
      teacher_folds: the folds that the runs which predicted them held out.
      copies: number of further ones that are left out, because their photos are copies of held-out photos.
    """

    labels: Mapping[int, int]
    confidences: Mapping[int, float]
    content: bytes
    provenance: bytes
    teacher_folds: tuple[int, ...] = ()
    copies: int = 0

    @property
    def sha256(self) -> str:
        """The SHA-256 of both files, one after the other, hexadecimal."""
        return hashlib.sha256(self.content + self.provenance).hexdigest()


@dataclasses.dataclass(frozen=True, repr=False)
class Manifest:
    """A data set as described by its dataset.json.

    Attributes:
      directory: its folder; not part of the file.
      fingerprint: hash of input and options (hexadecimal): equal fingerprints mean equal bytes.
      classes: in the order of their labels.
      shards: in reading order.
      ids: the list of photos of 'train' (external ones at its end) and of 'test'.
      lists: other CSVs by name: 'rejected', 'remarks', 'duplicates', 'sample-submission' (if there was one).
      index: the position of every photo in the shards (`carclf.data.index`).
      options: the converter's options that affect the bytes.
      source: the recognised layout of the input, and the numbers of photos read, stored and rejected.
      format_version: of the file.
      form: of the answers that the competition asks for; None without a sample submission, where they are labels.
      label_patch: corrected labels, which `read_ids` and `carclf.data.index.read_index` return in place of the original
        ones; not part of the file (`carclf.data.label_patch`).
      pseudo_labels: of test photos, which are then also in the split 'pseudo'; not part of the file
        (`carclf.data.pseudo_labels`).
    """

    directory: str
    fingerprint: str
    classes: tuple[ClassEntry, ...]
    shards: tuple[Shard, ...]
    ids: Mapping[str, ListFile]
    lists: Mapping[str, ListFile]
    index: ListFile
    options: Mapping[str, Any]
    source: Mapping[str, Any]
    format_version: int = FORMAT_VERSION
    form: Form | None = None
    label_patch: LabelPatch | None = None
    pseudo_labels: PseudoLabels | None = None

    def __repr__(self) -> str:
        counts = " and ".join(
            f"{self.photos(split):,} {what}" for split, what in (("train", "training"), ("test", "test"))
        )
        return f"<data set {self.directory}: {counts} photos, {self.class_count} classes, {len(self.folds)} folds>"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their labels."""
        return tuple(entry.name for entry in self.classes)

    @property
    def class_labels(self) -> tuple[str, ...]:
        """The text of each label in a submission."""
        return tuple(entry.category for entry in self.classes)

    @property
    def class_count(self) -> int:
        """The number of classes, K."""
        return len(self.classes)

    @property
    def class_map_sha256(self) -> str:
        """The hash of the map from label to category and name: equal if the labels of two data sets mean the same."""
        pairs = [[entry.label, entry.category, entry.name] for entry in self.classes]
        return hashlib.sha256(json.dumps(pairs, ensure_ascii=True).encode()).hexdigest()

    @property
    def folds(self) -> tuple[int, ...]:
        """The numbers of the training folds, ascending."""
        return tuple(sorted({shard.fold for shard in self.shards if shard.fold is not None}))

    @property
    def max_side(self) -> int:
        """The upper limit of a stored photo's longest side in pixels."""
        return int(self.options["max_side"])

    @property
    def sample_submission(self) -> str | None:
        """The path of the sample submission, or None if the input had none."""
        entry = self.lists.get(SAMPLE_LIST)
        return storage.join(self.directory, entry.file) if entry else None

    def photos(self, split: str, folds: Iterable[int] | None = None) -> int:
        """Returns the number of photos in the shards that `shards_of` returns for the same arguments."""
        return sum(shard.count for shard in self.shards_of(split, folds=folds))

    def shards_of(self, split: str, *, folds: Iterable[int] | None = None) -> tuple[Shard, ...]:
        """Returns the shards of a split in reading order, of the given folds or of all.

        Raises:
          UserError: the data set does not have one of the folds.
        """
        if split not in (*SPLITS, PSEUDO):
            raise ValueError(f"There is no split {split!r}: choose one of {', '.join(SPLITS)}.")
        wanted = None if folds is None else set(folds)
        if wanted is not None and (unknown := sorted(wanted - set(self.folds))):
            raise UserError(f"{self.directory} has no fold {unknown[0]}: its folds are {list(self.folds)}.")
        return tuple(s for s in self.shards if s.split == split and (wanted is None or s.fold in wanted))

    def read_ids(self, split: str) -> "pd.DataFrame":
        """Returns the photos of 'train' (then the external ones) or 'test' in row order.

        Columns: id (string), label (int64, −1 in 'test'), class_name (string), fold (int64; −1 in 'test' and for
        external photos), height and width (int64, pixels), sha256 (of the stored JPEG), source (path in the input).

        Raises:
          UserError: the list is missing or was changed.
        """
        import pandas as pd

        content = self.read_list(self.ids[split])
        whole: dict[str, Any] = dict.fromkeys(("label", "fold", "height", "width"), "int64")
        kinds = collections.defaultdict(lambda: str, whole)
        frame = pd.read_csv(io.BytesIO(content), dtype=kinds, keep_default_na=False, encoding="utf-8")
        if split == "train" and self.label_patch:
            rows, labels, names = list(self.label_patch.labels), self.label_patch.labels.values(), self.class_names
            frame.loc[rows, "label"] = list(labels)
            frame.loc[rows, "class_name"] = [names[label] for label in labels]
        return frame

    def read_list(self, entry: ListFile) -> bytes:
        """Returns the bytes of one of the CSVs, or of the index.

        Raises:
          UserError: it is missing or its hash differs, or the whole data set is gone.
        """
        path = storage.join(self.directory, entry.file)
        content = read_file(path) if storage.size_bytes(path) is not None else b""
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            if not storage.is_folder(self.directory):
                raise UserError(
                    f"The folder of the data set {self.directory} is gone: bring it back, or open the data set where "
                    "it is now."
                )
            state = "was changed" if content else "is missing"
            raise UserError(f"{path} {state} since the conversion: convert the photos again with --overwrite.")
        return content


def to_json(manifest: Manifest) -> bytes:
    """Returns the bytes of dataset.json, with the hash of its content."""
    content = {f.name: getattr(manifest, f.name) for f in dataclasses.fields(manifest) if f.name not in OUTSIDE}
    content = {"format_version": content.pop("format_version"), **content}
    if manifest.form is None:
        del content["form"]
    return hashed_json.to_bytes(content, indent=1, default=dataclasses.asdict)


def from_json(content: bytes, *, directory: str) -> Manifest:
    """Returns the manifest that `to_json` wrote; `directory` is the folder of its files.

    Raises:
      UserError: it is not JSON, has a newer format, was changed, lacks a field or has one of another type.
    """
    path = storage.join(directory, MANIFEST_FILE)
    try:
        parsed = hashed_json.parse(content)
        _check_version(typed(parsed.get("format_version"), int, at="format_version"), path)
        hashed = hashed_json.take_hash(parsed)
        manifest = Manifest(directory=directory, **typed_fields(parsed, Manifest, without=OUTSIDE, others=hashed))
        check_content(manifest)
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}): copy the data set again, or convert the photos again with --overwrite."
        ) from None
    if not hashed:
        hashed_json.note_missing_hash(path, "converting the photos again with --overwrite adds one")
    return manifest


def _check_version(version: int, path: str) -> None:
    if version > FORMAT_VERSION:
        raise UserError(
            f"{path} has format {version}, but this version of carclf reads only up to {FORMAT_VERSION}: update "
            "carclf, or convert the photos again with this one and --overwrite."
        )
    if version < FORMAT_VERSION:
        raise UserError(
            f"{path} has the older format {version}, but this version of carclf reads {FORMAT_VERSION}: convert the "
            "photos again with --overwrite."
        )


def load_manifest(directory: str) -> Manifest:
    """Returns the data set in `directory`, after checking the exact size of every shard (`--verify` checks hashes).

    Raises:
      UserError: the folder or its dataset.json is missing, the latter is damaged, changed or newer, or a shard is
        missing or has another size.
    """
    directory = str(directory)
    if not storage.is_folder(directory):
        raise UserError(
            f"There is no folder {directory}: create a data set with "
            f"{command('make_tfrecords', '--input=PHOTOS', f'--output={directory}')}"
        )
    path = storage.join(directory, MANIFEST_FILE)
    if storage.size_bytes(path) is None:
        raise UserError(
            f"{directory} is not a data set (it has no {MANIFEST_FILE}): finish its conversion by the same command, or "
            "create a data set in a folder of its own with python -m carclf.make_tfrecords --input=PHOTOS --output=DATA"
        )
    manifest = from_json(read_file(path), directory=directory)
    sizes = storage.sizes_of(directory, [shard.file for shard in manifest.shards])
    for shard, size in zip(manifest.shards, sizes, strict=True):
        check_size(manifest, shard, size)
    return manifest


def read_file(path: str) -> bytes:
    """Returns the content of a file of a data set.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return storage.read_bytes(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}): make it readable, or copy the data set again."
        ) from None


def check_size(manifest: Manifest, shard: Shard, size: int | None) -> None:
    """Checks that the size of a shard's file, None if there is none, is that in dataset.json.

    Raises:
      UserError: it is missing or has another size.
    """
    if size == shard.bytes:
        return
    path = storage.join(manifest.directory, shard.file)
    found = "is missing" if size is None else f"has {size} bytes instead of {shard.bytes}"
    raise UserError(f"The shard {path} {found}: copy the data set again, or convert the photos again with --overwrite.")
