"""The second pass: plans shards from counts, writes them in any process, and keeps finished ones with their hashes."""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np

from carclf import storage
from carclf.convert.encoded_photos import Place
from carclf.convert.folds import order_key
from carclf.convert.scan import Context
from carclf.convert.verify import whole_shards
from carclf.data import records
from carclf.data.index import ENTRY, index_shard, read_index
from carclf.data.manifest import Manifest, Shard
from carclf.data.validation import validate_photo
from carclf.errors import UserError

RECORDS_PER_SHARD = 900  # about 75 MB at the competition's 80 kB
SMALL_FOLD = 256  # larger folds have at least two shards, so that two readers can work in parallel
FILE_NAMES = {"extra": "train-extra", "test": "test"}
RECEIPT = ".receipt"  # suffix of a file next to a finished shard, until the data set is committed
PLACED = ("height", "width", "label", "row")  # attributes of a record that its entry in the index has, too


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One photo as stored in its shard.

    Attributes:
      id: of the photo.
      row: index into the split's ids.
      label: −1 for test photos.
      class_name: "" for test photos.
      source: number of its source.
      name: inside the source.
      source_sha256: digest of the validated bytes.
      stored_sha256: digest of the bytes to store.
      height: as stored, pixels.
      width: as stored, pixels.
      place: where the bytes to store are kept, or None.
    """

    id: str
    row: int
    label: int
    class_name: str
    source: int
    name: str
    source_sha256: bytes
    stored_sha256: bytes
    height: int
    width: int
    place: Place | None = None


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """One shard to write: its path within the data set's folder, its split and fold, its records in order."""

    file: str
    split: str
    fold: int | None
    records: tuple[Record, ...]


def plan_shards(records: Sequence[tuple[str, int | None, Record]], *, folder: str, seed: int) -> Iterator[ShardPlan]:
    """Yields the shards in reading order, from (split, fold, record) of every photo.

    Sizes depend only on counts; within a fold the records are in the seed's random order.
    """
    parts: dict[tuple[str, int | None], list[Record]] = collections.defaultdict(list)
    for split, fold, record in records:
        parts[split, fold].append(record)
    rank = {"train": 0, "extra": 1, "test": 2}
    for split, fold in sorted(parts, key=lambda part: (rank[part[0]], part[1] or 0)):
        ordered = sorted(parts[split, fold], key=lambda record: order_key(seed, record.id))
        count = -(-len(ordered) // RECORDS_PER_SHARD)
        count = max(count, 2) if len(ordered) > SMALL_FOLD else count
        name = f"{split}-fold{fold}" if fold is not None else FILE_NAMES[split]
        for number in range(count):
            start, stop = (len(ordered) * n // count for n in (number, number + 1))
            file = f"{folder}/{name}-{number:05d}-of-{count:05d}.tfrecord"
            yield ShardPlan(file, split, fold, tuple(ordered[start:stop]))


@dataclasses.dataclass(frozen=True)
class Written:
    """A finished shard and the positions of its photos, ENTRY [count] (`carclf.data.index`)."""

    shard: Shard
    entries: np.ndarray


def finished_shard(directory: str, plan: ShardPlan) -> Written | None:
    """Returns the finished shard of an interrupted run; None without a receipt and exactly the planned records.

    The records themselves are compared, since another version of carclf may have planned the shard of this name.
    """
    path = storage.join(directory, plan.file)
    receipt = path + RECEIPT
    if storage.size_bytes(path) is None or storage.size_bytes(receipt) is None:
        return None
    try:
        content = json.loads(storage.read_bytes(receipt))
        shard = Shard(**content["shard"])
        entries = np.array([tuple(entry) for entry in content["entries"]], ENTRY)
    except (ValueError, TypeError, KeyError):
        return None
    expected = dataclasses.replace(shard, file=plan.file, split=plan.split, fold=plan.fold, count=len(plan.records))
    if shard != expected or len(entries) != shard.count:
        return None
    with storage.open_binary(path) as file:
        return Written(shard, entries) if _holds(file, plan.records, shard, entries) else None


def _holds(file: IO[bytes], planned: Sequence[Record], shard: Shard, entries: np.ndarray) -> bool:
    """Returns whether a file has the hash of the shard, and holds the planned records where its entries say."""
    digest, at = hashlib.sha256(), 0
    for record, entry in zip(planned, entries, strict=True):
        start, size = int(entry["start"]), int(entry["bytes"])
        if start != at + records.HEAD_BYTES or size < 0:
            return False
        framed = file.read(records.HEAD_BYTES + size + records.CHECKSUM_BYTES)
        example = framed[records.HEAD_BYTES : -records.CHECKSUM_BYTES]
        photo = example[entry["photo_start"] :][: entry["photo_bytes"]]
        fields = (entry[name] for name in PLACED)
        if example != _example(record, photo) or tuple(fields) != tuple(getattr(record, name) for name in PLACED):
            return False
        digest.update(framed)
        at += len(framed)
    return not file.read(1) and (at, digest.hexdigest()) == (shard.bytes, shard.sha256)


def keep_whole_shards(manifest: Manifest, *, workers: int = 0) -> None:
    """Writes the receipt of every shard that is what the data set says: `finished_shard` keeps it if it is as planned.

    Without a whole index there is none, because nothing else says where the photos of a shard are.

    Args:
      manifest: the data set.
      workers: processes; 0 means one per CPU.
    """
    try:
        places = read_index(manifest)
    except UserError:
        return
    for number, (shard, whole) in enumerate(zip(manifest.shards, whole_shards(manifest, workers=workers), strict=True)):
        if whole:
            entries = places[places["shard"] == number]
            entries["shard"] = 0
            path = storage.join(manifest.directory, shard.file)
            storage.write_atomic(path + RECEIPT, _receipt(Written(shard, entries)))


def write_shard(context: Context, task: tuple[str, ShardPlan]) -> Written:
    """Writes one shard under a temporary name, hashes it as read from the disk, renames it and writes a receipt.

    Raises:
      UserError: a photo changed since its validation, or the shard cannot be written.
    """
    directory, plan = task
    path = storage.join(directory, plan.file)
    try:
        try:
            return _write_shard(context, plan, path)
        except OSError:
            if not context.encoded.make_room():  # they only save time, and a quota may count them
                raise
            return _write_shard(context, plan, path)
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror or error}): free some space or choose another --output, "
            "then run the same command again; finished shards are kept."
        ) from None


def _write_shard(context: Context, plan: ShardPlan, path: str) -> Written:
    with storage.temporary_file(path) as temporary:
        with open(temporary, "wb") as file:
            entries = index_shard(_written(file, context, plan))
        size, sha256 = size_and_sha256(temporary)
        written = Written(Shard(plan.file, plan.split, plan.fold, len(plan.records), size, sha256), entries)
        storage.commit(temporary, path)
    storage.write_atomic(path + RECEIPT, _receipt(written))
    return written


def _written(file: IO[bytes], context: Context, plan: ShardPlan) -> Iterator[tuple[bytes, bytes, dict[str, int]]]:
    """Writes each record and yields its input for `index_shard`."""
    for record in plan.records:
        encoded = _stored_bytes(context, record)
        example = _example(record, encoded)
        file.write(records.frame(example))
        yield example, encoded, {name: getattr(record, name) for name in PLACED}


def _example(record: Record, encoded: bytes) -> bytes:
    """Returns the bytes of a record with its stored photo."""
    return records.build_example(
        encoded=encoded,
        height=record.height,
        width=record.width,
        filename=record.id,
        sha256=record.stored_sha256.hex(),
        label=record.label,
        class_name=record.class_name,
        row=record.row,
    )


def _receipt(written: Written) -> bytes:
    return json.dumps({"shard": dataclasses.asdict(written.shard), "entries": written.entries.tolist()}).encode()


def size_and_sha256(path: str) -> tuple[int, str]:
    """Returns (size in bytes, SHA-256 in hexadecimal) of a file."""
    with storage.open_binary(path) as file:
        digest, size = hashlib.sha256(), 0
        while block := file.read(2**20):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _stored_bytes(context: Context, record: Record) -> bytes:
    if (kept := context.encoded.read(record.place, record.stored_sha256)) is not None:
        return kept
    try:
        raw = context.reader.read(record.source, record.name)
    except OSError:
        raw = b""
    if hashlib.sha256(raw).digest() != record.source_sha256:
        raise UserError(f"{record.name} changed while it was converted: run the same command again.")
    if record.stored_sha256 == record.source_sha256:
        return raw
    return validate_photo(raw, max_side=context.max_side).encoded
