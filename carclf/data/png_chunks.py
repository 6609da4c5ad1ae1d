"""Drops PNG chunks that no pixel depends on, so that a bad text chunk does not cost the picture."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
XMP = b"XML:com.adobe.xmp\0"  # may give the orientation
_HEAD, _CRC = struct.Struct(">I4s"), struct.Struct(">I")
_ANCILLARY = 0x20  # bit of the first letter. Source: PNG (third edition), 5.4


def without_texts(raw: bytes) -> bytes:
    """Returns the PNG without its texts and without ancillary chunks that have a wrong checksum; the rest unchanged.

    Args:
      raw: the file's bytes, which begin with SIGNATURE.
    """
    parts, at = [raw[: len(SIGNATURE)]], len(SIGNATURE)
    while at + _HEAD.size <= len(raw):
        length, name = _HEAD.unpack_from(raw, at)
        end = at + _HEAD.size + length + _CRC.size
        if end > len(raw) or name == b"IEND":
            break
        if not name[0] & _ANCILLARY or _counts(raw, at, end, name):
            parts.append(raw[at:end])
        at = end
    return b"".join([*parts, raw[at:]])


def _counts(raw: bytes, at: int, end: int, name: bytes) -> bool:
    """Returns whether an ancillary chunk may matter and is intact."""
    start = at + _HEAD.size
    if name in TEXTS and not (name == b"iTXt" and raw.startswith(XMP + b"\0", start)):  # \0: not compressed
        return False
    (checksum,) = _CRC.unpack_from(raw, end - _CRC.size)
    return zlib.crc32(raw[at + 4 : end - _CRC.size]) == checksum
