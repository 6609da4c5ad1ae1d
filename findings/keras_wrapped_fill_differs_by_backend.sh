#!/usr/bin/env bash
# Keras fills what lies outside an image with mode "wrap" differently on TensorFlow and on JAX.
#
# Versions: Keras 3.15.1, tensorflow-cpu 2.21.0, JAX 0.10.2, Python 3.11.
# Expected: "wrap" repeats the image, (a b c d | a b c d), as Keras documents it. A shift by the whole width gives the
# image again, and one by half a pixel blends the last pixel with the first.
# Seen: JAX does that. TensorFlow's kernel wraps wrongly from position 2 * (size - 1) on: a shift by the width of five
# pixels gives the first pixel three times. It does not blend across the border either: between the last pixel and the
# first, an interpolated shift gives the first alone. A model trained with RandomTranslation or RandomRotation and this
# fill mode has seen other images on one backend than on the other. "reflect" and "nearest" agree.
#
# Output seen:
#   tensorflow: by 2 [2, 3, 4, 0, 1], by 5 [0, 1, 2, 0, 0], by a half [0.5, 1.5, 2.5, 3.5, 0]
#   jax: by 2 [2, 3, 4, 0, 1], by 5 [0, 1, 2, 3, 4], by a half [0.5, 1.5, 2.5, 3.5, 2]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow-cpu==2.21.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.2.6
for backend in tensorflow jax; do
  KERAS_BACKEND=$backend TF_ENABLE_ONEDNN_OPTS=0 CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON'
import keras
import numpy as np

image = np.tile(np.arange(5, dtype=np.float32), (5, 1))[None, :, :, None]


def shifted(pixels: float, interpolation: str) -> list:
    matrix = np.array([[1, 0, pixels, 0, 1, 0, 0, 0]], np.float32)
    moved = keras.ops.image.affine_transform(image, matrix, interpolation=interpolation, fill_mode="wrap")
    row = keras.ops.convert_to_numpy(moved)[0, 2, :, 0].round(2)
    return [float(value) if value % 1 else int(value) for value in row]


whole = ", ".join(f"by {pixels} {shifted(pixels, 'nearest')}" for pixels in (2, 5))
print(f"{keras.backend.backend()}: {whole}, by a half {shifted(0.5, 'bilinear')}")
PYTHON
done | tee "$folder/seen"
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
