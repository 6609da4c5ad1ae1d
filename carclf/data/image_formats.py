"""Recognises the format of an image file by its first bytes, and whether it can be read here."""

import functools
import importlib

from PIL import Image, features

# By Pillow alone, in every version that carclf supports.
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_ADDED = {  # format → (module that lets Pillow read it, what to do if it is missing)
    "AVIF": ("", "AVIF is read by Pillow 11.3 and later: pip install --upgrade pillow"),
    "HEIF": ("pillow_heif", "HEIC is read with pillow-heif: pip install pillow-heif"),
    "JXL": ("pillow_jxl", "JPEG XL is read with pillow-jxl-plugin: pip install pillow-jxl-plugin"),
}
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (  # (offset, bytes, format); Pillow's name if it reads the format
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF8", "GIF"),
    (8, b"CR\x02\0", "a camera's raw file (CR2)"),
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
    (0, b"Rar!\x1a\x07", "RAR"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
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


class UnusableError(Exception):
    """A photo that cannot be stored; the message is its reason in rejected.csv."""


def sniff(raw: bytes) -> str:
    """Returns the format that the first bytes announce, or "" if it is unknown."""
    if raw[4:8] == b"ftyp":
        length = min(int.from_bytes(raw[:4]), 256)
        brands = [raw[at : at + 4] for at in (8, *range(16, length, 4))]
        return next(
            (kind for kind, known in _BRANDS.items() if any(one in known for one in brands)), "a film (MP4, MOV)"
        )
    return next((kind for at, signature, kind in _SIGNATURES if raw[at : at + len(signature)] == signature), "")


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
