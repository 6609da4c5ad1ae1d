"""Tells encoded photos from other bytes by their first ones."""

# Source: the formats' own specifications; RIFF and ISO media files say their kind after a length.
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"\xff\x0a")
_BITMAP = b"BM"


def is_photo_start(content: bytes) -> bool:
    """Returns whether these first bytes (32 are enough) are those of an encoded photo."""
    if content.startswith(_STARTS):
        return True
    if content.startswith(b"RIFF"):
        return content[8:12] == b"WEBP"
    if content[4:8] == b"ftyp":
        return content[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
    return content.startswith(_BITMAP) and content[6:10] == bytes(4)  # the reserved fields
