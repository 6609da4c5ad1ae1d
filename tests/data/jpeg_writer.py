"""A small JPEG encoder for the kinds of files that no library writes: any sampling, any header."""

import struct
from collections.abc import Iterator, Sequence

import numpy as np

Sampling = Sequence[tuple[int, int]]  # (horizontal, vertical) factor of every component
Segment = tuple[int, bytes]  # (second byte of the marker, what follows the length)

RGB_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
JFIF: Segment = (0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0")
ZIGZAG = sorted(np.ndindex(8, 8), key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))
COSINES = np.array(
    [[np.sqrt((1 if u == 0 else 2) / 8) * np.cos((2 * x + 1) * u * np.pi / 16) for x in range(8)] for u in range(8)]
)
STEP = 2  # of every coefficient: nearly lossless
# One code length for all symbols of a table: simple, and as valid as any. The all-ones code stays free.
DC_SYMBOLS = tuple(range(12))  # 4 bits each
AC_SYMBOLS = (0x00, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 11)))  # 8 bits each


def segment(marker: int, content: bytes) -> bytes:
    """A marker with a length."""
    return b"\xff%c" % marker + struct.pack(">H", len(content) + 2) + content


def jpeg(
    pixels: np.ndarray,
    *,
    sampling: Sampling = ((1, 1), (1, 1), (1, 1)),
    segments: Sequence[Segment] = (JFIF,),
    frame: int = 0xC0,
    spectrum: tuple[int, int] = (0, 63),
    between: Segment | None = None,
) -> bytes:
    """A JPEG in one scan, or in one for each component.

    Args:
      pixels: uint8 [h, w, 3], RGB.
      sampling: of Y, Cb and Cr.
      segments: before the tables.
      frame: second byte of the start-of-frame marker.
      spectrum: what the scan header says of the first and the last coefficient.
      between: where each component has a scan of its own (of 4:4:4 only), a segment between the scans.
    """
    height, width, _ = pixels.shape
    parts = [b"\xff\xd8", *(segment(*one) for one in segments)]
    parts.append(segment(0xDB, b"\0" + bytes([STEP] * 64)))
    components = b"".join(bytes([number + 1, h << 4 | v, 0]) for number, (h, v) in enumerate(sampling))
    parts.append(segment(frame, struct.pack(">BHHB", 8, height, width, len(sampling)) + components))
    for kind, bits, symbols in ((0x00, 4, DC_SYMBOLS), (0x10, 8, AC_SYMBOLS)):
        counts = bytes(len(symbols) if length == bits else 0 for length in range(1, 17))
        parts.append(segment(0xC4, bytes([kind]) + counts + bytes(symbols)))
    scans = [range(len(sampling))] if between is None else [[number] for number in range(len(sampling))]
    for count, numbers in enumerate(scans):
        parts += [segment(*between)] if between and count else []
        selectors = b"".join(bytes([number + 1, 0]) for number in numbers)
        parts.append(segment(0xDA, bytes([len(numbers)]) + selectors + bytes([*spectrum, 0])))
        parts.append(_scan(pixels, sampling, numbers))
    return b"".join([*parts, b"\xff\xd9"])


def _scan(pixels: np.ndarray, sampling: Sampling, numbers: Sequence[int]) -> bytes:
    """The scan of these components."""
    most_h, most_v = (max(factors) for factors in zip(*sampling, strict=True))
    height, width, _ = pixels.shape
    down, across = -(-height // (8 * most_v)), -(-width // (8 * most_h))
    padding = ((0, down * 8 * most_v - height), (0, across * 8 * most_h - width), (0, 0))
    planes = np.pad(pixels, padding, mode="edge") @ RGB_TO_YCC.T
    blocks = [
        _quantised(_reduced(planes[..., number], most_h // h, most_v // v) - (128 if number == 0 else 0))
        for number, (h, v) in enumerate(sampling)
    ]
    bits: list[str] = []
    before = [0] * len(sampling)
    for row in range(down):
        for column in range(across):
            for number in numbers:
                h, v = sampling[number]
                for y, x in np.ndindex(v, h):
                    block = blocks[number][row * v + y, column * h + x]
                    bits += _codes(block, before[number])
                    before[number] = int(block[0])
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")


def _reduced(plane: np.ndarray, across: int, down: int) -> np.ndarray:
    height, width = plane.shape
    return plane.reshape(height // down, down, width // across, across).mean(axis=(1, 3))


def _quantised(plane: np.ndarray) -> np.ndarray:
    """int [rows, columns, 64] of coefficients in the order of a scan."""
    height, width = plane.shape
    tiles = plane.reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2)
    coefficients = np.round(COSINES @ tiles @ COSINES.T / STEP).astype(int)
    return np.stack([coefficients[..., y, x] for y, x in ZIGZAG], axis=-1)


def _codes(block: np.ndarray, before: int) -> Iterator[str]:
    difference = int(block[0]) - before
    yield f"{DC_SYMBOLS.index(abs(difference).bit_length()):04b}" + _magnitude(difference)
    run = 0
    for value in block[1:].tolist():
        if value == 0:
            run += 1
            continue
        while run > 15:
            yield f"{AC_SYMBOLS.index(0xF0):08b}"
            run -= 16
        yield f"{AC_SYMBOLS.index(run << 4 | abs(value).bit_length()):08b}" + _magnitude(value)
        run = 0
    if run:
        yield f"{AC_SYMBOLS.index(0x00):08b}"


def _magnitude(value: int) -> str:
    size = abs(value).bit_length()
    return f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""
