"""JPEG bytes to pixels: the one decoder that judges photos at conversion and feeds training."""

import numpy as np
import simplejpeg

DCT_RATIOS = (1, 2, 4, 8)  # libjpeg decodes at 1/ratio of the size for less work
# What libjpeg remarks on files whose picture is whole, such as those with a stray byte before their end.
# Source: libjpeg-turbo's jerror.h, JWRN_EXTRANEOUS_DATA.
HARMLESS = "extraneous bytes before marker"


def decode(
    encoded: bytes | memoryview, *, ratio: int = 1, out: np.ndarray | None = None, strict: bool = False
) -> np.ndarray:
    """The photo as uint8 [h, w, 3] in RGB, where a full size of H x W gives h = ⌈H / ratio⌉ and w = ⌈W / ratio⌉.

    The pixels are those of `tf.io.decode_jpeg(channels=3, ratio=ratio, fancy_upscaling=True,
    dct_method="INTEGER_FAST")`, the fastest of TensorFlow's settings and the better picture; damage that TensorFlow
    passes in silence is refused here.

    Args:
      encoded: a JPEG.
      ratio: one of DCT_RATIOS.
      out: where to put the pixels, uint8 [h, w, 3] without gaps; None makes an array.
      strict: whether what is HARMLESS is refused, too.

    Raises:
      ValueError: the bytes are no JPEG, or a damaged one.
    """
    heeding, least = True, {}
    while True:
        try:
            if ratio > 1:
                least = _least_size(encoded, ratio, strict=heeding)
            return simplejpeg.decode_jpeg(
                encoded, fastdct=True, fastupsample=False, buffer=out, strict=heeding, **least
            )
        except ValueError as error:
            if strict or not heeding or HARMLESS not in str(error):
                raise
            heeding = False


def _least_size(encoded: bytes | memoryview, ratio: int, *, strict: bool) -> dict[str, int]:
    height, width, _, _ = simplejpeg.decode_jpeg_header(encoded, strict=strict)
    return {"min_factor": ratio, "min_height": -(-height // ratio), "min_width": -(-width // ratio)}


def fitting_ratios(sizes: np.ndarray, *, canvas_size: int) -> np.ndarray:
    """int64 [N], for each photo the smallest of DCT_RATIOS whose long side fits the canvas.

    Args:
      sizes: int [N, 2], (height, width) of the full photos in pixels, at most 8 · canvas_size.
      canvas_size: side of the canvas in pixels.
    """
    long_side = sizes.max(axis=1, initial=1)
    too_long = [-(-long_side // ratio) > canvas_size for ratio in DCT_RATIOS]
    return np.array(DCT_RATIOS)[np.minimum(np.sum(too_long, axis=0), len(DCT_RATIOS) - 1)]


def decode_to_fit(encoded: bytes | memoryview, *, canvas_size: int) -> np.ndarray:
    """The photo as `decode` gives it at the smallest of DCT_RATIOS whose long side fits the canvas.

    Raises:
      ValueError: the bytes are no JPEG, or a damaged one.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(encoded, strict=False)
    (ratio,) = fitting_ratios(np.array([[height, width]]), canvas_size=canvas_size)
    return decode(encoded, ratio=int(ratio))
