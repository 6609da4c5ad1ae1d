"""Reads the directory of a TIFF, and the plain samples of the kinds that Pillow misreads or refuses."""

import dataclasses
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from carclf.data.image_formats import UnusableError
from carclf.data.to_rgb import NO_ALPHA, UPRIGHT, is_empty, to_8_bits
from carclf.wording import counted

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_BYTES, MAX_SAMPLE, PLANAR = 273, 274, 277, 279, 281, 284
KIND, OLD_KIND, PREDICTOR, TILE_OFFSETS, SUB_DIRECTORIES, EXTRA, FORMAT = 254, 255, 317, 324, 330, 338, 339
DNG_VERSION = 50706
_KNOWN_TAGS = {
    WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_BYTES, MAX_SAMPLE,
    PLANAR, KIND, OLD_KIND, PREDICTOR, TILE_OFFSETS, SUB_DIRECTORIES, EXTRA, FORMAT, DNG_VERSION,
}  # fmt: skip
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR = 0, 1, 2, 6
OTHER_COLOURS = {  # Source: TIFF 6.0, section 23; TIFF/EP; DNG 1.7
    8: "colours as CIELAB",
    9: "colours as ICCLAB",
    10: "colours as ITULAB",
    32803: "a camera's raw values",
    32844: "colours as LogL",
    32845: "colours as LogLuv",
    34892: "a camera's raw values",
}
NO_COMPRESSION, LZW, DEFLATE = 1, 5, (8, 32946)
RARE_COMPRESSIONS = {  # Source: libtiff's tiff.h; none of them is in every build of Pillow's libtiff
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34925: "LZMA",
    34933: "PNG",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
SIGNED, FLOAT = 2, 3
UNSPECIFIED, PREMULTIPLIED = 0, 1  # the meaning of an extra sample
MAX_PAGES, MAX_VALUES = 64, 2**20
_LETTERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # type → struct's format character
Tags = dict[int, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class TiffHeader:
    """The directory of a page.

    Attributes:
      order: byte order, '<' or '>', as in struct and NumPy.
      big: whether it is a BigTIFF.
      tags: the values of the tags that matter here.
    """

    order: str
    big: bool
    tags: Tags

    def first(self, tag: int, otherwise: int) -> int:
        """Returns the first value of a tag, or `otherwise`."""
        return self.tags.get(tag, (otherwise,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """Returns (width, height) in pixels."""
        return self.first(WIDTH, 0), self.first(HEIGHT, 0)

    def is_wide(self) -> bool:
        """Returns whether each sample has 16 bits."""
        return self.first(BITS, 1) == 16

    def is_copy(self) -> bool:
        """Returns whether the page is marked as a reduced copy of another, or as a mask."""
        return bool(self.first(KIND, 0) & 5) or self.first(OLD_KIND, 1) == 2

    def sample_bits(self) -> int:
        """Returns how many bits of a sample hold a value: those of the largest value, if the page names it."""
        return max(8, min(self.first(BITS, 16), self.first(MAX_SAMPLE, 0xFFFF).bit_length()))

    def is_planar(self) -> bool:
        """Returns whether each sample is in its own plane."""
        return self.first(PLANAR, 1) == 2 and self.first(SAMPLES, 1) > 1

    def problem(self) -> str:
        """Returns why the page's samples cannot be read, or ""."""
        photometric, bits, samples = self.first(PHOTOMETRIC, 0), self.first(BITS, 1), self.first(SAMPLES, 1)
        if DNG_VERSION in self.tags:
            return "DNG, a camera's raw file, is not read"
        if self.is_copy() and SUB_DIRECTORIES in self.tags:
            return "TIFF whose picture lies in a SubIFD, such as a camera's raw file, is not read"
        if photometric in OTHER_COLOURS:
            return f"TIFF with {OTHER_COLOURS[photometric]} is not read"
        kind = {SIGNED: "signed ", FLOAT: "floating-point "}.get(self.first(FORMAT, 1), "")
        if kind or bits > 16:
            return f"TIFF with {bits}-bit {kind}samples is not read"
        if photometric == YCBCR and self.first(COMPRESSION, 1) in (LZW, *DEFLATE):
            return "TIFF with colours as YCbCr is read with JPEG compression only"
        return "" if samples <= 5 else f"TIFF with {samples} samples a pixel is not read"

    def is_plain(self) -> bool:
        """Returns whether `plain_samples` reads the page: whole bytes in strips, uncompressed or deflated."""
        return (
            set(self.tags.get(BITS, (1,))) in ({8}, {16})
            and self.first(COMPRESSION, 1) in (NO_COMPRESSION, *DEFLATE)
            and self.first(PREDICTOR, 1) == 1
            and TILE_OFFSETS not in self.tags
            and self.first(PHOTOMETRIC, -1) in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
            and self.first(SAMPLES, 1) in ((3, 4) if self.first(PHOTOMETRIC, -1) == RGB else (1, 2))
        )

    def described(self) -> str:
        """Returns the kind of page in words."""
        layout = "tiles" if TILE_OFFSETS in self.tags else "strips"
        planes = "planes of " * self.is_planar()
        number = self.first(COMPRESSION, NO_COMPRESSION)
        packed = f"of compression {RARE_COMPRESSIONS.get(number, number)}"
        samples = f"{counted(self.first(SAMPLES, 1), 'sample')} of {self.first(BITS, 1)} bits a pixel"
        return f"with {samples} and photometric {self.first(PHOTOMETRIC, BLACK_IS_ZERO)} in {planes}{layout} {packed}"

    def is_rarely_packed(self) -> bool:
        """Returns whether the page's compression is one that not every build of Pillow reads."""
        return self.first(COMPRESSION, NO_COMPRESSION) in RARE_COMPRESSIONS

    def is_misread(self) -> bool:
        """Returns whether Pillow misreads or refuses the page (tried with 13.0)."""
        wide, grey = self.first(BITS, 1) == 16, self.first(PHOTOMETRIC, -1) in (WHITE_IS_ZERO, BLACK_IS_ZERO)
        return (
            (wide and self.is_planar() and self.first(COMPRESSION, 1) == NO_COMPRESSION)
            or (wide and grey and (self.first(PHOTOMETRIC, -1) == WHITE_IS_ZERO or self.first(SAMPLES, 1) == 2))
            or (self.big and self.order == ">")
        )


def read_pages(raw: bytes) -> Iterator[TiffHeader]:
    """Yields the directories of a TIFF's pages, as far as they can be read."""
    order = "<" if raw.startswith(b"II") else ">"
    seen: set[int] = set()
    try:
        big = struct.unpack_from(order + "H", raw, 2)[0] == 43
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), raw, 8 if big else 4)
        while at and at not in seen and len(seen) < MAX_PAGES:
            seen.add(at)
            tags, at = _directory(raw, at, order, big)
            yield TiffHeader(order, big, tags)
    except struct.error:
        return


def choose_page(raw: bytes) -> tuple[int, TiffHeader | None]:
    """Returns (index, directory) of the page to store: the first that is no reduced copy; None if none is legible."""
    first = None
    for number, page in enumerate(read_pages(raw)):
        first = first or page
        if not page.is_copy():
            return number, page
    return 0, first


def _directory(raw: bytes, at: int, order: str, big: bool) -> tuple[Tags, int]:
    """Returns (tags, offset of the next directory)."""
    count_letter, entry, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    (count,) = struct.unpack_from(order + count_letter, raw, at)
    at += struct.calcsize(order + count_letter)
    tags: Tags = {}
    for _ in range(min(count, 4096)):
        tag, kind, number = struct.unpack_from(order + entry, raw, at)
        value_at = at + struct.calcsize(order + entry)
        at = value_at + inline
        if tag in _KNOWN_TAGS and kind in _LETTERS and 0 < number <= MAX_VALUES:
            values = f"{order}{number}{_LETTERS[kind]}"
            if struct.calcsize(values) > inline:
                (value_at,) = struct.unpack_from(order + ("Q" if big else "I"), raw, value_at)
            tags[tag] = struct.unpack_from(values, raw, value_at)
    return tags, struct.unpack_from(order + ("Q" if big else "I"), raw, at)[0]


def plain_image(raw: bytes, page: TiffHeader) -> tuple[Image.Image, str]:
    """Returns (the upright image of a page of whole bytes in strips, uncompressed or deflated; a remark or "").

    Raises:
      UnusableError: the page is of another kind.
      ValueError: it has fewer samples than its directory says.
    """
    if not page.is_plain():
        raise UnusableError(f"TIFF {page.described()} is not read")
    samples, remark = to_8_bits(plain_samples(raw, page), bits=page.sample_bits())
    colours = 3 if page.first(PHOTOMETRIC, -1) == RGB else 1
    if page.first(PHOTOMETRIC, -1) == WHITE_IS_ZERO:
        samples = np.concatenate([255 - samples[..., :1], samples[..., 1:]], axis=-1)
    if page.first(EXTRA, UNSPECIFIED) == UNSPECIFIED:  # the last sample is not alpha
        samples = samples[..., :colours]
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[samples.shape[2]]
    source = {"LA": "La", "RGBA": "RGBa"}.get(mode, mode) if page.first(EXTRA, 0) == PREMULTIPLIED else mode
    image = Image.frombytes(source, page.size, np.ascontiguousarray(samples).tobytes())
    image = image if source == mode else image.convert(mode)
    image = image.convert("RGBA") if mode == "LA" else image
    if is_empty(image):
        image, remark = image.convert("RGB"), NO_ALPHA
    turn = UPRIGHT.get(page.first(ORIENTATION, 1))
    return (image if turn is None else image.transpose(turn)), remark


def plain_samples(raw: bytes, page: TiffHeader) -> np.ndarray:
    """Returns the raw samples of a page that `is_plain`, uint8 or uint16 [h, w, samples].

    Raises:
      ValueError: there are fewer than the directory says.
    """
    height, width, samples = page.first(HEIGHT, 0), page.first(WIDTH, 0), page.first(SAMPLES, 1)
    shape = (samples, height, width) if page.is_planar() else (height, width, samples)
    dtype = np.dtype(f"{page.order}u{page.first(BITS, 8) // 8}")
    wanted = height * width * samples * dtype.itemsize
    offsets, sizes = page.tags.get(STRIP_OFFSETS, ()), page.tags.get(STRIP_BYTES, ())
    content = bytearray()
    for offset, size in zip(offsets, sizes, strict=False):
        strip = raw[offset : offset + size]
        if page.first(COMPRESSION, 1) in DEFLATE:
            try:
                strip = zlib.decompressobj().decompress(strip, wanted - len(content) + 1)
            except zlib.error as error:
                raise ValueError(str(error)) from None
        content += strip
    if len(content) < wanted:
        raise ValueError(f"{len(content)} of {wanted} bytes are there")
    values = np.frombuffer(bytes(content[:wanted]), dtype).reshape(shape)
    return (values.transpose(1, 2, 0) if page.is_planar() else values).astype(dtype.type, order="C")
