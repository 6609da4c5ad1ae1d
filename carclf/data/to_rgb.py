"""Converts the pixels of an image to upright 8-bit RGB, whatever its samples are."""

import numpy as np
from PIL import ExifTags, Image

from carclf.data.image_formats import UnusableError

UPRIGHT = {  # EXIF orientation → operation that turns the photo upright; 1 is upright. Source: Exif 2.32, tag 0x0112
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = int(ExifTags.Base.Orientation)
ILLEGIBLE = "its orientation is illegible: stored as it lies"
STRETCHED = "its 16-bit samples are all below 4,096: stretched as 12-bit values"
NO_ALPHA = "it says that all of it is transparent: stored with its colours"
_DARKEST = 4096  # a 16-bit photo whose samples are all below a sixteenth of the scale holds 12-bit values


def orientation(image: Image.Image) -> tuple[int, str]:
    """Returns (EXIF orientation, a remark or ""): 1 is upright, and also stands for one that cannot be read."""
    if "exif" not in image.info and "xmp" not in image.info and "XML:com.adobe.xmp" not in image.info:
        return 1, ""
    try:
        value = image.getexif().get(ORIENTATION, 1)
        if isinstance(value, bytes) and len(value) == 1:
            return value[0], ""
        return int(value.strip("\0 ") if isinstance(value, str) else value or 1), ""
    except Exception:  # Pillow raises anything if the tags are malformed
        return 1, ILLEGIBLE


def reduced(image: Image.Image, *, max_side: int) -> Image.Image:
    """Returns the image, reduced to at most `max_side` pixels on its longest side."""
    scale = max_side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def filterable(image: Image.Image, *, wide: bool = False, bits: int = 16) -> tuple[Image.Image, str]:
    """Returns (the image with 8 bits per channel and no palette, a remark or "").

    Args:
      image: loaded.
      wide: whether its file has 16 bits per sample.
      bits: how many of them hold a value.

    Raises:
      UnusableError: its samples are of another kind.
    """
    if image.mode.startswith("I;16"):
        samples, remark = to_8_bits(np.asarray(image), bits=bits)
        return Image.fromarray(samples), remark
    if image.mode == "I" and image.format == "PPM":  # Pillow brings its grey of 9 to 16 bits to the whole scale
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)), ""
    if image.mode in ("I", "F", "LAB"):
        raise UnusableError(f"samples of kind {image.mode}: only 8 and 16 bits a channel are read")
    if image.format in ("BMP", "TIFF") and is_empty(image):
        return image.convert("RGB"), NO_ALPHA
    if wide and image.mode in ("RGB", "RGBA") and is_dark(image):  # Pillow keeps only the upper four of its 12 bits
        lut = [min(255, 17 * value) for value in range(256)]
        image = image.point(lut * 3 + list(range(256)) * (image.mode == "RGBA"))
        return image, STRETCHED
    return (image.convert("RGBA") if image.mode in ("P", "PA", "1", "LA") else image), ""


def is_empty(image: Image.Image) -> bool:
    """Returns whether the whole image is transparent, as when a program left the fourth byte at zero."""
    return image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)


def is_dark(image: Image.Image) -> bool:
    """Returns whether the 16-bit colours that were cut to these 8 bits may have been 12-bit values."""
    return 0 < np.asarray(image.convert("RGB")).max(initial=0) < _DARKEST >> 8


def to_8_bits(samples: np.ndarray, *, bits: int = 16) -> tuple[np.ndarray, str]:
    """Returns (uint8 samples, a remark or "").

    Args:
      samples: uint8 or uint16 [h, w] or [h, w, channels].
      bits: how many bits of a uint16 hold a value.
    """
    if samples.dtype == np.uint8:
        return samples, ""
    remark = ""
    if bits == 16 and 0 < samples[..., :3].max(initial=0) < _DARKEST:
        bits, remark = 12, STRETCHED
    return (samples >> (bits - 8)).clip(0, 255).astype(np.uint8), remark


def rgb(image: Image.Image) -> Image.Image:
    """Returns the image as RGB, with transparent parts in white."""
    if "A" in image.getbands() or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
