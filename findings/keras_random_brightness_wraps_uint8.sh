#!/usr/bin/env bash
# Keras's RandomBrightness wraps the pixels of uint8 photos, to other values on TensorFlow than on JAX.
#
# Versions: Keras 3.15.1, tensorflow-cpu 2.21.0, JAX 0.10.2, NumPy 2.4.6, Python 3.11.
# Expected: the layer documents that it takes photos of float or int dtype, gives floats, and clips to the range of
# values.
# Seen: float photos are clipped. Of uint8 photos it gives uint8: the shift is cast to uint8 first and added without a
# limit. So a bright pixel that gets brighter ends almost black on both. A pixel that shall get darker is one thing on
# TensorFlow, where it wraps to almost white, and another on JAX, where a negative shift is cast to zero and nothing
# happens.
#
# Output seen:
#   tensorflow, float32: 200 raised by 76.5 is 255, 50 lowered by 76.5 is 0
#   tensorflow, uint8: 200 raised by 76.5 is 20, 50 lowered by 76.5 is 230
#   jax, float32: 200 raised by 76.5 is 255, 50 lowered by 76.5 is 0
#   jax, uint8: 200 raised by 76.5 is 20, 50 lowered by 76.5 is 50
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow-cpu==2.21.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1
for backend in tensorflow jax; do
  KERAS_BACKEND=$backend "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON'
import keras
import numpy as np


def shifted(value, factor, dtype):
    layer = keras.layers.RandomBrightness((factor, factor))
    return np.unique(np.asarray(layer(np.full((1, 2, 2, 3), value, dtype), training=True))).item()


for dtype in ("float32", "uint8"):
    higher, lower = shifted(200, 0.3, dtype), shifted(50, -0.3, dtype)
    name = f"{keras.backend.backend()}, {dtype}"
    print(f"{name}: 200 raised by 76.5 is {higher:.0f}, 50 lowered by 76.5 is {lower:.0f}")
PYTHON
done | tee "$folder/seen"
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
