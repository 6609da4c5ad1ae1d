"""From JPEG bytes to pixels: the one decoder that validates photos at conversion and feeds training."""

import dataclasses

import numpy as np
import simplejpeg

from carclf.framing import Framing

DCT_RATIOS = (1, 2, 4, 8)  # libjpeg decodes at 1/ratio of the size for less work
# libjpeg's warning about files with a complete picture, such as those with a stray byte before their end.
# Source: libjpeg-turbo's jerror.h, JWRN_EXTRANEOUS_DATA.
HARMLESS = "extraneous bytes before marker"


def decode(
    encoded: bytes | memoryview,
    *,
    ratio: int = 1,
    out: np.ndarray | None = None,
    size: tuple[int, int] | None = None,
    strict: bool = False,
    accurate: bool = False,
) -> np.ndarray:
    """Returns the RGB photo as uint8 [h, w, 3], h = ⌈H / ratio⌉ and w = ⌈W / ratio⌉ for a full size of H x W.

    The pixels equal those of `tf.io.decode_jpeg(channels=3, ratio=ratio, fancy_upscaling=True,
    dct_method="INTEGER_FAST")`, the fastest of TensorFlow's settings and the better picture; damage that TensorFlow
    accepts silently is refused here.

    Args:
      encoded: a JPEG.
      ratio: one of DCT_RATIOS.
      out: array for the pixels, contiguous uint8 [h, w, 3]; None creates one.
      size: (H, W), where it is known; None reads it from the header.
      strict: whether to refuse HARMLESS slips, too.
      accurate: whether to use the slower transform, as `tf.io.decode_jpeg` with INTEGER_ACCURATE and Pillow do.

    Raises:
      ValueError: the bytes are not a JPEG, or it is damaged.
    """
    warnings_fail, min_size = True, {}
    while True:
        try:
            if ratio > 1:
                min_size = _min_size(size or _full_size(encoded, strict=warnings_fail), ratio)
            return simplejpeg.decode_jpeg(
                encoded, fastdct=not accurate, fastupsample=False, buffer=out, strict=warnings_fail, **min_size
            )
        except ValueError as error:
            if strict or not warnings_fail or HARMLESS not in str(error):
                raise
            warnings_fail = False


def _full_size(encoded: bytes | memoryview, *, strict: bool) -> tuple[int, int]:
    height, width, _, _ = simplejpeg.decode_jpeg_header(encoded, strict=strict)
    return height, width


def _min_size(size: tuple[int, int], ratio: int) -> dict[str, int]:
    height, width = size
    return {"min_factor": ratio, "min_height": -(-height // ratio), "min_width": -(-width // ratio)}


@dataclasses.dataclass(frozen=True, eq=False)
class DecodeSizes:
    """The sizes at which photos are decoded: none has less detail than their framing needs, unless its file has less.

    Attributes:
      ratios: int64 [N], for each photo the largest of DCT_RATIOS that leaves `Framing.has_detail`, else 1.
      extents: int64 [N, 2], (height, width) of the decoded photos in pixels.
    """

    ratios: np.ndarray
    extents: np.ndarray

    @property
    def canvas_size(self) -> tuple[int, int]:
        """(height, width) of the smallest canvas that holds each of the photos, in pixels."""
        height, width = self.extents.max(axis=0, initial=1).tolist()
        return height, width

    @property
    def key(self) -> bytes:
        """What is equal for photos of one data set that are decoded at the same sizes."""
        return self.ratios.tobytes()

    def __str__(self) -> str:
        """Returns a sentence: the canvas, its memory, and how many photos are decoded at which ratio."""
        height, width = self.canvas_size
        ratios, counts = np.unique(self.ratios, return_counts=True)
        sizes = ["full size" if ratio == 1 else f"1/{ratio}" for ratio in ratios]
        decoded = ", ".join(f"{count:,} at {size}" for count, size in zip(counts, sizes, strict=True))
        return f"Canvas: {height}x{width} pixels, {3 * height * width / 1e6:.2g} MB per photo; decoded: {decoded}."


def decode_sizes(sizes: np.ndarray, *, framing: Framing) -> DecodeSizes:
    """Returns how large to decode photos.

    Args:
      sizes: int [N, 2], (height, width) of the full photos in pixels.
      framing: of the images to render from them.
    """
    decoded = -(-sizes[:, None] // np.array(DCT_RATIOS)[:, None])
    enough = framing.has_detail(decoded[..., 0], decoded[..., 1], np)
    chosen = np.maximum(enough.sum(axis=1), 1) - 1
    return DecodeSizes(np.array(DCT_RATIOS)[chosen], decoded[np.arange(len(sizes)), chosen])


def decode_for(encoded: bytes | memoryview, *, framing: Framing) -> np.ndarray:
    """Returns the photo, uint8 [h, w, 3], as large as `decode_sizes` says.

    Raises:
      ValueError: the bytes are not a JPEG, or it is damaged.
    """
    size = _full_size(encoded, strict=False)
    (ratio,) = decode_sizes(np.array([size]), framing=framing).ratios
    return decode(encoded, ratio=int(ratio), size=size)
