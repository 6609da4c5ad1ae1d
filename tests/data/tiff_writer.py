"""A small TIFF writer for the kinds of files that no library writes: planes, any sample, several pages, BigTIFF."""

import dataclasses
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

SHORT, LONG, RATIONAL, BYTE, ASCII, LONG8 = 3, 4, 5, 1, 2, 16
SIZES = {BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4, LONG8: 8}
LETTERS = {BYTE: "B", ASCII: "B", SHORT: "H", LONG: "I", LONG8: "Q"}

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR, SAMPLE_FORMAT = 273, 277, 278, 279, 284, 339
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CFA, LINEAR_RAW = 0, 1, 2, 32803, 34892
NONE, DEFLATE = 1, 8
FORMATS = {"u": 1, "i": 2, "f": 3}

Tags = Mapping[int, tuple[int, Sequence[int]]]  # tag → (type, values)


@dataclasses.dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
      pixels: [h, w] or [h, w, samples] of any number type.
      photometric: what its values mean.
      planes: whether each sample lies in a plane of its own.
      compression: NONE or DEFLATE.
      strips: how many, of each plane.
      tags: further ones, or others.
    """

    pixels: np.ndarray
    photometric: int = RGB
    planes: bool = False
    compression: int = NONE
    strips: int = 1
    tags: Tags = dataclasses.field(default_factory=dict)


def tiff(*pages: Page, order: str = "<", big: bool = False) -> bytes:
    """A TIFF of these pages; `order` is '<' (Intel) or '>' (Motorola), `big` makes it a BigTIFF."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
    result = bytearray(head)
    for number, page in enumerate(pages):
        result += _page(page, at=len(result), order=order, big=big, last=number == len(pages) - 1)
    return bytes(result)


def _page(page: Page, *, at: int, order: str, big: bool, last: bool) -> bytes:
    """The page's directory, then what its tags point at, then its strips, then padding."""
    strips = _strips(page, order)
    samples = 1 if page.pixels.ndim == 2 else page.pixels.shape[2]
    bits = 8 * page.pixels.dtype.itemsize
    height = page.pixels.shape[0]
    tags: dict[int, tuple[int, Sequence[int]]] = {
        WIDTH: (LONG, [page.pixels.shape[1]]),
        HEIGHT: (LONG, [height]),
        BITS: (SHORT, [bits] * samples),
        COMPRESSION: (SHORT, [page.compression]),
        PHOTOMETRIC: (SHORT, [page.photometric]),
        STRIP_OFFSETS: (LONG, [0] * len(strips)),
        SAMPLES: (SHORT, [samples]),
        ROWS_PER_STRIP: (LONG, [-(-height // page.strips)]),
        STRIP_BYTES: (LONG, [len(strip) for strip in strips]),
        PLANAR: (SHORT, [2 if page.planes else 1]),
        SAMPLE_FORMAT: (SHORT, [FORMATS[page.pixels.dtype.kind]] * samples),
        **page.tags,
    }
    inline = 8 if big else 4
    entry, ends = (20, (8, 8)) if big else (12, (2, 4))
    values_at = at + ends[0] + entry * len(tags) + ends[1]
    sizes = {tag: SIZES[kind] * len(values) for tag, (kind, values) in tags.items()}
    strips_at = values_at + sum(-(-size // 8) * 8 for size in sizes.values() if size > inline)
    starts = [strips_at + sum(len(one) for one in strips[:number]) for number in range(len(strips))]
    tags[STRIP_OFFSETS] = (LONG, starts)
    end = strips_at + sum(len(strip) for strip in strips)
    padding = -end % 16
    directory, values = struct.pack(order + ("Q" if big else "H"), len(tags)), b""
    for tag in sorted(tags):
        kind, numbers = tags[tag]
        content = struct.pack(f"{order}{len(numbers)}{LETTERS[kind]}", *numbers)
        directory += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, len(numbers))
        if len(content) > inline:
            directory += struct.pack(order + ("Q" if big else "I"), values_at + len(values))
            values += content + bytes(-len(content) % 8)
        else:
            directory += content.ljust(inline, b"\0")
    directory += struct.pack(order + ("Q" if big else "I"), 0 if last else end + padding)
    return directory + values + b"".join(strips) + bytes(padding)


def _strips(page: Page, order: str) -> list[bytes]:
    planes = [page.pixels]
    if page.planes:
        planes = [page.pixels[..., number] for number in range(page.pixels.shape[2])]
    rows = -(-page.pixels.shape[0] // page.strips)
    raw = [
        np.ascontiguousarray(plane[start : start + rows]).astype(plane.dtype.str.replace("<", order)).tobytes()
        for plane in planes
        for start in range(0, plane.shape[0], rows)
    ]
    return [zlib.compress(one) if page.compression == DEFLATE else one for one in raw]
