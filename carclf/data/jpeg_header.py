"""Reads the markers of a JPEG without a decoder: its frame, its true end, and slips that can be corrected.

Cameras and programs write headers that make libjpeg warn although the picture is whole. The training decoder treats a
warning as damage, so such slips are corrected in the bytes: no pixel changes, and every decoder reads the result
without a warning.
"""

import dataclasses
import re
import struct

BASELINE, EXTENDED, PROGRESSIVE, ARITHMETIC, ARITHMETIC_PROGRESSIVE = 0xC0, 0xC1, 0xC2, 0xC9, 0xCA
READ_FRAMES = (BASELINE, EXTENDED, PROGRESSIVE, ARITHMETIC, ARITHMETIC_PROGRESSIVE)
KEPT_FRAMES = (BASELINE, EXTENDED)  # those that every decoder reads in one pass
OTHER_FRAMES = {  # Source: ITU-T T.81, table B.1; T.87
    0xC3: "lossless JPEG",
    0xC5: "differential JPEG",
    0xC6: "differential progressive JPEG",
    0xC7: "differential lossless JPEG",
    0xCB: "lossless arithmetic JPEG",
    0xCD: "differential arithmetic JPEG",
    0xCE: "differential progressive arithmetic JPEG",
    0xCF: "differential lossless arithmetic JPEG",
    0xF7: "JPEG-LS",
}
FRAMES = frozenset((*READ_FRAMES, *OTHER_FRAMES))
_SOS, _EOI, _APP0, _APP1, _APP2, _APP14, _TEM = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEE, 0x01
_JFIF, _ADOBE, _ICC = b"JFIF\0", b"Adobe", b"ICC_PROFILE\0"
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
# An end marker, or a segment that may follow a scan: tables, a height, another scan, a comment. Source: T.81, B.2.1
_AFTER_SCAN = re.compile(rb"\xff[\xd9\xc4\xcc\xda-\xdd\xe0-\xef\xfe]")
_END = re.compile(rb"\xff\xd9")  # finds it in half the time of bytes.find
_WHOLE = b"\x00\x3f\x00"  # in the scan header of a sequential frame. Source: T.81, table B.3
_VISITED = FRAMES | {_SOS, _APP0, _APP1, _APP2, _APP14}
# Luma factors (horizontal, vertical) that TurboJPEG supports with chroma of (1, 1). Source: its getSubsamp().
_FAST_LUMA = ((1, 1), (2, 1), (1, 2), (2, 2), (4, 1))


@dataclasses.dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a JPEG says about itself.

    Attributes:
      frame: second byte of the start-of-frame marker; 0 if there is none.
      precision: bits per sample.
      height: pixels.
      width: pixels.
      sampling: (horizontal, vertical) factor of every component.
      has_tags: whether there is Exif or XMP, which may give an orientation.
      has_scan: whether the picture starts at all.
      end: index after the picture's end marker; 0 if the picture has no end.
      corrected: the JPEG's own bytes, cut at its end and with its slips corrected.
      slips: whether any slip was corrected.
    """

    frame: int
    precision: int
    height: int
    width: int
    sampling: tuple[tuple[int, int], ...]
    has_tags: bool
    has_scan: bool
    end: int
    corrected: bytes
    slips: bool

    def problem(self) -> str:
        """Returns why the JPEG must not reach a decoder, or ""."""
        if self.frame in OTHER_FRAMES:
            return f"{OTHER_FRAMES[self.frame]} is not read"
        if self.precision not in (0, 8):
            return f"{self.precision}-bit JPEG is not read"
        if len(self.sampling) not in (0, 1, 3, 4):
            return f"JPEG of {len(self.sampling)} components is not read"
        whole = self.frame in READ_FRAMES and self.sampling and self.has_scan and self.height and self.width
        return "" if whole else "damaged header: it describes no picture"

    def is_fast(self) -> bool:
        """Returns whether the training decoder supports this chroma sampling."""
        luma, *chroma = self.sampling[:3]
        if not chroma:
            return True
        if len(set(chroma)) > 1 or len(chroma) != 2 or any(factors != luma for factors in self.sampling[3:]):
            return False
        return (
            (chroma[0] == (1, 1) and luma in _FAST_LUMA)
            or (luma == (2, 2) and chroma[0] in ((1, 2), (2, 1)))
            or (chroma[0] == luma and luma[0] * luma[1] <= 3)
        )


@dataclasses.dataclass(slots=True)
class _Walk:
    """What was found so far; `edits` are (start, stop, replacement)."""

    raw: bytes
    frame: bytes = b""
    frame_marker: int = 0
    has_tags: bool = False
    has_scan: bool = False
    end: int = 0
    has_jfif: bool = False
    adobe: int = 0  # index of the transform
    profile: list[tuple[int, int, int, int]] = dataclasses.field(default_factory=list)  # number, count, start, stop
    edits: list[tuple[int, int, bytes]] = dataclasses.field(default_factory=list)


def read_header(raw: bytes) -> JpegHeader:
    """Returns the header of a JPEG; fields that a damaged one lacks are zero.

    Args:
      raw: the file's bytes, which begin with the start-of-image marker.
    """
    walk = _Walk(raw)
    at = 2
    while found := _MARKER.search(raw, at):
        if found.start() > at:
            walk.edits.append((at, found.start(), b""))  # stray bytes between segments
        start = found.end()
        marker = raw[start - 1]
        if marker == _EOI or start + 2 > len(raw):
            break
        if 0xD0 <= marker <= 0xD8 or marker == _TEM:  # these have no length
            if marker == _TEM:  # allowed anywhere, and read by libjpeg, but not by Pillow
                walk.edits.append((found.start(), start, b""))
            at = start
            continue
        at = start + max(raw[start] << 8 | raw[start + 1], 2)
        if marker in _VISITED:
            _visit(walk, marker, start - 2, start + 2, at)
        if marker == _SOS:
            walk.has_scan = True
            walk.end = _end(raw, at)
            break
    return _header(walk)


def _end(raw: bytes, at: int) -> int:
    """Returns the index after the end marker of a picture whose first scan begins at `at`, or 0 if it has none.

    Comments and tables between scans may hold the bytes of an end marker.
    """
    after = at
    while found := _AFTER_SCAN.search(raw, after):
        start = found.end()
        if raw[start - 1] == _EOI:
            return start
        after = start + int.from_bytes(raw[start : start + 2])
    return found.end() if (found := _END.search(raw, at)) else 0  # of a damaged scan, or none


def _visit(walk: _Walk, marker: int, at: int, start: int, stop: int) -> None:
    """Processes a segment that begins at `at` and whose content is raw[start:stop]."""
    content = walk.raw[start : min(stop, start + 64)]
    if marker == _APP0 and content.startswith(_JFIF) and len(content) >= 14:
        walk.has_jfif = True
        if content[5] != 1:  # the major version
            walk.edits.append((start + 5, start + 6, b"\x01"))
    elif marker == _APP14 and content.startswith(_ADOBE) and len(content) >= 12:
        walk.adobe = start + 11
    elif marker == _APP2 and content.startswith(_ICC) and len(content) >= 14:
        walk.profile.append((content[12], content[13], at, stop))
    elif marker == _APP1:
        walk.has_tags = True
    elif marker == _SOS:
        spectrum = stop - len(_WHOLE)  # first and last coefficient, and the bit positions
        if walk.frame_marker in KEPT_FRAMES and start < spectrum and walk.raw[spectrum:stop] != _WHOLE:
            walk.edits.append((spectrum, stop, _WHOLE))
    elif marker in FRAMES and not walk.frame:
        walk.frame, walk.frame_marker = content, marker


def _header(walk: _Walk) -> JpegHeader:
    precision = height = width = count = 0
    if len(walk.frame) >= 6:
        precision, height, width, count = struct.unpack_from(">BHHB", walk.frame)
    factors = walk.frame[7 : 6 + 3 * count : 3]
    sampling = tuple((factor >> 4, factor & 15) for factor in factors)
    edits = walk.edits + _adobe_edit(walk, count) + _profile_edits(walk)
    end = walk.end or len(walk.raw)
    return JpegHeader(
        frame=walk.frame_marker,
        precision=precision,
        height=height,
        width=width,
        sampling=sampling,
        has_tags=walk.has_tags,
        has_scan=walk.has_scan,
        end=walk.end,
        corrected=_edited(walk.raw[:end], edits),
        slips=bool(edits),
    )


def _adobe_edit(walk: _Walk, components: int) -> list[tuple[int, int, bytes]]:
    """Returns edits that replace an undefined transform by the one that libjpeg assumes. Source: jdapimin.c."""
    known = {3: (0, 1), 4: (0, 2)}.get(components)
    if not walk.adobe or known is None or (components == 3 and walk.has_jfif) or walk.raw[walk.adobe] in known:
        return []
    return [(walk.adobe, walk.adobe + 1, bytes([known[1]]))]


def _profile_edits(walk: _Walk) -> list[tuple[int, int, bytes]]:
    """Returns edits that remove a colour profile with a missing or repeated piece, which nothing can read."""
    numbers, counts = sorted(piece[0] for piece in walk.profile), {piece[1] for piece in walk.profile}
    if not walk.profile or (len(counts) == 1 and numbers == list(range(1, counts.pop() + 1))):
        return []
    return [(start, stop, b"") for _, _, start, stop in walk.profile]


def _edited(raw: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    parts, at = [], 0
    for start, stop, instead in sorted(edits):
        parts += [raw[at:start], instead]
        at = stop
    return b"".join([*parts, raw[at:]]) if edits else raw
