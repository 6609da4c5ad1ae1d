"""Parquet files of Hugging Face: a column of encoded photos, one of labels, and the classes' names in the schema."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from carclf.convert.embedded import Embedded, RecordFile, RecordPhoto
from carclf.convert.sources import Source, open_window
from carclf.convert.tfrecords import ID_FEATURES, LABEL_FEATURES, PHOTO_FEATURES
from carclf.convert.zips import MAX_RATIO, RATIO_FREE_BYTES, check_room
from carclf.data.image_formats import HEAD_BYTES, is_photo
from carclf.errors import DamagedFileError, UserError
from carclf.extras import install_command
from carclf.files import replacing

ROWS_AT_ONCE = 64


def photos_in(source: Source, *, spool: str, label_column: str = "") -> RecordFile:
    """Returns a file of the photos one after the other, where they are, and the names of the classes.

    Args:
      source: the Parquet file.
      spool: a folder for the file of the photos.
      label_column: of the labels, if the file has it; "" recognises it.

    Raises:
      UserError: pyarrow is missing, the file is damaged, its content is absurdly large, no column holds photos, or
        several columns may hold the labels.
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
            features = _features(table.schema_arrow.metadata or {})
            wanted = _label_columns(table.schema_arrow.names, features, label_column, shown=source.shown)
            found, labels = _write_photos(table, path, wanted, packed_bytes=size, shown=source.shown)
            names = _class_names(features, labels)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedFileError(f"{source.shown} cannot be read as Parquet ({error}): download it again.") from None
    return RecordFile(Source(path, source.shown, True), found, names, labels)


def _label_columns(
    columns: Sequence[str], features: Mapping[str, Any], label_column: str, *, shown: str
) -> Sequence[str]:
    """Returns the columns that may hold the labels, the likeliest first: those of usual names, else that of classes."""
    if label_column in columns:
        return [label_column]
    if usual := [name for name in LABEL_FEATURES if name in columns]:
        return usual
    classes = [name for name in columns if _names_of(features, name)]
    if len(classes) > 1:
        raise UserError(
            f"{shown} has several columns of classes ({', '.join(classes)}): say which one counts with "
            "--label_column=NAME."
        )
    return classes


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


def _write_photos(
    table: Any, path: str, label_columns: Sequence[str], *, packed_bytes: int, shown: str
) -> tuple[list[Embedded], str]:
    """Returns (the photos, the column of their labels or ""), after writing the photos one after the other."""
    columns = table.schema_arrow.names
    ids: dict[str, list[str]] = {name: [] for name in ID_FEATURES if name in columns}
    labels: dict[str, list[str]] = {name: [] for name in label_columns}
    places: list[tuple[str, int, int]] = []
    start = 0
    with replacing(Path(path)) as temporary, open(temporary, "wb") as file:
        for row in _rows(table):
            content, name = _photo(row, shown=shown)
            for column, cells in ids.items():
                cells.append(_text(row[column]))
            for column, cells in labels.items():
                cells.append(_label(row[column]))
            places.append((name, start, len(content)))
            start += file.write(content)
            _check_ratio(start, packed_bytes=packed_bytes, shown=shown)
    id_column, label_column = _first_filled(ids), _first_filled(labels)
    nothing = [""] * len(places)
    cells_of = zip(ids.get(id_column, nothing), labels.get(label_column, nothing), strict=True)
    return [
        Embedded(RecordPhoto(name or cell, label), start, size)
        for (name, start, size), (cell, label) in zip(places, cells_of, strict=True)
    ], label_column


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    for batch in table.iter_batches(batch_size=ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _photo(row: dict[str, Any], *, shown: str) -> tuple[bytes, str]:
    """Returns the bytes of a row's photo, and its file name or ""."""
    names = [name for name in PHOTO_FEATURES if name in row] + sorted(set(row) - set(PHOTO_FEATURES))
    for name in names:
        cell = row[name]
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if isinstance(content, bytes) and is_photo(content[:HEAD_BYTES]):
            path = str(cell.get("path") or "") if isinstance(cell, dict) else ""
            return content, path.replace("\\", "/").rpartition("/")[2]
    raise DamagedFileError(
        f"{shown} holds a row without a photo (its columns: {', '.join(sorted(row))}): give files whose rows hold "
        "encoded photos, or the photos themselves."
    )


def _first_filled(columns: dict[str, list[str]]) -> str:
    """Returns the first column that has a text in any row, so that a file has one meaning; "" if there is none."""
    return next((name for name, cells in columns.items() if any(cells)), "")


def _text(value: object) -> str:
    """Returns a text or a number as a text: 3.0 is 3, as pandas writes whole numbers in a column with gaps."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else "" if math.isnan(value) else str(value)
    return str(value).strip() if isinstance(value, (str, int)) else ""


def _label(value: object) -> str:
    """Returns a label as a text; "" if it is negative, as for test photos."""
    return "" if isinstance(value, (int, float)) and value < 0 else _text(value)


def _features(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """Returns Hugging Face's description of the columns; empty without one. Source: datasets, `Features`."""
    try:
        return dict(json.loads(metadata[b"huggingface"])["info"]["features"])
    except (KeyError, ValueError, TypeError):
        return {}


def _names_of(features: Mapping[str, Any], column: str) -> list[str]:
    """Returns the names of the classes in a column; none if it is of another kind. Source: datasets, `ClassLabel`."""
    feature = features.get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []


def _class_names(features: Mapping[str, Any], column: str) -> dict[str, str]:
    """Returns label → name of the classes in a column, if no two have the same name."""
    names = _names_of(features, column)
    return {str(label): name for label, name in enumerate(names)} if len(set(names)) == len(names) else {}
