"""The photos of a data set as tables: all photos, groups that show the same picture, and counts by fold."""

import dataclasses
import io

import numpy as np
import pandas as pd

from carclf.data.lists import DUPLICATE_COLUMNS, DUPLICATES, REJECTED_COLUMNS, REMARK_COLUMNS
from carclf.data.manifest import Manifest
from carclf.data.survey import Survey
from carclf.errors import UserError

# Notes of duplicates.csv. Source: `carclf.convert.duplicates.note_on`.
DIFFERENT_LABELS, LEAK, TOO_LARGE = "different labels", "train/test leak", "too large to keep together"


@dataclasses.dataclass(frozen=True)
class Group:
    """Photos that belong together.

    Attributes:
      kind: 'exact' (equal bytes), 'near' (the same picture) or 'scene' (different pictures of one scene).
      notes: the converter's notes, such as DIFFERENT_LABELS.
      members: their numbers in the photo table.
    """

    kind: str
    notes: tuple[str, ...]
    members: tuple[int, ...]


def photo_table(manifest: Manifest) -> pd.DataFrame:
    """Returns every photo of the data set, numbered from 0: training photos, external ones, test photos.

    Columns: those of `Manifest.read_ids`; split ('train', 'extra' or 'test'); row (in its list).

    Raises:
      UserError: there is none.
    """
    tables = []
    for name in ("train", "test"):
        table = manifest.read_ids(name)
        unfolded = "test" if name == "test" else "extra"
        tables.append(table.assign(split=np.where(table["fold"] < 0, unfolded, "train"), row=range(len(table))))
    photos = pd.concat(tables, ignore_index=True)
    if photos.empty:
        raise UserError(f"{manifest.directory} has no photos to show: convert a folder that has some.")
    return photos


def with_measurements(photos: pd.DataFrame, survey: Survey, manifest: Manifest) -> pd.DataFrame:
    """Returns the table with the columns brightness and contrast (of 255) and bytes (of the stored JPEG)."""
    of_test = np.array([shard.split == "test" for shard in manifest.shards])[survey.index["shard"]]
    numbers = survey.index["row"] + np.where(of_test, len(photos) - manifest.ids["test"].count, 0)
    measured = {
        "brightness": survey.brightness.astype(np.float64),
        "contrast": survey.contrast.astype(np.float64),
        "bytes": survey.index["photo_bytes"].astype(np.int64),
    }
    return photos.join(pd.DataFrame(measured, index=numbers))


def rejected_table(manifest: Manifest) -> pd.DataFrame:
    """Returns the rows of rejected.csv as text; none if the data set has no such list."""
    return _read_list(manifest, "rejected", REJECTED_COLUMNS)


def remarked_photos(manifest: Manifest, photos: pd.DataFrame) -> list[tuple[int, str]]:
    """(number in the table, remark) of every photo in remarks.csv; none where the data set has no such list."""
    rows = _read_list(manifest, "remarks", REMARK_COLUMNS)
    keys = zip(photos["split"] == "test", photos["id"], strict=True)
    number_of = dict(zip(keys, photos.index.tolist(), strict=True))
    return [
        (number_of[split == "test", photo_id], str(remark))
        for split, photo_id, remark in zip(rows["split"], rows["id"], rows["remark"], strict=True)
    ]


def duplicate_groups(manifest: Manifest, photos: pd.DataFrame) -> list[Group]:
    """Returns the groups of duplicates.csv, in its order."""
    rows = _read_list(manifest, DUPLICATES, DUPLICATE_COLUMNS)
    in_test = photos["split"] == "test"
    number_of = {
        (bool(test), photo_id): number
        for test, photo_id, number in zip(in_test, photos["id"], photos.index, strict=True)
    }
    numbers = [number_of[split == "test", name] for split, name in zip(rows["split"], rows["id"], strict=True)]
    return [
        Group(
            kind=together["kind"].iloc[0],
            notes=tuple(note for note in together["note"].iloc[0].split("; ") if note),
            members=tuple(together["number"].tolist()),
        )
        for _, together in rows.assign(number=numbers).groupby("group", sort=False)
    ]


def fold_counts(photos: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """Returns the numbers of training photos (int64) by label (rows, 0..K−1) and fold (columns)."""
    training = photos[photos["split"] == "train"]
    counts = pd.crosstab(training["label"], training["fold"])
    return counts.reindex(index=range(manifest.class_count), columns=list(manifest.folds), fill_value=0)


def _read_list(manifest: Manifest, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    if name not in manifest.lists:
        return pd.DataFrame(columns=list(columns), dtype=str)
    return pd.read_csv(io.BytesIO(manifest.read_list(manifest.lists[name])), dtype=str, keep_default_na=False)
