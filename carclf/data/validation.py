"""Validates one photo, which is then stored byte for byte, re-encoded once, or rejected with a reason."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError

from carclf.data import image_formats, pillow_settings, png_chunks, to_rgb
from carclf.data.decoder import DCT_RATIOS, decode
from carclf.data.image_formats import UnusableError
from carclf.data.jpeg_header import KEPT_FRAMES, JpegHeader, read_header
from carclf.data.tiff_pages import TiffHeader, choose_page, plain_image

MAX_PIXELS = 50_000_000  # 200 MB as Pillow holds it; checked in the header, before anything is decoded
QUALITY = 95
LOOK_SIDE_PX = 32  # the reduced image keeps at least this many pixels per side, if the photo has them
PADDING_BYTES = 16  # this many zeros before the end marker are no sign of damage
KEPT, CORRECTED, ENCODED = "kept", "corrected", "encoded"
LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")  # a warning of libjpeg


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A photo as it is stored.

    Attributes:
      encoded: an upright RGB JPEG.
      height: pixels.
      width: pixels.
      how: KEPT (the input's own JPEG, byte for byte), CORRECTED (with slips of its header corrected, no pixel changed)
        or ENCODED (re-encoded once).
      remark: what a person should look at, or "".
      reduced: uint8 [h, w, 3], `encoded` as the training decoder decodes it at a fraction of its size.
    """

    encoded: bytes
    height: int
    width: int
    how: str
    remark: str
    reduced: np.ndarray


def validate_photo(raw: bytes, *, max_side: int) -> Stored:
    """Returns the photo as it will be stored: the same for the same bytes, on any machine.

    A baseline RGB JPEG that is upright and at most `max_side` pixels long is kept byte for byte, up to its image's end.
    Anything else that can be read becomes upright RGB (transparent parts white, first frame of an animation), is
    reduced to `max_side` with a Lanczos filter, and encoded once at quality 95.

    Raises:
      UnusableError: it is empty, not an image, of an unsupported format, too large, damaged, or refused by the decoder.
    """
    kind = image_formats.recognise(raw)
    if kind == "JPEG":
        return _validate_jpeg(raw, max_side=max_side)
    with _errors_named():
        image, remarks = _read_tiff(raw, max_side=max_side) if kind == "TIFF" else _read(raw, kind, max_side=max_side)
        return _encoded(image, remarks)


def validate_image(image: Image.Image, *, max_side: int) -> Stored:
    """Returns an image in memory as `validate_photo` stores a file that it re-encodes; the image is not changed.

    Raises:
      UnusableError: it is empty or too large, its samples are of an unsupported kind, or the file that it is lazily
        read from is damaged.
    """
    if 0 in image.size:
        raise UnusableError(f"empty: {image.width}x{image.height} pixels")
    _check_size(*image.size)
    with _errors_named():
        small, remark = _upright(image.copy(), max_side=max_side)  # a copy, because draft() changes the image itself
        return _encoded(small, [remark])


def _validate_jpeg(raw: bytes, *, max_side: int) -> Stored:
    header = read_header(raw)
    if reason := header.problem():
        raise UnusableError(reason)
    _check_size(header.width, header.height)
    decoded: np.ndarray | None = None
    remarks: list[str] = []
    is_clean = _is_clean(header, max_side=max_side)
    is_reduced = not is_clean and len(header.sampling) == 3  # from the pixels that are decoded to check it
    if header.is_fast():  # before Pillow, which accepts files with a zeroed tail
        look, draft = _look_ratio(header.height, header.width), _draft_ratio(header, max_side=max_side)
        decoded, remark = _checked(header, ratio=draft if is_reduced else look, accurate=is_reduced)
        remarks.append(remark)
    elif not header.end:
        raise UnusableError("damaged: the picture has no end")
    if decoded is not None and is_clean and not header.has_tags:
        return _as_it_is(header, remarks, decoded)
    with _errors_named(), _opened(header.corrected, "JPEG") as image:
        _check_size(*image.size)
        turn, remark = to_rgb.orientation(image)
        remarks.append(remark)
        if decoded is not None and is_clean and turn not in to_rgb.UPRIGHT:
            return _as_it_is(header, remarks, decoded)
        small, remark = _upright(image, max_side=max_side, decoded=decoded if is_reduced else None)
        return _encoded(small, [*remarks, remark])


def _checked(header: JpegHeader, *, ratio: int, accurate: bool) -> tuple[np.ndarray, str]:
    """Returns (a JPEG as `carclf.data.decoder.decode` decodes it, a remark or "").

    Raises:
      UnusableError: it is damaged; left-over bytes of a scan only cause a remark if the picture has its end.
    """
    encoded = header.corrected
    try:
        return decode(encoded, ratio=ratio, size=(header.height, header.width), strict=True, accurate=accurate), ""
    except ValueError as error:
        found = LEFT_OVER.search(str(error))
        if not found or not header.end:
            raise UnusableError(f"refused by the decoder: {error}") from None
    count, before_end = int(found[1]), found[2] == "d9"
    padding = before_end and count <= PADDING_BYTES and not encoded[:-2][-count:].strip(b"\0")
    remark = "" if padding else f"{count:,} bytes of its scan are left over: it may show damage"
    return _decoded(encoded, ratio=ratio, accurate=accurate), remark


def _is_clean(header: JpegHeader, *, max_side: int) -> bool:
    return header.frame in KEPT_FRAMES and len(header.sampling) == 3 and max(header.height, header.width) <= max_side


def _as_it_is(header: JpegHeader, remarks: list[str], reduced: np.ndarray) -> Stored:
    how = CORRECTED if header.slips else KEPT
    return Stored(header.corrected, header.height, header.width, how, _joined(remarks), reduced)


def _read(raw: bytes, kind: str, *, max_side: int) -> tuple[Image.Image, list[str]]:
    """Returns (the photo as upright RGB at the size to store, remarks)."""
    wide = kind == "PNG" and raw[24:25] == b"\x10"
    with _opened(png_chunks.without_texts(raw) if kind == "PNG" else raw, kind) as image:
        _check_size(*image.size)
        image.load()  # a PNG may give its orientation at its end
        _, remark = to_rgb.orientation(image)
        small, further = _upright(image, max_side=max_side, wide=wide)
        return small, [remark, further]


def _read_tiff(raw: bytes, *, max_side: int) -> tuple[Image.Image, list[str]]:
    """Returns (the photo as upright RGB at the size to store, remarks)."""
    number, page = choose_page(raw)
    remark = f"its page {number + 1} is stored: those before are reduced copies" if number else ""
    if page and (reason := page.problem()):
        raise UnusableError(reason)
    if page and page.is_misread():
        _check_size(*page.size)
        plain, further = plain_image(raw, page)
        return to_rgb.rgb(to_rgb.reduced(plain, max_side=max_side)), [remark, further]
    with _kind_named(page), _opened(raw, "TIFF") as image:
        image.seek(number)
        _check_size(*image.size)
        _, illegible = to_rgb.orientation(image)
        image.load()  # Pillow turns a TIFF upright
        if page and page.is_wide() and page.is_plain() and to_rgb.is_dark(image):  # Pillow kept only the upper bytes
            plain, further = plain_image(raw, page)
            return to_rgb.rgb(to_rgb.reduced(plain, max_side=max_side)), [remark, further]
        bits = page.sample_bits() if page else 16
        small, further = _upright(image, max_side=max_side, wide=bool(page and page.is_wide()), bits=bits)
        return small, [remark, illegible, further]


def _upright(
    image: Image.Image, *, max_side: int, wide: bool = False, bits: int = 16, decoded: np.ndarray | None = None
) -> tuple[Image.Image, str]:
    """Returns (an opened image as upright RGB of at most `max_side` pixels, a remark or "").

    Args:
      image: opened.
      max_side: longest side of the result in pixels.
      wide: of `to_rgb.filterable`.
      bits: of `to_rgb.filterable`.
      decoded: the RGB pixels that Pillow would decode, if they are known.
    """
    turn = to_rgb.UPRIGHT.get(to_rgb.orientation(image)[0])
    if decoded is not None and image.mode == "RGB":
        image = Image.fromarray(decoded)
    else:
        image.draft(None, (2 * max_side, 2 * max_side))  # decodes a far larger JPEG at a fraction of its size
        image.load()
    plain, remark = to_rgb.filterable(image, wide=wide, bits=bits)
    small = to_rgb.reduced(plain, max_side=max_side)
    return to_rgb.rgb(small if turn is None else small.transpose(turn)), remark


def _encoded(image: Image.Image, remarks: list[str]) -> Stored:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    encoded = buffer.getvalue()
    reduced = _decoded(encoded, ratio=_look_ratio(image.height, image.width))
    return Stored(encoded, image.height, image.width, ENCODED, _joined(remarks), reduced)


def _joined(remarks: list[str]) -> str:
    return "; ".join(filter(None, remarks))


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnusableError(f"too large: {width}x{height} pixels, {MAX_PIXELS:,} are possible")


@contextlib.contextmanager
def _opened(raw: bytes, kind: str) -> Iterator[Image.Image]:
    with pillow_settings.set_aside(), Image.open(io.BytesIO(raw), formats=[kind]) as image:
        yield image


@contextlib.contextmanager
def _errors_named() -> Iterator[None]:
    """Turns the exceptions of libraries into reasons."""
    try:
        yield
    except UnidentifiedImageError:
        raise UnusableError("damaged header") from None
    except Image.DecompressionBombError as error:  # the calling program has set Pillow's limit since
        raise UnusableError(f"too large: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise UnusableError(f"damaged: {error}") from None


@contextlib.contextmanager
def _kind_named(page: TiffHeader | None) -> Iterator[None]:
    """Turns the refusal of a TIFF of a kind that Pillow does not read into a reason that names the kind."""
    try:
        yield
    except OSError as error:
        if page and (isinstance(error, UnidentifiedImageError) or page.is_rarely_packed()):
            raise UnusableError(f"TIFF {page.described()} is not read") from None
        raise


def _decoded(encoded: bytes, *, ratio: int, accurate: bool = False) -> np.ndarray:
    try:
        return decode(encoded, ratio=ratio, accurate=accurate)
    except ValueError as error:
        raise UnusableError(f"refused by the decoder: {error}") from None


def _draft_ratio(header: JpegHeader, *, max_side: int) -> int:
    """Returns the DCT reduction that Pillow's `draft` takes for twice `max_side`."""
    least = min(header.height, header.width) // (2 * max_side)
    return max((ratio for ratio in DCT_RATIOS if ratio <= least), default=1)


def _look_ratio(height: int, width: int) -> int:
    """Returns the largest DCT reduction that leaves LOOK_SIDE_PX pixels per side.

    Every ratio reads the entropy-coded data to its end and refuses the same files; only the inverse transform is
    cheaper. (A test compares the checks on truncated and altered files.)
    """
    return max((ratio for ratio in DCT_RATIOS if min(height, width) >= ratio * LOOK_SIDE_PX), default=1)
