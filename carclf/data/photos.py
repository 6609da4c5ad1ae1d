"""Single photos out of the shards, for people to look at."""

from collections.abc import Collection, Iterable

import numpy as np

from carclf.data.index import read_index, read_photo, select
from carclf.data.manifest import Manifest


def read_photos(
    manifest: Manifest, *, split: str, folds: Iterable[int] | None = None, rows: Collection[int]
) -> dict[int, bytes]:
    """The stored JPEG bytes of the photos at `rows` of a split, by row; only they are read."""
    index = read_index(manifest)
    entries = index[select(manifest, index, manifest.shards_of(split, folds=folds))]
    wanted = entries[np.isin(entries["row"], list(rows))]
    return {int(entry["row"]): bytes(read_photo(manifest, entry)) for entry in wanted}
