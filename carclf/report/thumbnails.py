"""Thumbnails, small enough for hundreds of them on a page."""

import io
from collections.abc import Collection, Mapping

import numpy as np
from PIL import Image

from carclf.data.decoder import decode_for
from carclf.data.index import read_index
from carclf.data.manifest import Manifest
from carclf.data.read_ahead import read_each
from carclf.framing import Framing

THUMBNAIL_PX = 160
JPEG_QUALITY = 78


def read_thumbnails(
    manifest: Manifest, rows: Mapping[str, Collection[int]], *, side: int = THUMBNAIL_PX
) -> dict[tuple[str, int], bytes]:
    """Returns the JPEG bytes of small copies of photos by (list, row). Only these photos are read.

    Args:
      manifest: the data set.
      rows: of the photos by their list, 'train' (with external photos) or 'test'.
      side: longer side of a copy in pixels.
    """
    index = read_index(manifest)
    lists = np.array(["test" if shard.split == "test" else "train" for shard in manifest.shards])
    copies: dict[tuple[str, int], bytes] = {}
    for name, wanted in rows.items():
        entries = index[np.isin(index["row"], list(wanted)) & (lists[index["shard"]] == name)]
        for row, photo in zip(entries["row"].tolist(), read_each(manifest, entries), strict=True):
            copies[name, row] = thumbnail(photo, side=side)
    return copies


def thumbnail(encoded: bytes | memoryview, *, side: int = THUMBNAIL_PX) -> bytes:
    """Returns a small copy of a JPEG, its longer side at most `side` pixels."""
    return to_jpeg(decode_small(encoded, side=side), side=side)


def decode_small(encoded: bytes | memoryview, *, side: int = THUMBNAIL_PX) -> np.ndarray:
    """Returns a JPEG's pixels, uint8 [h, w, 3], decoded at the smallest size that is enough for a copy of this side."""
    return decode_for(encoded, framing=Framing((side, side), "pad"))


def to_jpeg(pixels: np.ndarray, *, side: int = THUMBNAIL_PX) -> bytes:
    """Returns the JPEG bytes of a picture, uint8 [height, width, 3], reduced to `side` pixels if it is larger."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
