"""Re-reads a data set: every hash, every count, every photo. The first thing that is not as said ends it."""

import dataclasses
import hashlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from carclf.convert import decoder
from carclf.convert.progress import Progress
from carclf.convert.workers import Workers, worker_count
from carclf.data import manifest as manifests
from carclf.data import storage
from carclf.data.manifest import Manifest, Shard
from carclf.errors import UserError

LENGTH = struct.Struct("<QI")  # of a record, and its masked CRC. Source: tensorflow/core/lib/io/record_writer.h
AGAIN = "convert the photos again with --overwrite"


@dataclasses.dataclass(frozen=True)
class Photos:
    """What the lists say of a split's photos, in row order: label [N], size [N, 2], sha256, id."""

    label: np.ndarray
    size: np.ndarray
    sha256: tuple[str, ...]
    id: tuple[str, ...]


def verify(directory: str, *, workers: int = 0) -> Manifest:
    """The data set in `directory`, after reading all of it again.

    Args:
      directory: the data set.
      workers: processes; 0 is one a CPU.

    Raises:
      UserError: the first lie: which file, which record, what is wrong.
    """
    manifest = manifests.load_manifest(directory)
    for entry in [*manifest.ids.values(), *manifest.lists.values()]:
        manifest.read_list(entry)
    photos = sum(shard.count for shard in manifest.shards)
    rows: dict[str, list[int]] = {split: [] for split in manifests.ID_SPLITS}
    with (
        Workers(worker_count(workers, photos=photos), _prepare, manifest) as pool,
        Progress("verified", total=photos) as progress,
    ):
        for shard, found in zip(manifest.shards, pool.map(_verify_shard, manifest.shards), strict=True):
            rows["test" if shard.split == "test" else "train"] += found
            progress.add(shard.count)
    for split, found in rows.items():
        if sorted(found) != list(range(manifest.ids[split].count)):
            raise UserError(
                f"The shards of {directory} hold {len(found)} {split} photos and {manifest.ids[split].file} lists "
                f"{manifest.ids[split].count}, not each once: {AGAIN}."
            )
    return manifest


def table(manifest: Manifest) -> str:
    """What was verified, a line for every split and fold."""
    lines = [f"{'split':<8}{'fold':>5}{'shards':>8}{'photos':>9}{'MB':>9}"]
    parts: dict[tuple[str, int | None], list[Shard]] = {}
    for shard in manifest.shards:
        parts.setdefault((shard.split, shard.fold), []).append(shard)
    for (split, fold), shards in parts.items():
        count, size = sum(shard.count for shard in shards), sum(shard.bytes for shard in shards)
        lines.append(f"{split:<8}{'' if fold is None else fold:>5}{len(shards):>8}{count:>9,}{size / 1e6:>9,.1f}")
    return "\n".join(lines)


def _prepare(manifest: Manifest) -> tuple[Manifest, dict[str, Photos]]:
    return manifest, {split: _photos(manifest, split) for split in manifests.ID_SPLITS}


def _photos(manifest: Manifest, split: str) -> Photos:
    ids = manifest.read_ids(split)
    size = ids[["height", "width"]].to_numpy(np.int64)
    return Photos(ids["label"].to_numpy(np.int64), size, tuple(ids["sha256"]), tuple(ids["id"]))


def _verify_shard(state: tuple[Manifest, dict[str, Photos]], shard: Shard) -> list[int]:
    """The rows of the shard's records."""
    decoder.prepare()
    manifest, lists = state
    path = storage.join(manifest.directory, shard.file)
    with storage.open_binary(path) as file:
        content = file.read()
    if len(content) != shard.bytes or storage.sha256(content) != shard.sha256:
        raise UserError(f"The shard {path} is not the one that was written (its SHA-256 differs): {AGAIN}.")
    photos = lists["test" if shard.split == "test" else "train"]
    with decoder.quiet():
        rows = [
            _verify_record(record, photos, manifest=manifest, where=f"record {number} of {path}")
            for number, record in enumerate(_records(content, path))
        ]
    if len(rows) != shard.count:
        raise UserError(f"The shard {path} has {len(rows)} records instead of {shard.count}: {AGAIN}.")
    return rows


def _records(content: bytes, path: str) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        if at + LENGTH.size > len(content):
            raise UserError(f"The shard {path} ends inside a record: {AGAIN}.")
        length, _ = LENGTH.unpack_from(content, at)
        at += LENGTH.size
        if at + length + 4 > len(content):
            raise UserError(f"The shard {path} ends inside a record: {AGAIN}.")
        yield content[at : at + length]
        at += length + 4


def _verify_record(record: bytes, photos: Photos, *, manifest: Manifest, where: str) -> int:
    import tensorflow as tf

    example = tf.train.Example.FromString(record)
    feature: dict[str, Any] = dict(example.features.feature)
    encoded = feature["image/encoded"].bytes_list.value[0]
    row, label = (feature[name].int64_list.value[0] for name in ("image/row", "image/class/label"))
    size = [feature[name].int64_list.value[0] for name in ("image/height", "image/width")]
    if not 0 <= row < len(photos.id):
        raise UserError(f"{where} says row {row} and the list has {len(photos.id)}: {AGAIN}.")
    digest = hashlib.sha256(encoded).hexdigest()
    said = {
        "Id": (feature["image/filename"].bytes_list.value[0].decode(), photos.id[row]),
        "SHA-256": (feature["image/key/sha256"].bytes_list.value[0].decode(), photos.sha256[row]),
        "photo": (digest, photos.sha256[row]),
        "label": (label, photos.label[row]),
        "size": (size, photos.size[row].tolist()),
        "class name": (
            feature["image/class/text"].bytes_list.value[0].decode(),
            manifest.classes[label].name if 0 <= label < manifest.class_count else "",
        ),
    }
    for name, (found, wanted) in said.items():
        if found != wanted:
            raise UserError(f"{where} has the {name} {found} instead of {wanted}: {AGAIN}.")
    try:
        decoded = decoder.decode(encoded)
    except ValueError as error:
        raise UserError(f"{where} ({photos.id[row]}) does not decode ({error}): {AGAIN}.") from None
    if list(decoded.shape) != [*size, 3]:
        raise UserError(f"{where} ({photos.id[row]}) decodes to {list(decoded.shape)} instead of {size}: {AGAIN}.")
    return int(row)
