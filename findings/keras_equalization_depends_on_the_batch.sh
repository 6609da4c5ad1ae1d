#!/usr/bin/env bash
# Keras's Equalization takes one histogram for the whole batch, so a photo comes out differently in other company.
#
# Versions: Keras 3.15.1, JAX 0.10.2, NumPy 2.4.6, Python 3.11 (TensorFlow 2.21 as the backend: the same).
# Expected: each channel of each photo is equalized by its own histogram, in training and, as documented, "at inference
# time" too. AutoContrast does both so.
# Seen: the histogram is that of the channel over all photos of the batch. A dark photo that fills the range alone stays
# in the dark half beside a bright one: the share of the range that it gets is what is left by the others. So training
# depends on the batch size, and what is equalized photo by photo beforehand differs from what is equalized in batches.
# With training=False nothing is done at all. RandAugment and AugMix have this operation among theirs.
#
# Output seen, a dark photo's pixels:
#   Equalization, alone: 0 to 255
#   Equalization, beside a bright photo: 0 to 126
#   Equalization, alone, training=False: 0 to 63
#   AutoContrast, alone: 0 to 255
#   AutoContrast, beside a bright photo: 0 to 255
#   AutoContrast, alone, training=False: 0 to 255
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
KERAS_BACKEND=jax "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON' | tee "$folder/seen"
import keras
import numpy as np

dark = np.tile(np.arange(64, dtype="float32").reshape(1, 8, 8, 1), (1, 1, 1, 3))
both = np.concatenate([dark, dark + 192])
for layer in (keras.layers.Equalization(), keras.layers.AutoContrast()):
    for name, batch, training in (
        ("alone", dark, True),
        ("beside a bright photo", both, True),
        ("alone, training=False", dark, False),
    ):
        pixels = np.asarray(layer(batch, training=training))[0]
        print(f"{type(layer).__name__}, {name}: {pixels.min():.0f} to {pixels.max():.0f}")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
