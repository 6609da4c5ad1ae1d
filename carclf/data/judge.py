"""The verdict on one photo: stored byte for byte, re-encoded once, or rejected with its reason."""

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from carclf.data.decoder import DCT_RATIOS, decode

MAX_PIXELS = 50_000_000  # 200 MB as Pillow holds it; checked in the header, before anything is decoded
QUALITY = 95
LOOK_SIDE_PX = 32  # the reduced image keeps at least this many pixels a side, where the photo has them
ORIENTATION = int(ExifTags.Base.Orientation)
UPRIGHT = {  # EXIF orientation → what turns the photo upright; 1 is upright. Source: Exif 2.32, tag 0x0112
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftyp", "HEIC or AVIF"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP"),
)


class UnusableError(Exception):
    """A photo that cannot be stored; the message is its reason in rejected.csv."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A photo as it is stored.

    Attributes:
      encoded: an upright RGB JPEG.
      height: pixels.
      width: pixels.
      verbatim: whether `encoded` is the input's own bytes.
      reduced: uint8 [h, w, 3], what the training decoder makes of `encoded` at a fraction of its size.
    """

    encoded: bytes
    height: int
    width: int
    verbatim: bool
    reduced: np.ndarray


def judge(raw: bytes, *, max_side: int) -> Stored:
    """The photo as it is to be stored: the same for the same bytes, wherever it runs.

    A baseline RGB JPEG, upright and at most `max_side` pixels long, is kept byte for byte. Anything else that can be
    read becomes upright RGB (transparent parts white, first frame of an animation), is reduced to `max_side` with a
    Lanczos filter, and encoded once at quality 95.

    Raises:
      UnusableError: it is empty, no image, of an unread format, too large, damaged, or refused by the decoder.
    """
    kind = sniff(raw)
    if kind not in READABLE:
        raise UnusableError(f"{kind} is not read" if kind else f"not an image (begins with {raw[:16]!r})")
    with _opened(raw) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UnusableError(f"too large: {image.width}x{image.height} pixels, {MAX_PIXELS:,} are possible")
        if kind == "JPEG":  # before Pillow, which passes files with a zeroed tail
            reduced = _decoded(raw, height=image.height, width=image.width)
            if _is_clean(image, max_side=max_side):
                return Stored(raw, image.height, image.width, True, reduced)
        encoded, height, width = _encode(image, max_side=max_side)
    return Stored(encoded, height, width, False, _decoded(encoded, height=height, width=width))


def sniff(raw: bytes) -> str:
    """The format that the first bytes announce, or "" for none that is known.

    Raises:
      UnusableError: there are no bytes.
    """
    if not raw:
        raise UnusableError("empty file")
    return next((kind for at, magic, kind in MAGIC if raw[at : at + len(magic)] == magic), "")


@contextlib.contextmanager
def _opened(raw: bytes) -> Iterator[Image.Image]:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # ours is checked instead, and names the size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on odd metadata, which is not stored
            with Image.open(io.BytesIO(raw), formats=READABLE) as image:
                yield image
    except UnidentifiedImageError:
        raise UnusableError("damaged header") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise UnusableError(f"damaged: {error}") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _decoded(encoded: bytes, *, height: int, width: int) -> np.ndarray:
    try:
        return decode(encoded, ratio=_look_ratio(height, width))
    except ValueError as error:
        raise UnusableError(f"refused by the decoder: {error}") from None


def _look_ratio(height: int, width: int) -> int:
    """The greatest DCT ratio that leaves LOOK_SIDE_PX a side.

    Every ratio reads the entropy-coded data to its end and refuses the same files; only the inverse transform is
    cheaper. (A test compares the verdicts on truncated and altered files.)
    """
    return max((ratio for ratio in DCT_RATIOS if min(height, width) >= ratio * LOOK_SIDE_PX), default=1)


def _is_clean(image: Image.Image, *, max_side: int) -> bool:
    return (
        image.format == "JPEG"
        and image.mode == "RGB"
        and not image.info.get("progressive")
        and max(image.size) <= max_side
        and _orientation(image) not in UPRIGHT
    )


def _orientation(image: Image.Image) -> int:
    if "exif" not in image.info and "xmp" not in image.info:
        return 1
    return int(image.getexif().get(ORIENTATION, 1) or 1)


def _encode(image: Image.Image, *, max_side: int) -> tuple[bytes, int, int]:
    image.draft(None, (2 * max_side, 2 * max_side))  # a JPEG far larger than that is decoded at a fraction of its size
    image.load()  # a PNG may say its orientation at its end, and Pillow turns a TIFF upright while loading
    turn = UPRIGHT.get(_orientation(image))
    smaller = _reduced(_filterable(image), max_side=max_side)
    rgb = _rgb(smaller if turn is None else smaller.transpose(turn))
    buffer = io.BytesIO()
    rgb.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue(), rgb.height, rgb.width


def _filterable(image: Image.Image) -> Image.Image:
    """The first frame with 8 bits a channel and no palette."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnusableError(f"pixels of kind {image.mode}: only 8 and 16 bits a channel are read")
    return image.convert("RGBA") if image.mode in ("P", "PA", "1", "LA") else image


def _reduced(image: Image.Image, *, max_side: int) -> Image.Image:
    scale = max_side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _rgb(image: Image.Image) -> Image.Image:
    if "A" in image.getbands() or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
