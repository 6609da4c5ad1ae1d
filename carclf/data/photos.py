"""Single photos out of the shards, for people to look at."""

from collections.abc import Collection, Iterable

import tensorflow as tf

from carclf.data import records, storage
from carclf.data.manifest import Manifest


def read_photos(
    manifest: Manifest, *, split: str, folds: Iterable[int] | None = None, rows: Collection[int]
) -> dict[int, bytes]:
    """The stored JPEG bytes of the photos at `rows` of a split, by row; reads until all are found."""
    wanted, found = set(rows), {}
    files = [storage.join(manifest.directory, shard.file) for shard in manifest.shards_of(split, folds=folds)]
    for record in tf.data.TFRecordDataset(files) if wanted else ():
        photo = tf.io.parse_single_example(record, records.features())
        row = int(photo["image/row"])
        if row in wanted:
            found[row] = photo["image/encoded"].numpy()
            if len(found) == len(wanted):
                break
    return found
