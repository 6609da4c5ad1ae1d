"""Photos small enough that a page can hold hundreds of them."""

import io
from collections.abc import Collection, Mapping

import numpy as np
from PIL import Image

from carclf.data.decoder import DCT_RATIOS, decode
from carclf.data.index import read_index, read_photo
from carclf.data.manifest import Manifest

THUMBNAIL_PX = 160
JPEG_QUALITY = 78


def read_thumbnails(
    manifest: Manifest, rows: Mapping[str, Collection[int]], *, side: int = THUMBNAIL_PX
) -> dict[tuple[str, int], bytes]:
    """By (list, row) the JPEG bytes of small copies of photos, their longer side `side` pixels. Only these are read.

    Args:
      manifest: the data set.
      rows: of the photos by the list they stand in, 'train' (external photos too) or 'test'.
      side: in pixels.
    """
    index = read_index(manifest)
    lists = np.array(["test" if shard.split == "test" else "train" for shard in manifest.shards])
    return {
        (name, int(entry["row"])): thumbnail(read_photo(manifest, entry), side=side)
        for name, wanted in rows.items()
        for entry in index[np.isin(index["row"], list(wanted)) & (lists[index["shard"]] == name)]
    }


def thumbnail(encoded: bytes | memoryview, *, side: int = THUMBNAIL_PX) -> bytes:
    """A small copy of a JPEG, its longer side at most `side` pixels."""
    with Image.open(io.BytesIO(encoded)) as image:
        longest = max(image.size)
    # Decoding at an eighth of the size takes a fifth of the time; two pixels are left for each that is shown.
    ratio = max(ratio for ratio in DCT_RATIOS if ratio == 1 or longest >= 2 * side * ratio)
    return to_jpeg(decode(encoded, ratio=ratio), side=side)


def to_jpeg(pixels: np.ndarray, *, side: int = THUMBNAIL_PX) -> bytes:
    """The JPEG bytes of a picture, uint8 [height, width, 3], reduced to `side` pixels where it is larger."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
