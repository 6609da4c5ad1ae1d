#!/usr/bin/env bash
# Whether Keras rounds or cuts the pixels of uint8 photos depends on the function and on the backend.
#
# Versions: Keras 3.15.1, tensorflow-cpu 2.21.0, JAX 0.10.2, NumPy 2.4.6, Python 3.11.
# Expected: functions of ops.image that interpolate return uint8 for uint8, rounded to the nearest value on every
# backend, as resize does: on average as bright as the same call on float32.
# Seen: affine_transform cuts the fraction off on TensorFlow and NumPy and rounds on JAX; perspective_transform cuts on
# TensorFlow alone; rgb_to_grayscale cuts on all three. Each call that cuts darkens a photo by half a level on average,
# so photos that are augmented as uint8 in several steps get darker on one backend and not on another.
#
# Output seen, mean of uint8 result less float32 result:
#   tensorflow: resize 0.0, affine_transform -0.5, perspective_transform -0.5, rgb_to_grayscale -0.5
#   jax: resize 0.0, affine_transform 0.0, perspective_transform 0.0, rgb_to_grayscale -0.5
#   numpy: resize 0.0, affine_transform -0.5, perspective_transform 0.0, rgb_to_grayscale -0.5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow-cpu==2.21.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
for backend in tensorflow jax numpy; do
  KERAS_BACKEND=$backend TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON'
import keras
import numpy as np
from keras.ops import image

photos = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
sheared = np.array([[1, 0.1, 0, 0.1, 1, 0, 0, 0]], np.float32)
corners = np.array([[[0, 0], [0, 63], [63, 0], [63, 63]]], np.float32)
moved = np.array([[[3, 3], [0, 60], [63, 0], [60, 62]]], np.float32)
calls = {
    "resize": lambda photos: image.resize(photos, (48, 48)),
    "affine_transform": lambda photos: image.affine_transform(photos, sheared, fill_mode="nearest"),
    "perspective_transform": lambda photos: image.perspective_transform(photos, corners, moved),
    "rgb_to_grayscale": image.rgb_to_grayscale,
}
seen = []
for name, call in calls.items():
    whole, exact = (keras.ops.convert_to_numpy(call(one)) for one in (photos, photos.astype(np.float32)))
    assert whole.dtype == np.uint8, name
    seen.append(f"{name} {round(float((whole - exact).mean()), 1) + 0.0}")
print(f"{keras.backend.backend()}: {', '.join(seen)}")
PYTHON
done | tee "$folder/seen"
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
