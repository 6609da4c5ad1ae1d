"""Rereads a data set and checks every hash, every count and every photo. Stops at the first mismatch."""

import dataclasses
import hashlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from carclf import storage
from carclf.convert import examples
from carclf.convert.scan import PHOTOS_PER_WORKER
from carclf.data import manifest as manifests
from carclf.data import records
from carclf.data.decoder import decode
from carclf.data.index import read_index
from carclf.data.manifest import Manifest, Shard
from carclf.errors import UserError
from carclf.progress import Progress
from carclf.workers import Workers, worker_count

LENGTH = struct.Struct("<QI")  # of a record, and its masked CRC. Source: tensorflow/core/lib/io/record_writer.h
AGAIN = "convert the photos again with --overwrite"


@dataclasses.dataclass(frozen=True)
class ListedPhotos:
    """What the lists say about a split's photos, in row order: label [N], size [N, 2], sha256, id."""

    label: np.ndarray
    size: np.ndarray
    sha256: tuple[str, ...]
    id: tuple[str, ...]


def verify(directory: str, *, workers: int = 0) -> Manifest:
    """Rereads the whole data set in `directory` and returns it.

    Args:
      directory: the data set.
      workers: processes; 0 means one per CPU.

    Raises:
      UserError: the first mismatch: which file, which record, what is wrong.
    """
    manifest = manifests.load_manifest(directory)
    for entry in [*manifest.ids.values(), *manifest.lists.values()]:
        manifest.read_list(entry)
    _verify_classes(manifest)
    photos = sum(shard.count for shard in manifest.shards)
    rows: dict[str, list[int]] = {split: [] for split in manifests.ID_SPLITS}
    with (
        Workers(worker_count(workers, photos=photos, photos_per_worker=PHOTOS_PER_WORKER), _prepare, manifest) as pool,
        Progress("Verifying", total=photos) as progress,
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


def whole_shards(manifest: Manifest, *, workers: int = 0) -> list[bool]:
    """Returns for each shard whether it is what the data set says: by its records; by its hash if a list is damaged.

    Args:
      manifest: the data set; its index is whole.
      workers: processes; 0 means one per CPU.
    """
    photos = sum(shard.count for shard in manifest.shards)
    with Workers(
        worker_count(workers, photos=photos, photos_per_worker=PHOTOS_PER_WORKER), _readable, manifest
    ) as pool:
        return list(pool.map(_is_whole, manifest.shards))


def _readable(manifest: Manifest) -> "_Expected | Manifest":
    try:
        return _prepare(manifest)
    except UserError:
        return manifest


def _is_whole(known: "_Expected | Manifest", shard: Shard) -> bool:
    try:
        if isinstance(known, Manifest):
            _verified(known, shard)
        else:
            _verify_shard(known, shard)
    except (UserError, OSError):
        return False
    return True


def _verify_classes(manifest: Manifest) -> None:
    """Compares the classes with the list of training photos."""
    ids = manifest.read_ids("train")
    every, held = (photos["label"].value_counts() for photos in (ids, ids[ids["fold"] >= 0]))
    for entry in manifest.classes:
        listed = int(every.get(entry.label, 0))
        if not int(held.get(entry.label, 0)) <= entry.count <= listed:  # no class counts its external photos
            raise UserError(
                f"{manifest.directory}/{manifests.MANIFEST_FILE} says {entry.count} photos of the class {entry.name} "
                f"and {manifest.ids['train'].file} lists {listed}: {AGAIN}."
            )


def verified_table(manifest: Manifest) -> str:
    """Returns what was verified, one line per split and fold."""
    lines = [f"{'split':<8}{'fold':>5}{'shards':>8}{'photos':>9}{'MB':>9}"]
    parts: dict[tuple[str, int | None], list[Shard]] = {}
    for shard in manifest.shards:
        parts.setdefault((shard.split, shard.fold), []).append(shard)
    for (split, fold), shards in parts.items():
        count, size = sum(shard.count for shard in shards), sum(shard.bytes for shard in shards)
        lines.append(f"{split:<8}{'' if fold is None else fold:>5}{len(shards):>8}{count:>9,}{size / 1e6:>9,.1f}")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class _Expected:
    """What a data set says about itself: its manifest, its lists by split, its index."""

    manifest: Manifest
    lists: dict[str, ListedPhotos]
    index: np.ndarray


def _prepare(manifest: Manifest) -> _Expected:
    lists = {split: _photos(manifest, split) for split in manifests.ID_SPLITS}
    return _Expected(manifest, lists, read_index(manifest))


def _photos(manifest: Manifest, split: str) -> ListedPhotos:
    ids = manifest.read_ids(split)
    size = ids[["height", "width"]].to_numpy(np.int64)
    return ListedPhotos(ids["label"].to_numpy(np.int64), size, tuple(ids["sha256"]), tuple(ids["id"]))


def _verify_shard(expected: _Expected, shard: Shard) -> list[int]:
    """Checks a shard; returns the rows of its records."""
    manifest = expected.manifest
    path = storage.join(manifest.directory, shard.file)
    content = _verified(manifest, shard)
    photos = expected.lists["test" if shard.split == "test" else "train"]
    entries = expected.index[expected.index["shard"] == manifest.shards.index(shard)]
    found = list(_records(content, path))
    if len(found) != shard.count:
        raise UserError(f"The shard {path} has {len(found)} records instead of {shard.count}: {AGAIN}.")
    for number, ((start, record), entry) in enumerate(zip(found, entries, strict=True)):
        where = f"record {number} of {path}"
        if not 0 <= entry["row"] < len(photos.id):
            raise UserError(f"{where} says row {entry['row']} and the list has {len(photos.id)}: {AGAIN}.")
        _verify_record(record, start, entry, photos, manifest=manifest, where=where)
    return [int(row) for row in entries["row"]]


def _verified(manifest: Manifest, shard: Shard) -> bytes:
    """Returns the bytes of a shard, after comparing their hash."""
    path = storage.join(manifest.directory, shard.file)
    content = storage.read_bytes(path)
    if len(content) != shard.bytes or storage.sha256(content) != shard.sha256:
        raise UserError(f"The shard {path} is not the one that was written (its SHA-256 differs): {AGAIN}.")
    return content


def _records(content: bytes, path: str) -> Iterator[tuple[int, bytes]]:
    """Yields (start, content) of every record."""
    at = 0
    while at < len(content):
        if at + LENGTH.size > len(content):
            raise UserError(f"The shard {path} ends inside a record: {AGAIN}.")
        length, _ = LENGTH.unpack_from(content, at)
        at += LENGTH.size
        if at + length + 4 > len(content):
            raise UserError(f"The shard {path} ends inside a record: {AGAIN}.")
        yield at, content[at : at + length]
        at += length + 4


def _verify_record(
    record: bytes, start: int, entry: np.void, photos: ListedPhotos, *, manifest: Manifest, where: str
) -> None:
    """Builds the record that lists and index require from the stored photo, and compares the two."""
    row = int(entry["row"])
    label = int(photos.label[row])
    encoded = record[entry["photo_start"] :][: entry["photo_bytes"]]
    height, width = photos.size[row].tolist()
    wanted = records.build_example(
        encoded=encoded,
        height=height,
        width=width,
        filename=photos.id[row],
        sha256=photos.sha256[row],
        label=label,
        class_name=manifest.classes[label].name if 0 <= label < manifest.class_count else "",
        row=row,
    )
    if record != wanted or storage.sha256(encoded) != photos.sha256[row]:
        _name_difference(record, row, photos, manifest=manifest, where=where)
    places = ("start", "bytes", "label", "height", "width")
    if tuple(entry[name] for name in places) != (start, len(record), label, height, width):
        raise UserError(f"{where} lies elsewhere, or holds something else, than {manifest.index.file} says: {AGAIN}.")
    try:
        decoded = decode(encoded)
    except ValueError as error:
        raise UserError(f"{where} ({photos.id[row]}) does not decode ({error}): {AGAIN}.") from None
    if list(decoded.shape) != [height, width, 3]:
        raise UserError(
            f"{where} ({photos.id[row]}) decodes to {list(decoded.shape)} instead of {[height, width, 3]}: {AGAIN}."
        )


def _name_difference(record: bytes, row: int, photos: ListedPhotos, *, manifest: Manifest, where: str) -> None:
    """Refuses a record that is not the expected one, and says how they differ.

    Raises:
      UserError: always.
    """
    for name, (found, wanted) in _differences(record, row, photos, manifest=manifest).items():
        if found != wanted:
            raise UserError(f"{where} has the {name} {found} instead of {wanted}: {AGAIN}.")
    raise UserError(f"{where} is not the record that {manifest.index.file} and the lists describe: {AGAIN}.")


def _differences(record: bytes, row: int, photos: ListedPhotos, *, manifest: Manifest) -> dict[str, tuple[Any, Any]]:
    """Returns what a record says and what it should say, by name; nothing of one that cannot be read."""
    try:
        values: dict[str, Any] = {name: found[0] for name, found in examples.parse_example(record).items() if found}
        encoded, photo_id, sha256, class_name = (
            record[slice(*values[name])]
            for name in ("image/encoded", "image/filename", "image/key/sha256", "image/class/text")
        )
        at_row, label, height, width = (
            int(values[name]) for name in ("image/row", "image/class/label", "image/height", "image/width")
        )
        return {
            "row": (at_row, row),
            "Id": (photo_id.decode(), photos.id[row]),
            "SHA-256": (sha256.decode(), photos.sha256[row]),
            "photo": (hashlib.sha256(encoded).hexdigest(), photos.sha256[row]),
            "label": (label, photos.label[row]),
            "size": ([height, width], photos.size[row].tolist()),
            "class name": (
                class_name.decode(),
                manifest.classes[label].name if 0 <= label < manifest.class_count else "",
            ),
        }
    except (ValueError, LookupError, TypeError):  # no Example, or one whose features are missing or of other types
        return {}
