"""The position of every photo in its shard, so that it can be read without those before it."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from carclf import storage
from carclf.data.decoder import DecodeSizes, decode_sizes
from carclf.data.manifest import PSEUDO, Manifest, Shard
from carclf.data.records import CHECKSUM_BYTES, HEAD_BYTES, matches_checksum
from carclf.errors import DamagedShardError, UserError
from carclf.framing import Framing

ENTRY = np.dtype(
    [
        ("shard", "<i4"),  # index in Manifest.shards
        ("start", "<i8"),  # of the record in the shard's file, bytes
        ("bytes", "<i4"),  # of the record
        ("photo_start", "<i4"),  # of the JPEG in the record, bytes
        ("photo_bytes", "<i4"),  # of the JPEG
        ("height", "<i4"),  # of the photo, pixels
        ("width", "<i4"),
        ("label", "<i4"),  # −1 if unknown
        ("row", "<i4"),  # in the split's ids
    ]
)
FIRST_BYTES = 32  # of a photo, for the search


def index_shard(records: Iterable[tuple[bytes, bytes, dict[str, int]]]) -> np.ndarray:
    """Returns ENTRY [count], the entries of one shard (numbered 0).

    Args:
      records: each record in the shard's order, its JPEG, and its height, width, label and row.
    """
    entries, start = [], HEAD_BYTES
    for record, photo, fields in records:
        photo_start = _photo_start(record, photo)
        values = (fields[name] for name in ("height", "width", "label", "row"))
        entries.append((0, start, len(record), photo_start, len(photo), *values))
        start += len(record) + CHECKSUM_BYTES + HEAD_BYTES
    return np.array(entries, ENTRY)


def _photo_start(record: bytes, photo: bytes) -> int:
    """Returns the start of the photo in the record. (`bytes.index` of the whole photo is 20 times slower.)"""
    start = record.index(photo[:FIRST_BYTES])
    while record[start : start + len(photo)] != photo:
        start = record.index(photo[:FIRST_BYTES], start + 1)
    return start


def to_npy(shards: Sequence[np.ndarray]) -> bytes:
    """Returns the bytes of a data set's index file, from the entries of its shards in order."""
    numbered = [np.zeros(0, ENTRY), *(entries.copy() for entries in shards)]
    for number, entries in enumerate(numbered[1:]):
        entries["shard"] = number
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(numbered), allow_pickle=False)
    return buffer.getvalue()


def read_index(manifest: Manifest) -> np.ndarray:
    """Returns ENTRY [N], every photo in the order of the shards, with the labels of the manifest's patch.

    Test photos with pseudo-labels follow a second time, in their split's shards, with rows after those of training.

    Raises:
      UserError: the index is missing, was changed, or has other photo counts than dataset.json.
    """
    entries = np.load(io.BytesIO(manifest.read_list(manifest.index)), allow_pickle=False)
    known = entries.dtype == ENTRY
    stored = [shard for shard in manifest.shards if shard.split != PSEUDO]
    counts = np.bincount(entries["shard"], minlength=len(stored)).tolist() if known else None
    if counts != [shard.count for shard in stored]:
        raise UserError(
            f"{storage.join(manifest.directory, manifest.index.file)} has other photo counts than dataset.json: "
            "convert the photos again with --overwrite."
        )
    tests = [number for number, shard in enumerate(manifest.shards) if shard.split == "test"]
    if manifest.label_patch:
        trained = np.flatnonzero(~np.isin(entries["shard"], tests))
        new = _by_row(manifest.label_patch.labels, manifest.ids["train"].count)[entries["row"][trained]]
        entries["label"][trained[new >= 0]] = new[new >= 0]
    return np.concatenate([entries, *_pseudo_labelled(manifest, entries, tests)])


def _pseudo_labelled(manifest: Manifest, entries: np.ndarray, tests: Sequence[int]) -> Iterator[np.ndarray]:
    """Yields the entries of the test photos that have pseudo-labels, shard by shard."""
    if not manifest.pseudo_labels:
        return
    label_of = _by_row(manifest.pseudo_labels.labels, manifest.ids["test"].count)
    tested = entries[np.isin(entries["shard"], tests)]
    labelled = tested[label_of[tested["row"]] >= 0]
    labelled["label"] = label_of[labelled["row"]]
    numbers = {manifest.shards[number].file: number for number in tests}
    for number, shard in enumerate(manifest.shards):
        if shard.split == PSEUDO:
            mine = labelled[labelled["shard"] == numbers[shard.file]]
            mine["shard"], mine["row"] = number, mine["row"] + manifest.ids["train"].count
            yield mine


def _by_row(labels: Mapping[int, int], rows: int) -> np.ndarray:
    """Returns int32 [rows], the label of each row of a split; −1 for one without."""
    found = np.full(rows, -1, np.int32)
    found[list(labels)] = list(labels.values())
    return found


def list_row(manifest: Manifest, entry: np.void) -> tuple[str, int]:
    """Returns the list of Ids that a photo stands in, 'train' or 'test', and its row there.

    Args:
      manifest: the data set.
      entry: ENTRY of the photo, from `read_index`.
    """
    split, row = manifest.shards[entry["shard"]].split, int(entry["row"])
    if split == PSEUDO:
        return "test", row - manifest.ids["train"].count
    return ("test" if split == "test" else "train"), row


def photo_weights(manifest: Manifest, entries: np.ndarray) -> np.ndarray:
    """Returns float32 [N]: the confidence of each photo with a pseudo-label, 1 for every other.

    Args:
      manifest: the data set.
      entries: ENTRY [N], from `read_index`.
    """
    weights = np.ones(len(entries), np.float32)
    if manifest.pseudo_labels:
        pseudo = [number for number, shard in enumerate(manifest.shards) if shard.split == PSEUDO]
        found = np.isin(entries["shard"], pseudo)
        rows = entries["row"][found] - manifest.ids["train"].count
        weights[found] = [manifest.pseudo_labels.confidences[row] for row in rows.tolist()]
    return weights


def photo_sizes(index: np.ndarray) -> np.ndarray:
    """Returns int64 [N, 2], (height, width) of the stored photos of an index, in pixels."""
    return np.stack([index["height"], index["width"]], axis=1).astype(np.int64)


def sizes_for(manifest: Manifest, *, framing: Framing) -> DecodeSizes:
    """Returns how large each photo of the data set is decoded, in the order of its index."""
    return decode_sizes(photo_sizes(read_index(manifest)), framing=framing)


def select(manifest: Manifest, index: np.ndarray, shards: Iterable[Shard]) -> np.ndarray:
    """Returns int64 [M], the numbers in `index` of the photos of `shards`, ascending, in the order of the shards."""
    wanted = set(shards)
    numbers = [number for number, shard in enumerate(manifest.shards) if shard in wanted]
    return np.flatnonzero(np.isin(index["shard"], numbers))


def read_photo(
    manifest: Manifest, entry: np.void, *, read: Callable[[str, int, int], bytes] = storage.read_range
) -> memoryview:
    """Returns the JPEG bytes of one photo, after comparing the checksum of its whole record.

    Args:
      manifest: the data set.
      entry: ENTRY of the photo.
      read: (path, start, size) to bytes; a `storage.RangeReader` for many photos.

    Raises:
      DamagedShardError: the shard does not have that record.
    """
    path = storage.join(manifest.directory, manifest.shards[entry["shard"]].file)
    size = int(entry["bytes"])
    try:
        content = read(path, int(entry["start"]), size + CHECKSUM_BYTES)
    except OSError as error:
        raise DamagedShardError(
            f"The shard {path} cannot be read ({error.strerror or error}): copy the data set again."
        ) from None
    record = content[:size]
    if not matches_checksum(record, content[size:]):
        _, row = list_row(manifest, entry)
        raise DamagedShardError(
            f"The shard {path} is damaged at row {row} (its checksum differs): copy the data set again, or convert the "
            "photos again with --overwrite."
        )
    return memoryview(record)[entry["photo_start"] : entry["photo_start"] + entry["photo_bytes"]]
