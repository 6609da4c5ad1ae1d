"""From JPEG bytes to pixels: the one decoder that validates photos at conversion and feeds training."""

import numpy as np
import simplejpeg

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

    Raises:
      ValueError: the bytes are not a JPEG, or it is damaged.
    """
    warnings_fail, min_size = True, {}
    while True:
        try:
            if ratio > 1:
                min_size = _min_size(size or _full_size(encoded, strict=warnings_fail), ratio)
            return simplejpeg.decode_jpeg(
                encoded, fastdct=True, fastupsample=False, buffer=out, strict=warnings_fail, **min_size
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


def fitting_ratios(sizes: np.ndarray, *, canvas_size: int) -> np.ndarray:
    """Returns int64 [N], for each photo the smallest of DCT_RATIOS that makes its long side fit the canvas.

    Args:
      sizes: int [N, 2], (height, width) of the full photos in pixels, at most 8 · canvas_size.
      canvas_size: side of the canvas in pixels.
    """
    long_side = sizes.max(axis=1, initial=1)
    too_long = [-(-long_side // ratio) > canvas_size for ratio in DCT_RATIOS]
    return np.array(DCT_RATIOS)[np.minimum(np.sum(too_long, axis=0), len(DCT_RATIOS) - 1)]


def decode_to_fit(encoded: bytes | memoryview, *, canvas_size: int) -> np.ndarray:
    """Returns the photo, decoded at the smallest of DCT_RATIOS that makes its long side fit the canvas.

    Raises:
      ValueError: the bytes are not a JPEG, or it is damaged.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(encoded, strict=False)
    (ratio,) = fitting_ratios(np.array([[height, width]]), canvas_size=canvas_size)
    return decode(encoded, ratio=int(ratio))
