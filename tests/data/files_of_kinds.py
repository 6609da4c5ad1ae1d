"""One small, valid file of every kind that a collection may hold, with what must become of it."""

import base64
import contextlib
import dataclasses
import io
import struct
import zlib

import numpy as np
from PIL import Image, features

from carclf.data.validation import CORRECTED, ENCODED, KEPT
from tests.data.jpeg_writer import JFIF, Sampling, Segment, jpeg, segment
from tests.data.tiff_writer import (
    BITS,
    BLACK_IS_ZERO,
    CFA,
    COMPRESSION,
    DEFLATE,
    LINEAR_RAW,
    LONG,
    SHORT,
    WHITE_IS_ZERO,
    Page,
    tiff,
)

REFUSED = "refused"
ORIENTATION = 0x0112
ALPHA, ANY, KIND_OF_PAGE, OLD_KIND_OF_PAGE, MAX_SAMPLE, SUB_DIRECTORIES = 338, 0, 254, 255, 281, 330
DNG_VERSION, DNG_BACKWARD = 50706, 50707

# jpegtran -arithmetic of a JPEG of PICTURE in quality 90, and the same with -progressive.
ARITHMETIC = """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGB
YUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/yQARCAAw
AEADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/ANvbk35jEP0Yu66sck71fO2uXHLkzqd/iOr8zBZicKFQav4t76wfmtAjmU
VF64Xmflpk37fsURMqswbxDjAKli5suFP2do2qF2yl9xkKsT/UCq1Q2CXlrSEoCJoDSc2JYUK/K0KRG5B//wDi2mcjcJU1h1oVUPVk51qerHYe
MpjqKR1BryYneFh2nPLi1bZSVfp6GfuVgIGxfQN7ZiY12GnWLWyeA5pmL9d1cmYqjrRLE1HpbgsXVF6TK2Gy++bUTIXxxDVwT6GZNUiOkBl5He
G+teQc2MvnBeQtxi+S/Wg1CID/2Q==
"""
ARITHMETIC_PROGRESSIVE = """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGB
YUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/ygARCAAw
AEADASIAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAf8At5y1lS7rhxUlLW0XNm3qmiTsXnfqJT1rMgG3CjkLjdQsY8bdYeualzGRqR89xG
J2XNwzhexXgEVv7yPgytyl7ED/zAAEEAX/2gAIAQEAAQUCEiXE7aA5gqbcZgW2SVVNN4Z2Vo1chzVdbNmkKaBDov/MAAQRBf/aAAgBAwEBPwET
ds/uoJq3xPEJnZzIA//MAAQRBf/aAAgBAgEBPwE92m3XBSfLUONXUKm2q/qq/ED/zAAEEAX/2gAIAQEABj8CqP/MAAQQBf/aAAgBAQABPyGmMh
NXAp5bi/xDhZWASdroUpM8W9XsgP/aAAwDAQACAAMAAAAQ3p5b+kbXguf2/8wABBEF/9oACAEDAQE/EKgQdXtbr7yLRkD/zAAEEQX/2gAIAQIB
AT8QXMeocE+vyo+rbe5D/8wABBAF/9oACAEBAAE/EKozr6UlT41ovpxIW9H0rFMSsRKV+CBXf5unOKKjrX/aNP/Z
"""


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 [height, width, 3] whose corners differ: no turn and no mirror image of it looks the same."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([40 + 180 * x, 40 + 180 * y, 220 - 180 * x * y], axis=-1).round().astype(np.uint8)


PICTURE = picture()
IMAGE = Image.fromarray(PICTURE)
GREY = PICTURE[..., 0]
PICTURE_16 = PICTURE.astype(np.uint16) << 8 | 77  # whose low bytes are no zeros
GREY_16 = PICTURE_16[..., 0]
OPAQUE, CLEAR = np.full_like(GREY, 255), np.zeros_like(GREY)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A file and what must become of it.

    Attributes:
      raw: the file.
      how: KEPT, CORRECTED, ENCODED or REFUSED.
      says: part of the remark or of the reason; "" is no remark.
      pixels: uint8 [h, w, 3], the upright photo.
      tolerance: of the mean difference from them in 0..255.
    """

    raw: bytes
    how: str
    says: str = ""
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: PICTURE)
    tolerance: float = 1.5


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_rgb(grey: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] of uint8 [h, w]."""
    return np.repeat(grey[..., None], 3, axis=2)


def exif(orientation: object, kind: int) -> bytes:
    """Exif data whose orientation is of a TIFF type: 1 BYTE, 2 ASCII, 3 SHORT, 4 LONG, 5 RATIONAL, 9 SLONG."""
    content, count = {
        1: lambda: (struct.pack("<Bxxx", orientation), 1),
        2: lambda: (str(orientation).encode().ljust(4, b"\0"), 4),
        3: lambda: (struct.pack("<HH", orientation, 0), 1),
        4: lambda: (struct.pack("<I", orientation), 1),
        5: lambda: (struct.pack("<I", 26), 1),
        9: lambda: (struct.pack("<i", orientation), 1),
    }[kind]()
    entry = struct.pack("<HHI", ORIENTATION, kind, count) + content
    values = struct.pack("<II", int(str(orientation)), 1) if kind == 5 else b""
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4) + values


LYING = np.ascontiguousarray(PICTURE[:, ::-1].transpose(1, 0, 2))  # of orientation 6: row 0 is the right side


def lying(tags: bytes) -> bytes:
    """A JPEG that must be turned as orientation 6 says, with this Exif data."""
    return jpeg(LYING, segments=[JFIF, (0xE1, tags)])


def profile(*pieces: tuple[int, int]) -> list[Segment]:
    """Segments of a colour profile: (number, of how many)."""
    return [JFIF, *((0xE2, b"ICC_PROFILE\0" + bytes(piece) + b"colours " * 3) for piece in pieces)]


def jfif(major: int, minor: int) -> Segment:
    """A JFIF segment of a version."""
    return JFIF[0], JFIF[1].replace(b"\x01\x01", bytes((major, minor)), 1)


def adobe(transform: int) -> Segment:
    """An Adobe segment of a colour transform."""
    return 0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform])


def chunk(name: bytes, content: bytes, *, checksum: int | None = None) -> bytes:
    """A chunk of a PNG."""
    right = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", right if checksum is None else checksum)


def png_with(*chunks: bytes) -> bytes:
    """A PNG of the picture with further chunks behind its header."""
    raw = encoded(IMAGE, "PNG")
    return raw[:33] + b"".join(chunks) + raw[33:]


def png_16(pixels: np.ndarray) -> bytes:
    """A PNG of uint16 [h, w, 3]."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(">u2"))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bmp_32(pixels: np.ndarray, alpha: np.ndarray) -> bytes:
    """A BMP of 32 bits whose fourth byte is called alpha (BITMAPV4HEADER)."""
    height, width, _ = pixels.shape
    rows = np.dstack([pixels[::-1, :, ::-1], alpha[::-1]]).tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(rows), 2835, 2835, 0, 0) + masks
    header += b"BGRs" + bytes(48)
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + rows


def motion_photo() -> bytes:
    """A JPEG with a film behind its end."""
    film = struct.pack(">I", 24) + b"ftypmp42\0\0\0\0isommp42" + b"\0\0\0\x08free" + bytes(range(256)) * 200
    return jpeg(PICTURE) + film


def sub_sampled(sampling: Sampling) -> bytes:
    """A JPEG of the picture of this sampling."""
    return jpeg(PICTURE, sampling=sampling)


def frame_only(marker: int, *, bits: int = 8, components: int = 3) -> bytes:
    """The header of a JPEG of another frame type, without tables and without a scan."""
    content = struct.pack(">BHHB", bits, 48, 64, components)
    content += b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    return b"\xff\xd8" + segment(*JFIF) + segment(marker, content)


def reduced_first(kind: int, value: int) -> bytes:
    """A TIFF whose first page says that it is a reduced copy of the second."""
    return tiff(Page(np.ascontiguousarray(PICTURE[::4, ::4]), tags={kind: (LONG, [value])}), Page(PICTURE))


def dng() -> bytes:
    """A camera's raw file: its first page is a preview, the picture lies in a SubIFD."""
    tags = {KIND_OF_PAGE: (LONG, [1]), DNG_VERSION: (1, [1, 4, 0, 0]), SUB_DIRECTORIES: (LONG, [8])}
    return tiff(Page(np.ascontiguousarray(PICTURE[::4, ::4]), tags=tags))


def with_alpha(pixels: np.ndarray, alpha: np.ndarray, kind: int = 2) -> Page:
    """A page with a further sample: 0 of no meaning, 1 premultiplied alpha, 2 alpha."""
    return Page(np.dstack([pixels, alpha]), tags={ALPHA: (SHORT, [kind])})


def inserted(raw: bytes, at: int, content: bytes) -> bytes:
    """The bytes with others in their midst."""
    return raw[:at] + content + raw[at:]


WHOLE = jpeg(PICTURE)
IN_HEADER = 2 + 4 + len(JFIF[1])  # between the JFIF segment and the tables
COMMENT: Segment = (0xFE, b"a comment")
END_IN_COMMENT: Segment = (0xFE, b"before\xff\xd9after")
END_IN_TABLE: Segment = (0xDB, b"\x01" + b"\xff\xd9" * 32)  # quantisation steps that nothing uses
TWELVE = (PICTURE_16 >> 4).astype(np.uint16)
WIDE_OPAQUE = np.full_like(GREY_16, 65535)

JPEGS: dict[str, Kind] = {
    "JPEG baseline": Kind(WHOLE, KEPT),
    "JPEG extended": Kind(jpeg(PICTURE, frame=0xC1), KEPT),
    "JPEG progressive": Kind(encoded(IMAGE, quality=95, progressive=True), ENCODED),
    "JPEG arithmetic": Kind(base64.b64decode(ARITHMETIC), ENCODED, tolerance=2),
    "JPEG arithmetic progressive": Kind(base64.b64decode(ARITHMETIC_PROGRESSIVE), ENCODED, tolerance=2),
    "JPEG grey": Kind(
        encoded(IMAGE.convert("L"), quality=95), ENCODED, pixels=np.asarray(IMAGE.convert("L").convert("RGB"))
    ),
    "JPEG CMYK": Kind(encoded(IMAGE.convert("CMYK"), quality=95), ENCODED, tolerance=2),
    "JPEG 4:2:2": Kind(sub_sampled(((2, 1), (1, 1), (1, 1))), KEPT),
    "JPEG 4:2:0": Kind(sub_sampled(((2, 2), (1, 1), (1, 1))), KEPT),
    "JPEG 4:4:0": Kind(sub_sampled(((1, 2), (1, 1), (1, 1))), KEPT),
    "JPEG 4:1:1": Kind(sub_sampled(((4, 1), (1, 1), (1, 1))), KEPT, tolerance=3),
    "JPEG 4:1:0": Kind(sub_sampled(((4, 2), (1, 1), (1, 1))), ENCODED, tolerance=3),
    "JPEG 4:4:1": Kind(sub_sampled(((1, 4), (1, 1), (1, 1))), ENCODED, tolerance=4),
    "JPEG 2x4": Kind(sub_sampled(((2, 4), (1, 1), (1, 1))), ENCODED, tolerance=4),
    "JPEG 3x1": Kind(sub_sampled(((3, 1), (1, 1), (1, 1))), ENCODED, tolerance=2),
    "JPEG 1x3": Kind(sub_sampled(((1, 3), (1, 1), (1, 1))), ENCODED, tolerance=3),
    "JPEG chroma unequal": Kind(sub_sampled(((2, 2), (2, 1), (1, 1))), ENCODED),
    "JPEG chroma finer than luma": Kind(sub_sampled(((1, 1), (2, 2), (2, 2))), ENCODED),
    "JPEG one chroma finer": Kind(sub_sampled(((2, 2), (1, 1), (2, 2))), ENCODED),
    "JPEG chroma of odd shapes": Kind(sub_sampled(((2, 1), (1, 2), (1, 1))), ENCODED),
    "JPEG Ss=0 Se=0": Kind(jpeg(PICTURE, spectrum=(0, 0)), CORRECTED),
    "JPEG JFIF 0.02": Kind(jpeg(PICTURE, segments=[jfif(0, 2)]), CORRECTED),
    "JPEG JFIF 2.01": Kind(jpeg(PICTURE, segments=[jfif(2, 1)]), CORRECTED),
    "JPEG Adobe transform 1": Kind(jpeg(PICTURE, segments=[adobe(1)]), KEPT),
    "JPEG Adobe transform 2": Kind(jpeg(PICTURE, segments=[adobe(2)]), CORRECTED),
    "JPEG Adobe transform 2 beside JFIF": Kind(jpeg(PICTURE, segments=[JFIF, adobe(2)]), KEPT),
    "JPEG profile whole": Kind(jpeg(PICTURE, segments=profile((1, 2), (2, 2))), KEPT),
    "JPEG profile without its end": Kind(jpeg(PICTURE, segments=profile((1, 2))), CORRECTED),
    "JPEG profile without its start": Kind(jpeg(PICTURE, segments=profile((2, 2))), CORRECTED),
    "JPEG profile piece twice": Kind(jpeg(PICTURE, segments=profile((1, 2), (1, 2), (2, 2))), CORRECTED),
    "JPEG profile miscounted": Kind(jpeg(PICTURE, segments=profile((1, 2), (2, 3))), CORRECTED),
    "JPEG stray bytes in its header": Kind(inserted(WHOLE, IN_HEADER, b"\0\0stray"), CORRECTED),
    "JPEG stray zeros before its end": Kind(inserted(WHOLE, len(WHOLE) - 2, b"\0\0\0"), KEPT),
    "JPEG fill bytes": Kind(inserted(WHOLE, IN_HEADER, b"\xff\xff\xff"), KEPT),
    "JPEG a scan for each component": Kind(jpeg(PICTURE, between=COMMENT), KEPT),
    "JPEG end marker in a comment between scans": Kind(jpeg(PICTURE, between=END_IN_COMMENT), KEPT),
    "JPEG end marker in a table between scans": Kind(jpeg(PICTURE, between=END_IN_TABLE), KEPT),
    "JPEG end marker in a comment behind its scan": Kind(
        inserted(WHOLE, len(WHOLE) - 2, segment(*END_IN_COMMENT)) + b"film", KEPT
    ),
    "JPEG several slips": Kind(
        inserted(jpeg(PICTURE, segments=[jfif(0, 2), *profile((1, 2))[1:]], spectrum=(0, 0)), IN_HEADER, b"\0"),
        CORRECTED,
    ),
    "JPEG orientation SHORT": Kind(lying(exif(6, 3)), ENCODED),
    "JPEG orientation LONG": Kind(lying(exif(6, 4)), ENCODED),
    "JPEG orientation BYTE": Kind(lying(exif(6, 1)), ENCODED),
    "JPEG orientation RATIONAL": Kind(lying(exif(6, 5)), ENCODED),
    "JPEG orientation SLONG": Kind(lying(exif(6, 9)), ENCODED),
    "JPEG orientation ASCII digit": Kind(lying(exif(6, 2)), ENCODED),
    "JPEG orientation ASCII word": Kind(
        jpeg(PICTURE, segments=[(0xE1, exif("top", 2))]), KEPT, "orientation is illegible"
    ),
    "JPEG motion photo": Kind(motion_photo(), KEPT),
    "JPEG with a gain map": Kind(WHOLE + jpeg(np.ascontiguousarray(PICTURE[::4, ::4])), KEPT),
    "JPEG MPO": Kind(encoded(IMAGE, "MPO", quality=95, save_all=True, append_images=[IMAGE.rotate(90)]), KEPT),
    "JPEG lossless": Kind(frame_only(0xC3), REFUSED, "lossless JPEG is not read"),
    "JPEG differential": Kind(frame_only(0xC5), REFUSED, "differential JPEG is not read"),
    "JPEG lossless arithmetic": Kind(frame_only(0xCB), REFUSED, "lossless arithmetic JPEG is not read"),
    "JPEG-LS": Kind(frame_only(0xF7), REFUSED, "JPEG-LS is not read"),
    "JPEG of 2 components": Kind(frame_only(0xC0, components=2), REFUSED, "JPEG of 2 components is not read"),
    "JPEG 12 bits": Kind(frame_only(0xC1, bits=12), REFUSED, "12-bit JPEG is not read"),
}
TIFFS: dict[str, Kind] = {
    "TIFF": Kind(tiff(Page(PICTURE)), ENCODED),
    "TIFF big-endian": Kind(tiff(Page(PICTURE), order=">"), ENCODED),
    "BigTIFF": Kind(tiff(Page(PICTURE), big=True), ENCODED),
    "BigTIFF big-endian": Kind(tiff(Page(PICTURE, strips=3), big=True, order=">"), ENCODED),
    "BigTIFF 16 bits": Kind(tiff(Page(PICTURE_16), big=True), ENCODED),
    "TIFF planar": Kind(tiff(Page(PICTURE, planes=True)), ENCODED),
    "TIFF 16 bits": Kind(tiff(Page(PICTURE_16)), ENCODED),
    "TIFF 16 bits planar": Kind(tiff(Page(PICTURE_16, planes=True)), ENCODED),
    "TIFF 16 bits planar big-endian": Kind(tiff(Page(PICTURE_16, planes=True, strips=3), order=">"), ENCODED),
    "TIFF 16 bits planar deflated": Kind(tiff(Page(PICTURE_16, planes=True, compression=DEFLATE)), ENCODED),
    "TIFF grey 16 bits": Kind(tiff(Page(GREY_16, BLACK_IS_ZERO)), ENCODED, pixels=as_rgb(GREY)),
    "TIFF white is zero": Kind(tiff(Page(255 - GREY, WHITE_IS_ZERO)), ENCODED, pixels=as_rgb(GREY)),
    "TIFF white is zero 16 bits": Kind(tiff(Page(65535 - GREY_16, WHITE_IS_ZERO)), ENCODED, pixels=as_rgb(GREY)),
    "TIFF white is zero 16 bits big-endian": Kind(
        tiff(Page(65535 - GREY_16, WHITE_IS_ZERO, compression=DEFLATE), order=">"), ENCODED, pixels=as_rgb(GREY)
    ),
    "TIFF grey and alpha 16 bits": Kind(
        tiff(Page(np.dstack([GREY_16, WIDE_OPAQUE]), BLACK_IS_ZERO, tags={ALPHA: (SHORT, [2])})),
        ENCODED,
        pixels=as_rgb(GREY),
    ),
    "TIFF grey 12 bits in 16": Kind(
        tiff(Page(TWELVE[..., 0], BLACK_IS_ZERO)), ENCODED, "stretched as 12-bit values", pixels=as_rgb(GREY)
    ),
    "TIFF grey 12 bits, said so": Kind(
        tiff(Page(TWELVE[..., 0], BLACK_IS_ZERO, tags={MAX_SAMPLE: (SHORT, [4095])})), ENCODED, pixels=as_rgb(GREY)
    ),
    "TIFF grey 10 bits, said so": Kind(
        tiff(Page(GREY_16 >> 6, BLACK_IS_ZERO, tags={MAX_SAMPLE: (SHORT, [1023])})), ENCODED, pixels=as_rgb(GREY)
    ),
    "TIFF white is zero 12 bits": Kind(
        tiff(Page(4095 - TWELVE[..., 0], WHITE_IS_ZERO)), ENCODED, "stretched as 12-bit values", pixels=as_rgb(GREY)
    ),
    "TIFF 12 bits in 16": Kind(tiff(Page(TWELVE)), ENCODED, "stretched as 12-bit values"),
    "TIFF 12 bits in 16 planar": Kind(tiff(Page(TWELVE, planes=True)), ENCODED, "stretched as 12-bit values"),
    "TIFF alpha": Kind(tiff(with_alpha(PICTURE, OPAQUE)), ENCODED),
    "TIFF alpha of zeros": Kind(tiff(with_alpha(PICTURE, CLEAR)), ENCODED, "stored with its colours"),
    "TIFF alpha of zeros 16 bits": Kind(
        tiff(with_alpha(PICTURE_16, np.zeros_like(GREY_16))), ENCODED, "stored with its colours"
    ),
    "TIFF fourth sample of zeros": Kind(tiff(with_alpha(PICTURE, CLEAR, kind=0)), ENCODED),
    "TIFF reduced copy first": Kind(reduced_first(KIND_OF_PAGE, 1), ENCODED, "page 2 is stored"),
    "TIFF reduced copy first, old tag": Kind(reduced_first(OLD_KIND_OF_PAGE, 2), ENCODED, "page 2 is stored"),
    "TIFF reduced copy second": Kind(
        tiff(Page(PICTURE), Page(np.ascontiguousarray(PICTURE[::4, ::4]), tags={KIND_OF_PAGE: (LONG, [1])})), ENCODED
    ),
    "TIFF float": Kind(tiff(Page((PICTURE / 255).astype(np.float32))), REFUSED, "32-bit floating-point samples"),
    "TIFF grey float": Kind(
        tiff(Page((GREY / 255).astype(np.float32), BLACK_IS_ZERO)), REFUSED, "32-bit floating-point samples"
    ),
    "TIFF grey double": Kind(tiff(Page(GREY / 255, BLACK_IS_ZERO)), REFUSED, "64-bit floating-point samples"),
    "TIFF signed": Kind(tiff(Page(GREY.astype(np.int16), BLACK_IS_ZERO)), REFUSED, "16-bit signed samples"),
    "TIFF 32 bits": Kind(tiff(Page(PICTURE.astype(np.uint32))), REFUSED, "32-bit samples"),
    "TIFF CIELAB": Kind(tiff(Page(PICTURE, 8)), REFUSED, "CIELAB"),
    "TIFF YCbCr deflated": Kind(tiff(Page(PICTURE, 6, compression=DEFLATE)), REFUSED, "YCbCr"),
    "TIFF CMYK and alpha": Kind(
        tiff(Page(np.dstack([np.asarray(IMAGE.convert("CMYK")), OPAQUE]), 5, tags={ALPHA: (SHORT, [2])})),
        REFUSED,
        "TIFF with 5 samples of 8 bits a pixel and photometric 5",
    ),
    "TIFF 10 bits": Kind(tiff(Page(PICTURE, tags={BITS: (SHORT, [10] * 3)})), REFUSED, "3 samples of 10 bits a pixel"),
    "TIFF of JPEG 2000": Kind(tiff(Page(PICTURE, tags={COMPRESSION: (SHORT, [34712])})), REFUSED, "JPEG 2000"),
    "TIFF of WebP": Kind(tiff(Page(PICTURE, tags={COMPRESSION: (SHORT, [50001])})), REFUSED, "WebP is not read"),
    "TIFF camera's mosaic": Kind(tiff(Page(GREY_16, CFA)), REFUSED, "a camera's raw values"),
    "TIFF camera's linear": Kind(tiff(Page(PICTURE_16, LINEAR_RAW)), REFUSED, "a camera's raw values"),
    "TIFF picture in a SubIFD": Kind(
        tiff(Page(PICTURE, tags={KIND_OF_PAGE: (LONG, [1]), SUB_DIRECTORIES: (LONG, [8])})), REFUSED, "SubIFD"
    ),
    "DNG": Kind(dng(), REFUSED, "DNG, a camera's raw file"),
}
PNG_TEXT = b"Comment\0" + b"text"
OTHERS: dict[str, Kind] = {
    "PNG": Kind(encoded(IMAGE, "PNG"), ENCODED),
    "PNG text with a wrong checksum": Kind(png_with(chunk(b"tEXt", PNG_TEXT, checksum=1)), ENCODED),
    "PNG text that is not compressed text": Kind(png_with(chunk(b"zTXt", b"Comment\0\0no zlib")), ENCODED),
    "PNG text without a keyword": Kind(png_with(chunk(b"iTXt", b"\0\0\0\0\0")), ENCODED),
    "PNG text of 2 MB": Kind(png_with(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2_000_000)))), ENCODED),
    "PNG time with a wrong checksum": Kind(png_with(chunk(b"tIME", bytes(7), checksum=1)), ENCODED),
    "PNG 16 bits": Kind(png_16(PICTURE_16), ENCODED),
    "PNG 12 bits in 16": Kind(png_16(TWELVE), ENCODED, "stretched as 12-bit values", tolerance=9),
    "PNG grey 12 bits in 16": Kind(
        encoded(Image.fromarray(TWELVE[..., 0]), "PNG"), ENCODED, "stretched as 12-bit values", pixels=as_rgb(GREY)
    ),
    "PNG empty": Kind(
        encoded(Image.fromarray(np.dstack([PICTURE, CLEAR])), "PNG"), ENCODED, pixels=np.full_like(PICTURE, 255)
    ),
    "BMP": Kind(encoded(IMAGE, "BMP"), ENCODED),
    "BMP alpha": Kind(bmp_32(PICTURE, OPAQUE), ENCODED),
    "BMP alpha of zeros": Kind(bmp_32(PICTURE, CLEAR), ENCODED, "stored with its colours"),
    "WebP": Kind(encoded(IMAGE, "WEBP", quality=95), ENCODED, tolerance=3),
    "GIF": Kind(encoded(IMAGE, "GIF"), ENCODED, tolerance=9),
    "PPM": Kind(encoded(IMAGE, "PPM"), ENCODED),
    "JPEG 2000": Kind(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), REFUSED, "JPEG 2000 is not read"),
    "JPEG in BMP": Kind(
        b"BM" + struct.pack("<IIIIiiHHI", 74, 0, 54, 40, 4, 4, 1, 0, 4) + bytes(40),
        REFUSED,
        "a BMP that holds a JPEG is not read",
    ),
    "CR2": Kind(b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), REFUSED, "a camera's raw file (CR2) is not read"),
    "CR3": Kind(b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + bytes(40), REFUSED, "a camera's raw file (CR3)"),
    "MP4": Kind(b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", REFUSED, "a video (MP4, MOV) is not read"),
    "PDF": Kind(b"%PDF-1.7 and so on", REFUSED, "PDF is not read"),
    "PSD": Kind(b"8BPS\0\x01" + bytes(40), REFUSED, "a Photoshop document is not read"),
    "tar": Kind(bytes(257) + b"ustar\0" + bytes(249), REFUSED, "tar is not read"),
    "HTML": Kind(b"<!DOCTYPE html><html>", REFUSED, "not an image"),
}
if "avif" in features.modules and features.check("avif"):
    OTHERS["AVIF"] = Kind(encoded(IMAGE, "AVIF", quality=95), ENCODED, tolerance=3)
with contextlib.suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()
    OTHERS["HEIC"] = Kind(encoded(IMAGE, "HEIF", quality=95), ENCODED, tolerance=3)
    OTHERS["HEIC on its side"] = Kind(
        encoded(Image.fromarray(LYING), "HEIF", quality=95, exif=exif(6, 3)), ENCODED, tolerance=3
    )
with contextlib.suppress(ImportError):
    import pillow_jxl

    OTHERS["JPEG XL"] = Kind(encoded(IMAGE, "JXL", quality=95), ENCODED, tolerance=3)
    OTHERS["JPEG XL on its side"] = Kind(
        encoded(Image.fromarray(LYING), "JXL", quality=95, exif=exif(6, 3)), ENCODED, tolerance=3
    )
    assert pillow_jxl
KINDS: dict[str, Kind] = {**JPEGS, **TIFFS, **OTHERS}
