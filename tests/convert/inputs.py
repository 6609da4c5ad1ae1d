"""Inputs for the tests in this folder, drawn photos in every layout, and readers of the results."""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from carclf import storage
from carclf.convert.converter import convert
from carclf.convert.inventory import Inventory, take_inventory
from carclf.convert.labels import LabelFile, columns_by_name, label_file
from carclf.convert.options import ConvertOptions
from carclf.convert.table import read_table
from carclf.data.manifest import Manifest
from carclf.synthetic.draw import draw_jpeg

SIZE = (64, 48)
KINDS = 3
Files = dict[str, bytes]


def read_label_file(
    content: bytes, *, shown: str, id_column: str = "", label_column: str = "", with_labels: bool = True
) -> LabelFile:
    """Returns the labels of a CSV whose columns are recognised by their names."""
    table = read_table(content, shown=shown)
    ids, label = columns_by_name(table, id_column=id_column, label_column=label_column, with_labels=with_labels)
    return label_file(table, ids=ids, label=label)


def drawn(number: int, *, size: tuple[int, int] = SIZE) -> bytes:
    """Returns the JPEG bytes of a photo, different for each number."""
    return draw_jpeg(kind=number % KINDS, photo_id=f"{number}.jpg", seed=3, size=size)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def class_folders(photos: int, *, first: int = 0, root: str = "") -> Files:
    """Returns path → bytes of `photos` photos in the folders of KINDS classes."""
    numbers = range(first, first + photos)
    return {f"{root}{number % KINDS}/{number}.jpg": drawn(number) for number in numbers}


def competition(photos: int = 12, *, tests: int = 4) -> Files:
    """Returns the unpacked competition: train/<class>/<Id>, test_upload/<Id>, train.csv, sample-submission.csv."""
    numbers, test_numbers = range(photos), range(1000, 1000 + tests)
    files = class_folders(photos, root="train/")
    files |= {f"test_upload/{number}.jpg": drawn(number) for number in test_numbers}
    files["train.csv"] = csv_of((f"{number}.jpg", number % KINDS) for number in numbers)
    files["sample-submission.csv"] = csv_of((f"{number}.jpg", 0) for number in test_numbers)
    return files


def csv_of(rows: Iterable[tuple[str, object]], header: str = "Id,Category") -> bytes:
    return "".join([f"{header}\n", *(f"{photo_id},{label}\n" for photo_id, label in rows)]).encode()


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def zipped(files: Mapping[str, bytes], *, deflated: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write_zip(path: Path, files: Mapping[str, bytes], *, deflated: bool = False) -> Path:
    path.write_bytes(zipped(files, deflated=deflated))
    return path


def converted(source: Path | str, output: Path | str, **options) -> Manifest:
    """Returns the data set made from `source`, with two folds and one process unless `options` differ."""
    given = {"input": str(source), "output": str(output), "folds": 2, "workers": 1, **options}
    manifest = convert(ConvertOptions(**given))
    assert manifest is not None
    return manifest


def listed(tmp_path: Path, files: Files, **options) -> tuple[dict[str, str], list[str], Inventory]:
    """Returns (Id → label of the training photos, the test Ids, the notes); no photo is read."""
    source = write_files(tmp_path / "in", {name: content or b"" for name, content in files.items()})
    given = ConvertOptions(input=str(source), output=str(tmp_path / "out"), **options)
    inventory = take_inventory(given, spool=str(tmp_path / "spool"))
    train = {photo.id: photo.category for photo in inventory.photos if photo.split == "train"}
    return train, [photo.id for photo in inventory.photos if photo.split == "test"], inventory


def empty(*paths: str) -> Files:
    """Returns empty files."""
    return dict.fromkeys(paths, b"")


def numbered(path: str, numbers: Iterable[int]) -> Files:
    """Returns empty files whose path has the place {}."""
    return empty(*(path.format(n) for n in numbers))


def table(header: str, rows: Iterable[Iterable[object]]) -> bytes:
    """Returns a CSV."""
    return "".join([f"{header}\n", *(",".join(map(str, row)) + "\n" for row in rows)]).encode()


def shard_hashes(manifest: Manifest) -> list[str]:
    return [shard.sha256 for shard in manifest.shards]


def ids_of(manifest: Manifest, split: str = "train") -> dict[str, str]:
    """Returns Id → class name of a split's photos; '' for test photos."""
    photos = manifest.read_ids(split)
    return dict(zip(photos["id"], photos["class_name"], strict=True))


def rejected(folder: Path | str) -> list[dict[str, str]]:
    """Returns the rows of rejected.csv."""
    import csv

    text = (Path(folder) / "rejected.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def reasons(folder: Path | str) -> dict[str, str]:
    """Returns path in the input, or the Id if there is no file → reason, for everything in rejected.csv."""
    return {row["source"] or row["id"]: row["reason"] for row in rejected(folder)}


def tree(folder: Path) -> dict[str, str]:
    """Returns file → SHA-256 of everything under a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink()]
    return {
        path.relative_to(folder).as_posix(): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def read_records(manifest: Manifest, split: str) -> list[dict]:
    """Returns every record of a split as plain TensorFlow reads it: feature → number or bytes, and its fold."""
    import tensorflow as tf

    spec = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/format": tf.io.FixedLenFeature([], tf.string),
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
        "image/filename": tf.io.FixedLenFeature([], tf.string),
        "image/key/sha256": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
        "image/class/text": tf.io.FixedLenFeature([], tf.string),
        "image/row": tf.io.FixedLenFeature([], tf.int64),
    }
    records = []
    for shard in manifest.shards_of(split):
        for record in tf.data.TFRecordDataset(storage.join(manifest.directory, shard.file)):
            example = tf.io.parse_single_example(record, spec)
            records.append({name: value.numpy() for name, value in example.items()} | {"fold": shard.fold})
    return records


def decoded(content: bytes) -> np.ndarray:
    """Returns a stored photo as training decodes it, uint8 [h, w, 3]."""
    import tensorflow as tf

    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_FAST", fancy_upscaling=True).numpy()
