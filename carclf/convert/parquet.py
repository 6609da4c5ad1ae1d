"""Parquet files of Hugging Face: a column of encoded photos, one of labels, and the classes' names in the schema."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from carclf.convert.embedded import Embedded, RecordPhoto
from carclf.convert.photo_bytes import is_photo_start
from carclf.convert.sources import Source, open_window
from carclf.convert.tfrecords import ID_FEATURES, LABEL_FEATURES, PHOTO_FEATURES
from carclf.convert.zips import MAX_RATIO, RATIO_FREE_BYTES, check_room
from carclf.errors import DamagedFileError, UserError
from carclf.extras import install_command
from carclf.files import replacing

ROWS_AT_ONCE = 64


def photos_in(source: Source, *, spool: str) -> tuple[Source, list[Embedded], dict[str, str]]:
    """Returns (a file of the photos one after the other, where they are, the names of the classes).

    Args:
      source: the Parquet file.
      spool: a folder for the file of the photos.

    Raises:
      UserError: pyarrow is missing, the file is damaged, its content is absurdly large, or no column holds photos.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise UserError(
            f"{source.shown} needs pyarrow, which is not installed: {install_command('parquet')}."
        ) from None
    try:
        with open_window(source) as file:
            table = parquet.ParquetFile(file)
            size = table.metadata.serialized_size + file.seek(0, os.SEEK_END)
            check_room(spool, size, shown=source.shown)
            place = f"{os.path.abspath(source.path)}/{source.offset}"  # --external may have a file of this name, too
            path = os.path.join(spool, f"{hashlib.sha256(place.encode()).hexdigest()[:24]}.photos")
            groups = range(table.metadata.num_row_groups)
            unpacked_bytes = sum(table.metadata.row_group(group).total_byte_size for group in groups)
            _check_ratio(unpacked_bytes, packed_bytes=size, shown=source.shown)
            found = _write_photos(table, path, packed_bytes=size, shown=source.shown)
            names = _class_names(table.schema_arrow.metadata or {})
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedFileError(f"{source.shown} cannot be read as Parquet ({error}): download it again.") from None
    return Source(path, source.shown, True), found, names


def _check_ratio(unpacked_bytes: int, *, packed_bytes: int, shown: str) -> None:
    """Checks that a file does not unpack to an absurd size.

    Raises:
      DamagedFileError: it does.
    """
    if unpacked_bytes > RATIO_FREE_BYTES and unpacked_bytes > MAX_RATIO * packed_bytes:
        raise DamagedFileError(
            f"{shown} is compressed more than {MAX_RATIO}:1 and is not unpacked here: write its photos as files if you "
            "trust it, and give their folder."
        )


def _write_photos(table: Any, path: str, *, packed_bytes: int, shown: str) -> list[Embedded]:
    found: list[Embedded] = []
    start = 0
    with replacing(Path(path)) as temporary, open(temporary, "wb") as file:
        for row in _rows(table):
            content, name = _photo(row, shown=shown)
            row_id = name or _first(row, ID_FEATURES)
            label = _first(row, LABEL_FEATURES)
            found.append(Embedded(RecordPhoto(row_id, "" if label.startswith("-") else label), start, len(content)))
            start += file.write(content)
            _check_ratio(start, packed_bytes=packed_bytes, shown=shown)
    return found


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    for batch in table.iter_batches(batch_size=ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _photo(row: dict[str, Any], *, shown: str) -> tuple[bytes, str]:
    """Returns the bytes of a row's photo, and its file name or ""."""
    names = [name for name in PHOTO_FEATURES if name in row] + sorted(set(row) - set(PHOTO_FEATURES))
    for name in names:
        cell = row[name]
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if isinstance(content, bytes) and is_photo_start(content[:32]):
            path = str(cell.get("path") or "") if isinstance(cell, dict) else ""
            return content, path.replace("\\", "/").rpartition("/")[2]
    raise DamagedFileError(
        f"{shown} holds a row without a photo (its columns: {', '.join(sorted(row))}): give files whose rows hold "
        "encoded photos, or the photos themselves."
    )


def _first(row: dict[str, Any], names: tuple[str, ...]) -> str:
    """Returns the first of these columns that a row fills with a text or a number, as a text."""
    values = (row.get(name) for name in names)
    return next((str(value) for value in values if isinstance(value, (str, int)) and str(value).strip()), "")


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, str]:
    """Returns label → name from Hugging Face's description of the columns. Source: datasets, `ClassLabel`."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = next(features[name]["names"] for name in LABEL_FEATURES if "names" in features.get(name, {}))
    except (KeyError, ValueError, TypeError, StopIteration):
        return {}
    return {str(label): str(name) for label, name in enumerate(names)} if len(set(names)) == len(names) else {}
