#!/usr/bin/env bash
# With one number, Keras's RandomContrast never lowers contrast, and RandomPosterization keeps fewer bits than asked.
#
# Versions: Keras 3.15.1, JAX 0.10.2, NumPy 2.4.6, Python 3.11 (TensorFlow 2.21 as the backend: the same).
# Expected: as documented, RandomContrast(0.5) takes 0.5 as the lower and the upper bound, so it draws from 0.5 to 1.5,
# and RandomPosterization(4) keeps 4 bits of each channel, which are 16 values.
# Seen: one number f becomes the range from the smallest factor allowed to f. So contrast is drawn from 1.0 to 1.5, and
# 1, 2 or 3 bits are kept, since the upper end is left out as well; 8 bits change a photo, too. RandomColorJitter's
# contrast is the same. RandAugment asks for int(8 * factor) bits, so that a weak RandAugment(factor=0.2) turns photos
# into 2 values a channel. A tuple of two equal numbers works as documented.
#
# Output seen:
#   RandomContrast(0.5): contrast of 400 photos lowered for none, raised for all
#   RandomColorJitter(contrast_factor=0.5): contrast of 400 photos lowered for none, raised for all
#   RandomContrast((0.5, 0.5)): contrast of 400 photos lowered for some, raised for some
#   RandomPosterization(4): values left of 256: 2, 4, 8
#   RandomPosterization(8): values left of 256: 2, 4, 8, 16, 32, 64, 128
#   RandomPosterization((4, 4)): values left of 256: 16
#   the posterization of RandAugment(factor=0.2): values left of 256: 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
KERAS_BACKEND=jax "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON' | tee "$folder/seen"
import keras
import numpy as np

layers = keras.layers
soft = np.tile(np.array([110, 140], "float32").reshape(1, 1, 2, 1), (400, 1, 1, 3))
grey = np.tile(np.arange(256, dtype="float32").reshape(1, 16, 16, 1), (400, 1, 1, 3))


def amount(which):
    return "all" if which.all() else "some" if which.any() else "none"


for name, layer in (
    ("RandomContrast(0.5)", layers.RandomContrast(0.5, seed=0)),
    ("RandomColorJitter(contrast_factor=0.5)", layers.RandomColorJitter(contrast_factor=0.5, seed=0)),
    ("RandomContrast((0.5, 0.5))", layers.RandomContrast((0.5, 0.5), seed=0)),
):
    changed = np.asarray(layer(soft, training=True))
    spread = changed[:, 0, 1, 0] - changed[:, 0, 0, 0]
    print(f"{name}: contrast of 400 photos lowered for {amount(spread < 30)}, raised for {amount(spread >= 30)}")
for name, layer in (
    ("RandomPosterization(4)", layers.RandomPosterization(4, seed=0)),
    ("RandomPosterization(8)", layers.RandomPosterization(8, seed=0)),
    ("RandomPosterization((4, 4))", layers.RandomPosterization((4, 4), seed=0)),
    ("the posterization of RandAugment(factor=0.2)", layers.RandAugment(factor=0.2, seed=0).random_posterization),
):
    left = {len(np.unique(photo)) for photo in np.asarray(layer(grey, training=True))}
    print(f"{name}: values left of 256: {', '.join(map(str, sorted(left)))}")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
