"""A small copy of a data set, on which the command itself can be timed."""

import csv
import dataclasses
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from carclf import storage
from carclf.data import manifest as manifests
from carclf.data.decoder import decode_sizes
from carclf.data.index import photo_sizes, read_index, select, to_npy
from carclf.data.manifest import ListFile, Manifest, Shard
from carclf.data.records import CHECKSUM_BYTES, HEAD_BYTES
from carclf.framing import Framing


@dataclasses.dataclass(frozen=True)
class TimingSample:
    """A data set to time on.

    Attributes:
      directory: its folder.
      train_photos: photos outside the validation fold.
      val_photos: photos in it.
    """

    directory: str
    train_photos: int
    val_photos: int


def sample_of(
    data: Manifest, directory: Path, *, val_fold: int, train_photos: int, val_photos: int, framings: Iterable[Framing]
) -> TimingSample:
    """Returns the data set itself if it has no more photos than that, else a copy of some of them in `directory`.

    The copy has the canvas of the whole data set in each framing, since it holds the photos that are the largest there.

    Args:
      data: the whole data set.
      directory: folder of the copy; it is made.
      val_fold: the validation fold.
      train_photos: about how many training photos to take.
      val_photos: about how many validation photos to take.
      framings: of the images that are timed.
    """
    index = read_index(data)
    others = data.shards_of("train", folds=[fold for fold in data.folds if fold != val_fold])
    trained = select(data, index, [*others, *data.shards_of("extra")])
    held_out = select(data, index, data.shards_of("train", folds=[val_fold]))
    if len(trained) <= train_photos and len(held_out) <= val_photos:
        return TimingSample(data.directory, len(trained), len(held_out))
    largest = {number for framing in framings for number in _largest(index, framing)}
    chosen = np.array(sorted({*_spread(trained, train_photos), *_spread(held_out, val_photos), *largest}))
    directory.mkdir(parents=True)
    _write(data, index[chosen], directory)
    counts = (int(np.isin(chosen, numbers).sum()) for numbers in (trained, held_out))
    return TimingSample(str(directory), *counts)


def _largest(index: np.ndarray, framing: Framing) -> list[int]:
    """Returns the numbers of the photos that make the canvas as high and as wide as it is."""
    extents = decode_sizes(photo_sizes(index), framing=framing).extents
    return [int(number) for number in extents.argmax(axis=0)]


def _spread(numbers: np.ndarray, count: int) -> list[int]:
    """Returns at most `count` of the numbers, from all over them."""
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(np.int64)
    return [int(number) for number in numbers[places]]


def _write(data: Manifest, entries: np.ndarray, directory: Path) -> None:
    """Writes a data set of these entries of the index, whose lists of Ids have no other photos."""
    tests = [number for number, shard in enumerate(data.shards) if shard.split == "test"]
    of_tests = np.isin(entries["shard"], tests)
    entries, ids, shards, places = entries.copy(), {}, [], []
    for split, mine in (("train", ~of_tests), ("test", of_tests)):
        rows = np.unique(entries["row"][mine])
        entries["row"][mine] = np.searchsorted(rows, entries["row"][mine])
        content = _listed(data.read_list(data.ids[split]), rows.tolist())
        _write_file(directory, data.ids[split].file, content)
        ids[split] = ListFile(data.ids[split].file, len(rows), storage.sha256(content))
    for number in np.unique(entries["shard"]).tolist():
        mine = entries[entries["shard"] == number]
        shard, written = _copy_shard(data, data.shards[number], mine, directory)
        shards.append(shard)
        places.append(written)
    for file in data.lists.values():
        _write_file(directory, file.file, data.read_list(file))
    content = to_npy(places)
    _write_file(directory, data.index.file, content)
    sampled = dataclasses.replace(
        data,
        directory=str(directory),
        shards=tuple(shards),
        ids=ids,
        index=ListFile(data.index.file, len(entries), storage.sha256(content)),
    )
    _write_file(directory, manifests.MANIFEST_FILE, manifests.to_json(sampled))


def _listed(content: bytes, rows: Sequence[int]) -> bytes:
    """Returns the list of Ids with these rows alone."""
    head, *lines = csv.reader(io.StringIO(content.decode(), newline=""))
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([head, *(lines[row] for row in rows)])
    return buffer.getvalue().encode()


def _copy_shard(data: Manifest, shard: Shard, entries: np.ndarray, directory: Path) -> tuple[Shard, np.ndarray]:
    """Copies the records of these entries and returns the shard with their new entries."""
    read, path = storage.RangeReader(), storage.join(data.directory, shard.file)
    frames = [
        read(path, int(entry["start"]) - HEAD_BYTES, HEAD_BYTES + int(entry["bytes"]) + CHECKSUM_BYTES)
        for entry in entries
    ]
    moved = entries.copy()
    moved["start"] = HEAD_BYTES + np.cumsum([0, *map(len, frames)])[:-1]
    content = b"".join(frames)
    _write_file(directory, shard.file, content)
    copied = dataclasses.replace(shard, count=len(entries), bytes=len(content), sha256=storage.sha256(content))
    return copied, moved


def _write_file(directory: Path, name: str, content: bytes) -> None:
    path = Path(storage.join(str(directory), name))
    os.makedirs(path.parent, exist_ok=True)
    path.write_bytes(content)
