#!/usr/bin/env bash
# Pillow's BOX resize is no mean over areas: it takes whole pixels, and mirroring an image changes what it takes.
#
# Versions: Pillow 12.0.0 and 13.0.0, NumPy 2.3.5, Python 3.11.
# Expected: BOX gives each output pixel the mean over its area, with a share of the pixels that lie across its edges; an
# image that is mirrored first gives the mirrored result.
# Seen: where the ratio is no whole number, a pixel that lies across an edge goes to one side as a whole. From 40 to 16
# columns, of 2.5 pixels each, the outputs take 3, 2, 3, 2 … pixels, and the mirrored image takes 2, 3, 2, 3 …. HAMMING and
# BILINEAR do not have that. Image hashes from BOX thumbnails are farther from those of mirrored copies.
#
# Output seen, the same of both versions:
#   40 to 16 columns, pixels of each output: BOX 3 2 3 2 3 2 3 2 3 2 3 2 3 2 3 2
#   40 to 16 columns, largest difference of mirroring before and after: BOX 62, HAMMING 0, BILINEAR 0
#   48 to 16 columns, largest difference of mirroring before and after: BOX 0, HAMMING 0, BILINEAR 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for pillow in 12.0.0 13.0.0; do
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pillow==$pillow" numpy==2.3.5
  "$folder/venv/bin/python" >"$folder/seen-$pillow" - <<'PYTHON'
import numpy as np
from PIL import Image

FILTERS = ("BOX", "HAMMING", "BILINEAR")


def resized(pixels, name):
    return np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling[name])).astype(int)


taken = np.zeros(16, int)
for column in range(40):
    pixels = np.zeros((16, 40), np.uint8)
    pixels[:, column] = 255
    taken += resized(pixels, "BOX")[0] > 0
print("40 to 16 columns, pixels of each output: BOX", *taken)
for side in (40, 48):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    differences = [
        f"{name} {np.abs(resized(pixels, name) - resized(pixels[:, ::-1].copy(), name)[:, ::-1]).max()}"
        for name in FILTERS
    ]
    print(f"{side} to 16 columns, largest difference of mirroring before and after:", ", ".join(differences))
PYTHON
done
cat "$folder/seen-13.0.0"
sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0" >"$folder/expected"
diff "$folder/expected" "$folder/seen-12.0.0"
diff "$folder/expected" "$folder/seen-13.0.0" && echo "As it was."
