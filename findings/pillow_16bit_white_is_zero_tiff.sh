#!/usr/bin/env bash
# Pillow inverts an 8-bit WhiteIsZero TIFF, so that 0 is black, but hands out a 16-bit one as a negative.
#
# Versions: Pillow 13.0.0, NumPy 2.4.6, Python 3.11.
# Expected: PhotometricInterpretation=0 (WhiteIsZero; TIFF 6.0, page 37) is turned at every depth, or at none.
# Seen: at 8 bits the stored 0 is read as 255; at 16 bits it is read as 0. Nothing in the image's mode or info tells
# the two kinds of 16-bit file apart: only tag 262 does.
#
# Output seen:
#   8-bit BlackIsZero: L, stored 0 is read as 0
#   8-bit WhiteIsZero: L, stored 0 is read as 255
#   16-bit BlackIsZero: I;16, stored 0 is read as 0
#   16-bit WhiteIsZero: I;16, stored 0 is read as 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/seen"
import io
import struct

import numpy as np
from PIL import Image


def grey_tiff(pixels, *, photometric):
    """A little-endian TIFF of uint8 or uint16 [H, W] in one strip."""
    height, width = pixels.shape
    bits, strip = pixels.dtype.itemsize * 8, pixels.astype(f"<u{pixels.dtype.itemsize}").tobytes()
    values = (
        (256, width), (257, height), (258, bits), (259, 1), (262, photometric),
        (273, 8 + 2 + 9 * 12 + 4), (277, 1), (278, height), (279, len(strip)),
    )
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values)
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + struct.pack("<I", 0) + strip


for bits in (8, 16):
    pixels = np.arange(0, 250, 10, dtype=np.uint8).reshape(5, 5)
    pixels = pixels if bits == 8 else pixels.astype(np.uint16) * 257
    for name, photometric in (("BlackIsZero", 1), ("WhiteIsZero", 0)):
        image = Image.open(io.BytesIO(grey_tiff(pixels, photometric=photometric)))
        print(f"{bits}-bit {name}: {image.mode}, stored 0 is read as {np.asarray(image)[0, 0]}")
PYTHON
diff <(sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
