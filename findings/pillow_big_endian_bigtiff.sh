#!/usr/bin/env bash
# Pillow opens a little-endian BigTIFF and does not recognise the same picture written big-endian.
#
# Versions: Pillow 13.0.0, tifffile 2026.3.3 (the control), NumPy 2.4.6, Python 3.11.
# Expected: BigTIFF (version 43) is read in both byte orders, as classic TIFF is.
# Seen: "II" opens and its pixels are right; "MM" ends in UnidentifiedImageError, as if it were no image at all,
# behind a warning of corrupt EXIF data. tifffile reads all four.
#
# Output seen:
#   classic TIFF, little-endian: read
#   classic TIFF, big-endian: read
#   BigTIFF, little-endian: read
#   BigTIFF, big-endian: UnidentifiedImageError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/seen"
import io
import struct

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError


def grey_tiff(pixels, *, order, big):
    """A TIFF of uint8 [H, W] in one strip; `order` is '<' or '>'."""
    height, width = pixels.shape
    count, offset = ("Q", "Q") if big else ("H", "I")
    header = struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
    entry, kind = (order + "HHQQ", 16) if big else (order + "HHII", 4)
    values = [
        (256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, None), (277, 1), (278, height),
        (279, pixels.size),
    ]
    head = 2 + len(header) + struct.calcsize(order + count) + len(values) * struct.calcsize(entry)
    strip = head + struct.calcsize(order + offset)
    tags = b"".join(
        struct.pack(entry, tag, kind, 1, strip if value is None else value)
        for tag, value in values
    )
    mark = b"II" if order == "<" else b"MM"
    return mark + header + struct.pack(order + count, len(values)) + tags + struct.pack(order + offset, 0) + pixels.tobytes()


grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
for big in (False, True):
    for order, name in (("<", "little"), (">", "big")):
        written = grey_tiff(grey, order=order, big=big)
        assert np.array_equal(tifffile.imread(io.BytesIO(written)), grey)
        try:
            image = Image.open(io.BytesIO(written))
            seen = "read" if np.array_equal(np.asarray(image), grey) else "wrong pixels"
        except UnidentifiedImageError as error:
            seen = type(error).__name__
        print(f"{'BigTIFF' if big else 'classic TIFF'}, {name}-endian: {seen}")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
