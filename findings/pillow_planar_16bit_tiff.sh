#!/usr/bin/env bash
# Pillow reads an uncompressed 16-bit RGB TIFF with separate planes wrongly, without an error.
#
# Versions: Pillow 13.0.0, NumPy 2.4.6, Python 3.11.
# Expected: PlanarConfiguration=2 (one plane per colour; TIFF 6.0, page 38) gives the same pixels as 1 (interleaved).
# Seen: so it does at 8 bits, and at 16 bits with Deflate; at 16 bits without compression most pixels are wrong.
#
# Output seen:
#   8-bit interleaved none: equal
#   8-bit planes none: equal
#   16-bit interleaved none: equal
#   16-bit planes deflate: equal
#   16-bit planes none: largest difference 241 of 255
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/seen"
import io
import struct
import zlib

import numpy as np
from PIL import Image


def tiff(pixels, *, planes, deflate):
    """A little-endian TIFF of uint8 or uint16 [H, W, 3], one strip per plane."""
    height, width, colours = pixels.shape
    bits = pixels.dtype.itemsize * 8
    parts = [pixels[..., colour] for colour in range(colours)] if planes else [pixels]
    strips = [part.astype(f"<u{bits // 8}").tobytes() for part in parts]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    first = 8 + 2 + 10 * 12 + 4
    beyond = 6 + (8 * len(strips) if planes else 0)
    starts = [first + beyond + sum(map(len, strips[:number])) for number in range(len(strips))]
    tags = [
        (256, "I", [width]), (257, "I", [height]), (258, "H", [bits] * colours), (259, "H", [8 if deflate else 1]),
        (262, "H", [2]), (273, "I", starts), (277, "H", [colours]), (278, "I", [height]),
        (279, "I", [len(strip) for strip in strips]), (284, "H", [2 if planes else 1]),
    ]
    entries, outside = b"", b""
    for tag, kind, values in tags:
        raw = struct.pack(f"<{len(values)}{kind}", *values)
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", first + len(outside))
        outside += raw if len(raw) > 4 else b""
        entries += struct.pack("<HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + place
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    return head + outside + b"".join(strips)


narrow = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
for bits, planes, deflate in ((8, 0, 0), (8, 1, 0), (16, 0, 0), (16, 1, 1), (16, 1, 0)):
    pixels = narrow if bits == 8 else narrow.astype(np.uint16) * 257
    seen = np.asarray(Image.open(io.BytesIO(tiff(pixels, planes=planes, deflate=deflate))).convert("RGB"))
    worst = int(np.abs(seen.astype(int) - narrow).max())
    layout = "planes" if planes else "interleaved"
    verdict = f"largest difference {worst} of 255" if worst else "equal"
    print(f"{bits}-bit {layout} {'deflate' if deflate else 'none'}: {verdict}")
PYTHON
diff <(sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
