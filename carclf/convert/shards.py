"""The second pass: shards are planned from counts, written by any process, and kept with their hashes once finished."""

import collections
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence

from carclf.convert import decoder
from carclf.convert.folds import order_key
from carclf.convert.scan import Context
from carclf.data import storage
from carclf.data.manifest import Shard
from carclf.errors import UserError

RECORDS_A_SHARD = 900  # about 75 MB at the competition's 80 kB
SMALL_FOLD = 256  # a larger fold has at least two shards, so that two readers can share it
FILE_NAMES = {"extra": "train-extra", "test": "test"}
RECEIPT = ".receipt"  # beside a finished shard until the data set is committed


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One photo as its shard will hold it.

    Attributes:
      id: of the photo.
      row: index into the split's ids.
      label: −1 for test photos.
      class_name: "" for test photos.
      source: number of its source.
      name: inside the source.
      source_sha256: digest of the bytes that were judged.
      stored_sha256: digest of the bytes to store.
      height: as stored, pixels.
      width: as stored, pixels.
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


@dataclasses.dataclass(frozen=True)
class Plan:
    """One shard to write: its path below the data set's folder, its split and fold, its records in order."""

    file: str
    split: str
    fold: int | None
    records: tuple[Record, ...]


def plan_shards(records: Sequence[tuple[str, int | None, Record]], *, folder: str, seed: int) -> Iterator[Plan]:
    """The shards in reading order, from (split, fold, record) of every photo.

    Sizes depend on counts alone; within a fold the records are in the seed's random order.
    """
    parts: dict[tuple[str, int | None], list[Record]] = collections.defaultdict(list)
    for split, fold, record in records:
        parts[split, fold].append(record)
    rank = {"train": 0, "extra": 1, "test": 2}
    for split, fold in sorted(parts, key=lambda part: (rank[part[0]], part[1] or 0)):
        ordered = sorted(parts[split, fold], key=lambda record: order_key(seed, record.id))
        count = -(-len(ordered) // RECORDS_A_SHARD)
        count = max(count, 2) if len(ordered) > SMALL_FOLD else count
        name = f"{split}-fold{fold}" if fold is not None else FILE_NAMES[split]
        for number in range(count):
            start, stop = (len(ordered) * n // count for n in (number, number + 1))
            file = f"{folder}/{name}-{number:05d}-of-{count:05d}.tfrecord"
            yield Plan(file, split, fold, tuple(ordered[start:stop]))


def finished_shard(directory: str, plan: Plan) -> Shard | None:
    """The shard of an earlier, interrupted run, or None: it counts only with its receipt and its exact bytes."""
    path = storage.join(directory, plan.file)
    receipt = path + RECEIPT
    if storage.size_bytes(path) is None or storage.size_bytes(receipt) is None:
        return None
    try:
        shard = Shard(**json.loads(storage.read_bytes(receipt)))
    except (ValueError, TypeError):
        return None
    expected = dataclasses.replace(shard, file=plan.file, split=plan.split, fold=plan.fold, count=len(plan.records))
    return shard if shard == expected and hash_file(path) == (shard.bytes, shard.sha256) else None


def write_shard(context: Context, task: tuple[str, Plan]) -> Shard:
    """Writes one shard under a temporary name, hashes what is on the disk, renames it and leaves a receipt.

    Raises:
      UserError: a photo changed since it was judged, or the disk refuses.
    """
    directory, plan = task
    decoder.prepare()
    import tensorflow as tf

    path = storage.join(directory, plan.file)
    temporary = storage.temporary_name(path)
    try:
        with decoder.quiet(), tf.io.TFRecordWriter(temporary) as writer:
            for record in plan.records:
                writer.write(_example(context, record))
        size, sha256 = hash_file(temporary)
        shard = Shard(plan.file, plan.split, plan.fold, len(plan.records), size, sha256)
        storage.commit(temporary, path)
        storage.write_atomic(path + RECEIPT, json.dumps(dataclasses.asdict(shard)).encode())
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", None) or error
        raise UserError(
            f"{path} could not be written ({reason}): free space or choose another --output, then run the same command "
            "again; finished shards are kept."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            storage.remove(temporary)
    return shard


def hash_file(path: str) -> tuple[int, str]:
    """(size in bytes, SHA-256 in hexadecimal) of a file."""
    with storage.open_binary(path) as file:
        digest, size = hashlib.sha256(), 0
        while block := file.read(2**20):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _example(context: Context, record: Record) -> bytes:
    from carclf.data.records import build_example

    return build_example(
        encoded=_stored_bytes(context, record),
        height=record.height,
        width=record.width,
        filename=record.id,
        sha256=record.stored_sha256.hex(),
        label=record.label,
        class_name=record.class_name,
        row=record.row,
    )


def _stored_bytes(context: Context, record: Record) -> bytes:
    try:
        raw = context.reader.read(record.source, record.name)
    except OSError:
        raw = b""
    if hashlib.sha256(raw).digest() != record.source_sha256:
        raise UserError(f"{record.name} changed while it was converted: run the same command again.")
    if record.stored_sha256 == record.source_sha256:
        return raw
    from carclf.convert.judge import judge

    return judge(raw, max_side=context.max_side).encoded
