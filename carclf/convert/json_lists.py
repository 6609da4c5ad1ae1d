"""Lists in JSON: COCO's images, annotations and categories, records, columns, or an object from photo to label."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from carclf.convert.file_kinds import PHOTO_SUFFIXES
from carclf.convert.labels import ID_COLUMNS, LABEL_COLUMNS
from carclf.convert.table import Table
from carclf.errors import UserError
from carclf.text_file import encoding_of
from carclf.wording import counted

Records = list[dict[str, Any]]
LABEL, FILE = "label", "file_name"
IMAGE_IDS = ("id", "image_id")  # the second as Herbarium's competitions write it
# Of a photo or a box, and never its label. Source: https://cocodataset.org/#format-data
DESCRIPTIVE = frozenset(("width", "height", "license", "rights_holder", "date_captured", "iscrowd", "area"))
DESCRIPTIVE |= {"url", "coco_url", "flickr_url"}


class Found(NamedTuple):
    """What a file says of photos and classes.

    Attributes:
      photos: a row for each photo; None if it is no list of photos.
      classes: a row for each class; None without one.
      note: a sentence on what was left out, or "".
    """

    photos: Table | None = None
    classes: Table | None = None
    note: str = ""


def read_json(content: bytes, *, shown: str) -> Found:
    """Returns the lists in a JSON file; nothing if it is some other JSON.

    Args:
      content: its bytes, in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.
      shown: its name in messages.

    Raises:
      UserError: it is not JSON.
    """
    data = _parsed(content, shown)
    if isinstance(data, list):
        return Found(_table(data, shown))
    if not isinstance(data, dict):
        return Found()
    images = _records(data.get("images"))
    if images:
        return _coco(images, _records(data.get("annotations")), _records(data.get("categories")), shown)
    lists = [records for value in data.values() if (records := _records(value))]
    if len(lists) == 1:
        return Found(_table(lists[0], shown))
    return Found(_by_column(data, shown) or _by_photo(data, shown))


def _parsed(content: bytes, shown: str) -> Any:
    try:
        text = content.decode(encoding_of(content))
        try:
            return json.loads(text)
        except ValueError:
            lines = [line for line in text.splitlines() if line.strip()]
            if len(lines) < 2 or not lines[0].lstrip().startswith("{"):
                raise
            return list(map(json.loads, lines))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{shown} is not JSON ({error}): correct or remove it.") from None


def _coco(images: Records, boxes: Records, categories: Records, shown: str) -> Found:
    """Returns the lists of COCO: a row for each image that has an annotation, or for every image if none has any.

    An image may have several annotations of one category, as boxes are; with several categories it has no label.
    """
    classes = _table(categories, shown, drop=("supercategory",))
    if not boxes:
        return Found(_table(images, shown), classes)
    key = next((name for name in IMAGE_IDS if name in images[0]), "")
    of_image: dict[str, dict[str, Any]] = {}
    for box in boxes:
        image, category = _text(box.get("image_id")), box.get("category_id")
        if of_image.setdefault(image, box).get("category_id") != category:
            note = f"{shown} gives image {image} several categories, so it is no list of labels, and was left out."
            return Found(None, classes, note)
    own = {image: {k: v for k, v in box.items() if k not in ("id", "image_id")} for image, box in of_image.items()}
    rows = [{**own[_text(image.get(key))], **image} for image in images if _text(image.get(key)) in own]
    without = counted(len(images) - len(rows), "image has", "images have")
    note = f"{without} no annotation in {shown}, and so no label." if len(rows) < len(images) else ""
    return Found(_table(rows, shown), classes, note)


def _by_photo(data: Mapping[str, Any], shown: str) -> Table | None:
    """Returns the table of an object whose keys are the Ids of photos, and whose values their labels or records.

    Where the Ids have no extension, labels must repeat themselves: in an object from label to name none does.
    """
    values = data.values()
    are_files = all(PurePosixPath(name).suffix.lower() in PHOTO_SUFFIXES - {""} for name in data)
    if all(map(_is_plain, values)):
        known = are_files or len(set(values)) < len(values)
        records = [{FILE: name, LABEL: value} for name, value in data.items()]
    elif all(isinstance(value, dict) for value in values):
        known = are_files or all(LABEL in value for value in values)
        records = [{FILE: name, **value} for name, value in data.items()]
    else:
        return None
    return _table(records, shown) if known else None


def _by_column(data: Mapping[str, Any], shown: str) -> Table | None:
    """Returns the table of an object from column to its cells, a list or, as pandas writes them, by row."""
    usual = {key.strip().lower() for key in data} & {*ID_COLUMNS, *LABEL_COLUMNS}
    columns = [value if isinstance(value, dict) else _numbered(value) for value in data.values()]
    if not usual or len(columns) < 2 or any(column.keys() != columns[0].keys() for column in columns):
        return None
    return _table(
        [{name: column[row] for name, column in zip(data, columns, strict=True)} for row in columns[0]], shown
    )


def _numbered(value: Any) -> dict[Any, Any]:
    """Returns number → item of a list; nothing for what is none."""
    return dict(enumerate(value)) if isinstance(value, list) else {}


def _table(records: Iterable[Any], shown: str, *, drop: Sequence[str] = ()) -> Table | None:
    """Returns a table with a column for each key that has texts or numbers; None if nothing is in it."""
    rows = [record for record in records if isinstance(record, dict)]
    keys: dict[str, None] = {}
    for row in rows:
        keys.update((key, None) for key, value in row.items() if _is_plain(value))
    header = [key for key in keys if key not in DESCRIPTIVE and key not in drop]
    if not header:
        return None
    cells = tuple(tuple(_text(row.get(key)) for key in header) for row in rows)
    return Table(shown, tuple(map(str.strip, header)), cells, tuple(range(1, len(rows) + 1)), unit="record")


def _records(value: Any) -> Records:
    """Returns a list of objects; an empty one if it is something else."""
    return value if isinstance(value, list) and value and all(isinstance(one, dict) for one in value) else []


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _text(value: Any) -> str:
    """Returns a cell: true is 1 as in a CSV of 0 and 1, a whole number has no fraction, and all else is empty."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    return str(value) if _is_plain(value) else ""
