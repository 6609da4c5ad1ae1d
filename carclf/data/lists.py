"""The CSV files of a data set: Ids, rejected photos, photos to look at, duplicates."""

import csv
import io
from collections.abc import Iterable, Sequence

ID_COLUMNS = ("id", "label", "class_name", "fold", "height", "width", "sha256", "source")
REJECTED_COLUMNS = ("id", "split", "category", "reason", "source")
REMARK_COLUMNS = ("id", "split", "category", "remark", "source")
DUPLICATE_COLUMNS = ("group", "kind", "split", "id", "category", "fold", "note")
DUPLICATES = "duplicates"  # the name of the list in a data set
SCENE = "scene"  # the kind of a group of different pictures


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Returns the bytes of a CSV, always with its header: UTF-8, LF line ends, quoted as needed."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
