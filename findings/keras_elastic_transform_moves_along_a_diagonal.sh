#!/usr/bin/env bash
# Keras's elastic_transform moves each pixel as far down as to the right: it warps along one diagonal alone.
#
# Versions: Keras 3.15.1, JAX 0.10.2, NumPy 2.4.6, Python 3.11 (TensorFlow 2.21 as the backend: the same).
# Expected: an elastic deformation has two random fields that know nothing of each other, one for rows and one for
# columns, as in the paper it is from (Simard et al. 2003).
# Seen: both fields are drawn with one seed, so they are one field. Every pixel moves along the diagonal from the upper
# left to the lower right, and none along the other. The layer RandomElasticTransform is built on it, so a model that is
# trained with it never sees most of the deformations, whatever the seed.
#
# Output seen, of the pixels away from the border:
#   seed 1: some move by more than 2 pixels: True, rows and columns move alike: True
#   seed 2: some move by more than 2 pixels: True, rows and columns move alike: True
#   SeedGenerator: some move by more than 2 pixels: True, rows and columns move alike: True
#   RandomElasticTransform: some move by more than 2 pixels: True, rows and columns move alike: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
KERAS_BACKEND=jax "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON' | tee "$folder/seen"
import keras
import numpy as np

places = np.stack(np.meshgrid(np.arange(96), np.arange(96), indexing="ij"), -1)[None].astype("float32")  # row, column


def warp(seed):
    return keras.ops.image.elastic_transform(places, alpha=20.0, sigma=5.0, fill_mode="nearest", seed=seed)


layer = keras.layers.RandomElasticTransform((1.0, 1.0), scale=(1.0, 1.0), fill_mode="nearest", seed=3)
for name, warped in (
    ("seed 1", warp(1)),
    ("seed 2", warp(2)),
    ("SeedGenerator", warp(keras.random.SeedGenerator(1))),
    ("RandomElasticTransform", layer(places, training=True)),
):
    moved = (np.asarray(warped) - places)[0, 40:56, 40:56]
    far, alike = abs(moved).max() > 2, abs(moved[..., 0] - moved[..., 1]).max() < 0.01
    print(f"{name}: some move by more than 2 pixels: {far}, rows and columns move alike: {alike}")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
