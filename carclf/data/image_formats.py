"""Recognises the format of an image file by its first bytes, and whether it can be read here."""

import functools
import importlib
import re

from PIL import Image, features

# By Pillow alone, in every version that carclf supports.
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_ADDED = {  # format → (module that lets Pillow read it, what to do if it is missing)
    "AVIF": ("", "AVIF is read by Pillow 11.3 and later: pip install --upgrade pillow"),
    "HEIF": ("pillow_heif", "HEIC is read with pillow-heif: pip install pillow-heif"),
    "JXL": ("pillow_jxl", "JPEG XL is read with pillow-jxl-plugin: pip install pillow-jxl-plugin"),
}
SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"
RAR = b"Rar!\x1a\x07"
HEAD_BYTES = 512  # enough for `is_photo`
_CR2 = "a camera's raw file (CR2)"
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (  # (offset, bytes, format); Pillow's name if it reads the format
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF8", "GIF"),
    (8, b"CR\x02\0", _CR2),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),  # BigTIFF
    (0, b"MM\0+", "TIFF"),
    (0, b"\xff\x0a", "JXL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (0, b"IIRO", "a camera's raw file (ORF)"),
    (0, b"IIU\0", "a camera's raw file (RW2)"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\1\0", "an icon (ICO)"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, RAR, "RAR"),
    (0, SEVEN_ZIP, "7z"),
    (0, b"\x1f\x8b", "gzip"),
    (257, b"ustar", "tar"),
    (0, b"BM", "BMP"),
    # PBM, PGM and PPM, as numbers in text or in bytes; to Pillow all are PPM
    *((0, b"P%c%c" % (kind, blank), "PPM") for kind in b"123456" for blank in b" \t\r\n#"),
)
# Compression → the kind of BMP, in headers of these sizes. Source: Microsoft's BITMAPINFOHEADER and BITMAPV5HEADER.
_IN_BMP = {4: "a BMP that holds a JPEG", 5: "a BMP that holds a PNG"}
_BMP_HEADERS = (40, 108, 124)
_BRANDS = {  # of ISO base media files. Source: https://mp4ra.org/registered-types/brands
    "AVIF": (b"avif", b"avis"),
    "HEIF": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
    "a camera's raw file (CR3)": (b"crx ",),
}
_BOXES = re.compile(rb"\0\0..ftyp", re.DOTALL)
# What a photo begins with, of formats whose signatures a text may begin with, too.
_STARTS = {
    "GIF": re.compile(rb"GIF8[79]a"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),  # the sizes of its header
    "AVIF": _BOXES,
    "HEIF": _BOXES,
}
_PPM_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
# Groups: the kind without or with a highest value, width, height.
_PPM_HEADER = re.compile(rb"P(?:([14])|([2356]))%b(\d+)%b(\d+)(?(2)%b\d+)\s" % (_PPM_GAP, _PPM_GAP, _PPM_GAP))
_PPM_BITS = {b"1": 8, b"2": 8, b"3": 24, b"4": 1, b"5": 8, b"6": 24}  # that a pixel has at least


class UnusableError(Exception):
    """A photo that cannot be stored; the message is its reason in rejected.csv."""


def sniff(raw: bytes) -> str:
    """Returns the format that the first bytes announce, or "" if it is unknown."""
    if raw[4:8] == b"ftyp":
        length = min(int.from_bytes(raw[:4]), 256)
        brands = [raw[at : at + 4] for at in (8, *range(16, length, 4))]
        return next(
            (kind for kind, known in _BRANDS.items() if any(one in known for one in brands)), "a video (MP4, MOV)"
        )
    return next((kind for at, signature, kind in _SIGNATURES if raw[at : at + len(signature)] == signature), "")


def is_photo(head: bytes) -> bool:
    """Returns whether bytes are those of a photo in a format that can be read; a label or another text is none.

    A camera's CR2 counts, too: it is a TIFF, and `recognise` says why it is not read.

    Args:
      head: the first HEAD_BYTES of the photo, or the whole photo if it is shorter.
    """
    kind = sniff(head)
    if kind not in (*READABLE, *_ADDED, _CR2) or _is_line(head):
        return False
    if kind == "PPM":
        return _is_ppm(head)
    return kind not in _STARTS or _STARTS[kind].match(head) is not None


def _is_line(head: bytes) -> bool:
    """Returns whether bytes are one line of text, perhaps with zeros behind it, as NumPy fills texts."""
    try:
        return head.rstrip(b"\0").decode().isprintable()
    except UnicodeDecodeError:
        return False


def _is_ppm(head: bytes) -> bool:
    """Returns whether a PPM has a whole header, and its pixels behind it as far as the head goes."""
    found = _PPM_HEADER.match(head)
    if found is None:
        return False
    pixels, bits = int(found[3]) * int(found[4]), _PPM_BITS[found[1] or found[2]]
    return len(head) >= min(found.end() + pixels * bits // 8, HEAD_BYTES)


def recognise(raw: bytes) -> str:
    """Returns the format of a file, as Pillow calls it.

    Raises:
      UnusableError: the format is not supported.
    """
    kind = sniff(raw)
    if not raw:
        raise UnusableError("empty file")
    if not kind:
        raise UnusableError(f"not an image (begins with {raw[:16]!r})")
    if kind == "BMP" and int.from_bytes(raw[14:18], "little") in _BMP_HEADERS:
        kind = _IN_BMP.get(int.from_bytes(raw[30:34], "little"), kind)
    if kind not in READABLE and not (kind in _ADDED and _is_added(kind)):
        raise UnusableError(_ADDED[kind][1] if kind in _ADDED else f"{kind} is not read")
    return kind


@functools.cache
def _is_added(kind: str) -> bool:
    """Returns whether Pillow reads the format, after loading the module that adds it."""
    if kind == "AVIF":
        return "avif" in features.modules and bool(features.check("avif"))
    try:
        module = importlib.import_module(_ADDED[kind][0])
    except ImportError:
        return False
    if kind == "HEIF":
        module.register_heif_opener()
    return kind in Image.OPEN
