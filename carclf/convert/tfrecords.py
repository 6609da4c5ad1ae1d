"""TFRecords of others: which feature is the photo, the Id, the label."""

import dataclasses
from collections.abc import Sequence

from carclf.convert import examples
from carclf.convert.embedded import Embedded, RecordFile, RecordPhoto
from carclf.convert.examples import Values
from carclf.convert.sources import Source, open_window
from carclf.convert.tars import unpacked
from carclf.data.image_formats import HEAD_BYTES, is_photo
from carclf.errors import DamagedFileError, UserError

PHOTO_FEATURES = ("image/encoded", "image", "image_raw", "image_bytes", "encoded", "jpeg", "img", "picture", "photo")
ID_FEATURES = (
    *("id", "image_id", "image_name", "image/filename", "filename", "file_name", "image/id", "image/source_id"),
    *("img_id", "name", "image/key", "key"),
)
LABEL_FEATURES = (
    *("class", "target", "label", "image/class/label", "labels", "class_id", "class_label", "category", "label_id"),
    *("species", "breed", "diagnosis"),
)
TEXT_FEATURES = ("image/class/text", "class_name", "class_text", "label_name", "label_text")


def photos_in(source: Source, *, spool: str, label_column: str = "") -> RecordFile:
    """Returns the unpacked file and its photos, without names of classes.

    Args:
      source: the TFRecord file, perhaps packed.
      spool: a folder for packed files, created only if it is needed.
      label_column: the feature of the labels in records that have it; "" recognises it.

    Raises:
      DamagedFileError: the file is damaged, or a record holds no photo.
    """
    source = unpacked(source, spool=spool)
    found, has_column = [], False
    with open_window(source) as file:
        for start, record in examples.read_records(file, shown=source.shown):
            features = _features(record, shown=source.shown)
            has_column |= label_column in features
            embedded = _embedded(record, features, label_column=label_column, shown=source.shown)
            found.append(dataclasses.replace(embedded, start=start + embedded.start))
    return RecordFile(source, found, {}, label_column if has_column else "")


def _features(record: bytes, *, shown: str) -> dict[str, Values]:
    try:
        return examples.parse_example(record)
    except ValueError as error:
        raise DamagedFileError(
            f"{shown} holds records that are not tf.train.Example messages ({error}): give other files."
        ) from None


def _embedded(record: bytes, features: dict[str, Values], *, label_column: str, shown: str) -> Embedded:
    start, end = _photo(record, features, shown=shown)
    columns = (label_column,) if label_column in features else LABEL_FEATURES
    text, label = _text(record, features, TEXT_FEATURES), _label(record, features, columns, shown=shown)
    photo = RecordPhoto(id=_text(record, features, ID_FEATURES), label=text if label is None else label, text=text)
    return Embedded(photo, start, end - start)


def _photo(record: bytes, features: dict[str, Values], *, shown: str) -> tuple[int, int]:
    """Returns the place of the photo: the first feature, by name and then of any name, that starts as a photo does."""
    names = [name for name in PHOTO_FEATURES if name in features] + sorted(set(features) - set(PHOTO_FEATURES))
    for name in names:
        for value in features[name]:
            if isinstance(value, tuple) and is_photo(record[value[0] : min(value[1], value[0] + HEAD_BYTES)]):
                return value
    raise DamagedFileError(
        f"{shown} holds a record without a photo (its features: {', '.join(sorted(features)) or 'none'}): give "
        "records with encoded photos, or the photos themselves."
    )


def _text(record: bytes, features: dict[str, Values], names: Sequence[str]) -> str:
    """Returns the first of these features as a text; "" if there is none."""
    for name in names:
        values = features.get(name)
        if values and len(values) == 1 and (text := _word(record, values[0])):
            return text
    return ""


def _word(record: bytes, value: object) -> str:
    """Returns a value as a text; "" if it is none."""
    if isinstance(value, tuple):
        content = record[value[0] : value[1]]
        return "" if is_photo(content[:HEAD_BYTES]) else content.decode("utf-8", errors="replace").strip()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return str(value)


def _label(record: bytes, features: dict[str, Values], columns: Sequence[str], *, shown: str) -> str | None:
    """Returns the label, also of a one-hot feature; "" if it is negative, as for test photos, or NaN; None without."""
    for name in columns:
        values = features.get(name)
        if not values:
            continue
        if len(values) == 1:
            value = values[0]
            return _word(record, value) if isinstance(value, tuple) or value >= 0 else ""
        if not isinstance(values[0], tuple) and sorted(map(float, values))[-2:] == [0.0, 1.0]:
            return str([float(value) for value in values].index(1.0))
        raise UserError(f"{shown} holds records with several labels in the feature {name!r}: give one for each photo.")
    return None
