"""The files of a conversion: rows and records of the validated photos, shards, lists; and their clean-up."""

import contextlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from carclf import storage
from carclf.convert import encoded_photos, shards
from carclf.convert.photos import Photo
from carclf.convert.scan import PhotoCheck
from carclf.convert.shards import Record, ShardPlan, Written
from carclf.data import index, lists
from carclf.data.manifest import ID_SPLITS, MANIFEST_FILE, SAMPLE_LIST, ListFile, Manifest, from_json, read_file
from carclf.errors import UserError
from carclf.progress import Progress
from carclf.workers import Pool

SPOOL_FOLDER = "spool.tmp"
BEAM_FOLDER = "beam.tmp"  # what Beam's workers and their launcher leave for each other
INDEX_FILE = "photos.npy"
FOLDER_DIGITS = 16  # of the fingerprint, in the name of the shards' folder
SHARD_FOLDER = re.compile(rf"[0-9a-f]{{{FOLDER_DIGITS}}}")
SHARD_FILE = re.compile(rf".+\.tfrecord({re.escape(shards.RECEIPT)})?|[a-z-]+\.csv|{re.escape(INDEX_FILE)}")
RECORD_BYTES = 512  # of a record without its photo: names, hashes, framing
SPARE_BYTES = 64 * 2**20  # for lists, receipts and the file system's own needs
HEADERS = {  # list beside dataset.json → the columns that carclf gives it
    "rejected": lists.REJECTED_COLUMNS,
    "remarks": lists.REMARK_COLUMNS,
    lists.DUPLICATES: lists.DUPLICATE_COLUMNS,
    **{f"ids-{split}": lists.ID_COLUMNS for split in ID_SPLITS},
}


def number_rows(photos: Sequence[Photo]) -> list[int]:
    """Returns each photo's row in its split's ids: training photos, then external ones; test photos separately."""
    first = {"train": 0, "extra": sum(photo.split == "train" for photo in photos), "test": 0}
    seen: Counter[str] = Counter()
    rows = []
    for photo in photos:
        rows.append(first[photo.split] + seen[photo.split])
        seen[photo.split] += 1
    return rows


def build_record(
    photo: Photo, check: PhotoCheck, *, row: int, label_of: Mapping[str, int], names: Sequence[tuple[str, str]]
) -> Record:
    """Returns one photo as its shard will hold it.

    Args:
      photo: of the input.
      check: its validation.
      row: from `number_rows`.
      label_of: category → label.
      names: (category, name) of every class in label order.
    """
    label = -1 if photo.split == "test" else label_of[photo.category]
    return Record(
        id=photo.id,
        row=row,
        label=label,
        class_name="" if label < 0 else names[label][1],
        source=photo.entry.source,
        name=photo.entry.name,
        source_sha256=check.source_sha256,
        stored_sha256=check.stored_sha256,
        height=check.height,
        width=check.width,
        place=check.place,
    )


def write_shards(
    directory: str, plans: Sequence[ShardPlan], *, stored_bytes: int, kept: str, workers: Pool
) -> list[Written]:
    """Writes the shards of a data set; returns them in reading order, with the positions of their photos.

    Shards that an interrupted run finished are kept.

    Args:
      directory: the data set.
      plans: from `plan_shards`.
      stored_bytes: of all photos together, to check beforehand that the disk has room.
      kept: folder of `carclf.convert.encoded_photos`, emptied if the shards need its room; or "".
      workers: prepared by `carclf.convert.scan.prepare`.

    Raises:
      UserError: the disk is full or would fill up, or a photo changed since it was validated.
    """
    for folder in sorted({storage.parent(plan.file) for plan in plans}):
        storage.make_folder(storage.join(directory, folder))
        _remove_temporaries(storage.join(directory, folder))
    finished = {plan.file: written for plan in plans if (written := shards.finished_shard(directory, plan))}
    if finished:
        print(f"{len(finished)} of {len(plans)} shards are finished already and are kept", flush=True)
    records = sum(len(plan.records) for plan in plans)
    kept_bytes = sum(written.shard.bytes for written in finished.values())
    needed = stored_bytes + RECORD_BYTES * records - kept_bytes
    if kept and _free_bytes(directory) < needed + SPARE_BYTES:
        encoded_photos.make_room(kept)
    check_space(directory, needed)
    missing = [plan for plan in plans if plan.file not in finished]
    with Progress("Writing shards", total=sum(len(plan.records) for plan in missing)) as progress:
        for written in workers.map(shards.write_shard, ((directory, plan) for plan in missing)):
            finished[written.shard.file] = written
            progress.add(written.shard.count)
    return [finished[plan.file] for plan in plans]


def check_space(directory: str, needed: int) -> None:
    """Checks that the disk has room for `needed` bytes in a folder, which need not exist yet.

    Raises:
      UserError: it does not.
    """
    if storage.is_remote(directory):
        return
    if (free := _free_bytes(directory)) < needed + SPARE_BYTES:
        raise UserError(
            f"{directory} needs {(needed + SPARE_BYTES) / 1e9:.2f} GB and {free / 1e9:.2f} GB are free: free some "
            "space, or choose another --output."
        )


def _free_bytes(directory: str) -> int:
    present = os.path.abspath(directory)
    while not os.path.isdir(present):
        present = os.path.dirname(present)
    return shutil.disk_usage(present).free


def ids_csv(
    photos: Iterable[tuple[Photo, str]], records: Sequence[tuple[str, int | None, Record]], *, split: str
) -> tuple[bytes, int]:
    """Returns (content, rows) of ids-train.csv (external photos at its end) or ids-test.csv, in row order.

    Args:
      photos: each with its path in the input, in the order of `records`.
      records: (split, fold, record).
      split: 'train' or 'test'.
    """
    wanted = ("test",) if split == "test" else ("train", "extra")
    rows = [
        (
            r.id,
            r.label,
            r.class_name,
            -1 if fold is None else fold,
            r.height,
            r.width,
            r.stored_sha256.hex(),
            path,
            r.row,
        )
        for (_, path), (of, fold, r) in zip(photos, records, strict=True)
        if of in wanted
    ]
    rows.sort(key=lambda row: row[-1])
    return lists.to_csv(lists.ID_COLUMNS, [row[:-1] for row in rows]), len(rows)


def write_list(directory: str, folder: str, name: str, content: bytes, count: int) -> ListFile:
    """Writes a CSV to the folder of the shards, where it touches no older data set; returns its entry."""
    file = f"{folder}/{name}.csv"
    storage.write_atomic(storage.join(directory, file), content)
    return ListFile(file, count, storage.sha256(content))


def write_index(directory: str, folder: str, written: Sequence[Written]) -> ListFile:
    """Writes the index to the folder of the shards; returns its entry."""
    content = index.to_npy([one.entries for one in written])
    file = f"{folder}/{INDEX_FILE}"
    storage.write_atomic(storage.join(directory, file), content)
    return ListFile(file, sum(one.shard.count for one in written), storage.sha256(content))


def copy_lists(manifest: Manifest) -> None:
    """Copies the CSVs of a committed data set to where people look for them: directly in its folder."""
    for name, entry in [*manifest.lists.items(), *((f"ids-{split}", manifest.ids[split]) for split in ID_SPLITS)]:
        content = manifest.read_list(entry)
        path = storage.join(manifest.directory, f"{name}.csv")
        if storage.size_bytes(path) != len(content) or storage.read_bytes(path) != content:
            storage.write_atomic(path, content)
    sample = storage.join(manifest.directory, f"{SAMPLE_LIST}.csv")
    if SAMPLE_LIST not in manifest.lists and _is_of_older_set(sample, manifest.directory):
        storage.remove(sample)


def check_own_lists(directory: str) -> None:
    """Checks that an output without a data set holds no file of the user's that a list of the data set would replace.

    A list that an unfinished conversion left, such as rejected.csv, has the columns of carclf and counts as its own.

    Raises:
      UserError: it holds one.
    """
    if storage.size_bytes(storage.join(directory, MANIFEST_FILE)) is not None:
        return
    for name in (*HEADERS, SAMPLE_LIST):
        path = storage.join(directory, f"{name}.csv")
        if storage.size_bytes(path) is None:
            continue
        header = lists.to_csv(HEADERS[name], []) if name in HEADERS else None
        own = storage.read_bytes(path).startswith(header) if header else _is_of_older_set(path, directory)
        if not own:
            raise _not_from_carclf(path)


def check_own_sample(directory: str, sample: bytes) -> None:
    """Checks that the sample submission of a data set replaces no file of the user's beside an older data set.

    Raises:
      UserError: it does.
    """
    path = storage.join(directory, f"{SAMPLE_LIST}.csv")
    if storage.size_bytes(path) is None or storage.read_bytes(path) == sample:
        return
    if not (_has_sample(directory) or _is_of_older_set(path, directory)):
        raise _not_from_carclf(path)


def _not_from_carclf(path: str) -> UserError:
    return UserError(
        f"{path} is not from carclf, and a list of the data set has this name: move it elsewhere, or choose another "
        "--output."
    )


def _has_sample(directory: str) -> bool:
    """Returns whether a folder holds a data set with a sample submission; not if it is too damaged to tell."""
    path = storage.join(directory, MANIFEST_FILE)
    with contextlib.suppress(UserError):
        return (
            storage.size_bytes(path) is not None
            and SAMPLE_LIST in from_json(read_file(path), directory=directory).lists
        )
    return False


def _is_of_older_set(path: str, directory: str) -> bool:
    """Returns whether a folder of shards in `directory` holds the same list, so that carclf wrote this one."""
    if storage.size_bytes(path) is None:
        return False
    content, name = storage.read_bytes(path), f"{SAMPLE_LIST}.csv"
    folders = [storage.join(directory, one) for one in storage.names_in(directory) if SHARD_FOLDER.fullmatch(one)]
    copies = [storage.join(folder, name) for folder in folders if name in storage.names_in(folder)]
    return any(storage.read_bytes(copy) == content for copy in copies)


def remove_leftovers(manifest: Manifest) -> None:
    """Removes what a committed data set no longer needs: older shards, receipts, temporary files, unpacked archives."""
    directory = manifest.directory
    kept = manifest.fingerprint[:FOLDER_DIGITS]
    for name in storage.names_in(directory):
        path = storage.join(directory, name)
        older = SHARD_FOLDER.fullmatch(name) and name != kept and _holds_shards_alone(path)
        if name in (SPOOL_FOLDER, BEAM_FOLDER, encoded_photos.FOLDER) or older:
            storage.remove(path)
    _remove_temporaries(directory)
    _remove_temporaries(storage.join(directory, kept))
    for name in storage.names_in(storage.join(directory, kept)):
        if name.endswith(shards.RECEIPT):
            storage.remove(storage.join(storage.join(directory, kept), name))


def _holds_shards_alone(folder: str) -> bool:
    names = storage.names_in(folder)
    return all(SHARD_FILE.fullmatch(name) or storage.is_temporary(name) for name in names)


def _remove_temporaries(folder: str) -> None:
    for name in storage.names_in(folder):
        if storage.is_temporary(name):
            with contextlib.suppress(OSError):
                storage.remove(storage.join(folder, name))
