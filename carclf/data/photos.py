"""Reads single photos from the shards, for reports and checks."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from carclf.data.decoder import decode_for
from carclf.data.index import read_index, select, sizes_for
from carclf.data.manifest import Manifest
from carclf.data.read_ahead import read_each
from carclf.framing import Framing


def read_photos(
    manifest: Manifest, *, split: str, folds: Iterable[int] | None = None, rows: Collection[int]
) -> dict[int, bytes]:
    """Returns the stored JPEG bytes of the photos at `rows` of a split, by row; only these are read."""
    index = read_index(manifest)
    entries = index[select(manifest, index, manifest.shards_of(split, folds=folds))]
    wanted = entries[np.isin(entries["row"], list(rows))]
    return {int(row): bytes(photo) for row, photo in zip(wanted["row"], read_each(manifest, wanted), strict=True)}


def read_canvases(
    manifest: Manifest, *, split: str, folds: Iterable[int] | None = None, rows: Sequence[int], framing: Framing
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (canvas, extent) of the photos at `rows` of a split, in that order, as the pipeline decodes them.

    Canvas is uint8 [n, Y, X, 3], with the photo in the top-left corner and zeros elsewhere; extent is float32 [n, 2],
    its (height, width) in pixels.
    """
    encoded = read_photos(manifest, split=split, folds=folds, rows=rows)
    canvas_size = sizes_for(manifest, framing=framing).canvas_size
    canvas = np.zeros((len(rows), *canvas_size, 3), np.uint8)
    extent = np.zeros((len(rows), 2), np.float32)
    for index, row in enumerate(rows):
        pixels = decode_for(encoded[row], framing=framing)
        canvas[index, : pixels.shape[0], : pixels.shape[1]] = pixels
        extent[index] = pixels.shape[:2]
    return canvas, extent
