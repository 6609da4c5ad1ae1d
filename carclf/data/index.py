"""Where every photo of a data set lies, so that one can be read without those before it."""

import io
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from carclf.data import storage
from carclf.data.manifest import Manifest, Shard
from carclf.data.records import CHECKSUM_BYTES, HEAD_BYTES, is_whole
from carclf.errors import DamagedShardError, UserError

ENTRY = np.dtype(
    [
        ("shard", "<i4"),  # place in Manifest.shards
        ("start", "<i8"),  # of the record in the shard's file, bytes
        ("bytes", "<i4"),  # of the record
        ("photo_start", "<i4"),  # of the JPEG in the record, bytes
        ("photo_bytes", "<i4"),  # of the JPEG
        ("height", "<i4"),  # of the photo, pixels
        ("width", "<i4"),
        ("label", "<i4"),  # −1 where unknown
        ("row", "<i4"),  # in the split's ids
    ]
)
FIRST_BYTES = 32  # of a photo, by which it is looked for


def index_shard(records: Iterable[tuple[bytes, bytes, dict[str, int]]]) -> np.ndarray:
    """ENTRY [count], the entries of one shard (numbered 0).

    Args:
      records: in the shard's order, each record, the JPEG in it, and height, width, label and row.
    """
    entries, start = [], HEAD_BYTES
    for record, photo, fields in records:
        place = _place(record, photo)
        values = (fields[name] for name in ("height", "width", "label", "row"))
        entries.append((0, start, len(record), place, len(photo), *values))
        start += len(record) + CHECKSUM_BYTES + HEAD_BYTES
    return np.array(entries, ENTRY)


def _place(record: bytes, photo: bytes) -> int:
    """Where the photo begins in the record. (`bytes.index` of all of it is 20 times slower.)"""
    place = record.index(photo[:FIRST_BYTES])
    while record[place : place + len(photo)] != photo:
        place = record.index(photo[:FIRST_BYTES], place + 1)
    return place


def to_npy(shards: Sequence[np.ndarray]) -> bytes:
    """The bytes of a data set's index file, from the entries of its shards in order."""
    numbered = [np.zeros(0, ENTRY), *(entries.copy() for entries in shards)]
    for number, entries in enumerate(numbered[1:]):
        entries["shard"] = number
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(numbered), allow_pickle=False)
    return buffer.getvalue()


def read_index(manifest: Manifest) -> np.ndarray:
    """ENTRY [N], every photo in the order of the shards, with the labels of the manifest's patch.

    Raises:
      UserError: the index is missing, was changed, or counts other photos than dataset.json.
    """
    entries = np.load(io.BytesIO(manifest.read_list(manifest.index)), allow_pickle=False)
    known = entries.dtype == ENTRY
    counts = np.bincount(entries["shard"], minlength=len(manifest.shards)).tolist() if known else None
    if counts != [shard.count for shard in manifest.shards]:
        raise UserError(
            f"{storage.join(manifest.directory, manifest.index.file)} counts other photos than dataset.json: convert "
            "the photos again with --overwrite."
        )
    if manifest.label_patch:
        tests = [number for number, shard in enumerate(manifest.shards) if shard.split == "test"]
        trained = ~np.isin(entries["shard"], tests)
        for row, label in manifest.label_patch.labels.items():
            entries["label"][trained & (entries["row"] == row)] = label
    return np.asarray(entries)


def select(manifest: Manifest, index: np.ndarray, shards: Iterable[Shard]) -> np.ndarray:
    """int64 [M], the numbers in `index` of the photos of `shards`, ascending: in the order of the shards."""
    wanted = {shard.file for shard in shards}
    numbers = [number for number, shard in enumerate(manifest.shards) if shard.file in wanted]
    return np.flatnonzero(np.isin(index["shard"], numbers))


def read_photo(
    manifest: Manifest, entry: np.void, *, read: Callable[[str, int, int], bytes] = storage.read_range
) -> memoryview:
    """The JPEG bytes of one photo; the checksum of its whole record has been compared.

    Args:
      manifest: the data set.
      entry: ENTRY, where the photo lies.
      read: (path, start, size) to bytes; a `storage.RangeReader` for many photos.

    Raises:
      DamagedShardError: the shard does not hold that record.
    """
    path = storage.join(manifest.directory, manifest.shards[entry["shard"]].file)
    size = int(entry["bytes"])
    try:
        content = read(path, int(entry["start"]), size + CHECKSUM_BYTES)
    except storage.errors() as error:
        reason = getattr(error, "strerror", None) or error
        raise DamagedShardError(f"The shard {path} cannot be read ({reason}): copy the data set again.") from None
    record = content[:size]
    if not is_whole(record, content[size:]):
        raise DamagedShardError(
            f"The shard {path} is damaged at row {entry['row']} (its checksum differs): copy the data set again, or "
            "convert the photos again with --overwrite."
        )
    return memoryview(record)[entry["photo_start"] : entry["photo_start"] + entry["photo_bytes"]]
