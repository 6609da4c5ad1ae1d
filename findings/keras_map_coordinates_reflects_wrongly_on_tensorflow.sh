#!/usr/bin/env bash
# Keras's map_coordinates reflects coordinates below zero about another axis on TensorFlow than on JAX.
#
# Versions: Keras 3.15.1, tensorflow-cpu 2.21.0, JAX 0.10.2, SciPy 1.17.1, NumPy 2.4.6, Python 3.11.
# Expected: fill_mode "reflect" is (d c b a | a b c d | d c b a), as Keras documents it and SciPy has it: position -1
# shows the first pixel, as position 5 of five pixels shows the last.
# Seen: JAX agrees with SciPy. TensorFlow does past the upper end alone; below zero it leaves the first pixel out of the
# mirror image, (d c b | a b c d), which is the mode "mirror". So a grid that warps photos, such as an elastic or a lens
# distortion, shows other pixels at the left and the upper border than at the right and the lower one. The mode "mirror"
# itself, which the documentation lists as well, raises an error on TensorFlow.
#
# Output seen:
#   SciPy: reflect [4.0, 1.0, 0.5, 0.0, 4.0, 3.0], mirror [2.0, 2.0, 1.5, 1.0, 3.0, 2.0]
#   tensorflow: reflect [3.0, 2.0, 1.5, 1.0, 4.0, 3.0], mirror raises InvalidArgumentError
#   jax: reflect [4.0, 1.0, 0.5, 0.0, 4.0, 3.0], mirror [2.0, 2.0, 1.5, 1.0, 3.0, 2.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow-cpu==2.21.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 scipy==1.17.1
for backend in tensorflow jax; do
  KERAS_BACKEND=$backend TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON'
import keras
import numpy as np
import scipy.ndimage

pixels = np.arange(5, dtype=np.float32)
places = np.array([[-6, -2, -1.5, -1, 5, 6]], np.float32)


def of_keras(mode: str) -> str:
    try:
        found = keras.ops.image.map_coordinates(pixels, places, order=1, fill_mode=mode)
    except Exception as error:
        return f"raises {type(error).__name__}"
    return str(np.asarray(found).tolist())


def of_scipy(mode: str) -> str:
    return str(scipy.ndimage.map_coordinates(pixels, places, order=1, mode=mode).tolist())


if keras.backend.backend() == "tensorflow":
    print(f"SciPy: reflect {of_scipy('reflect')}, mirror {of_scipy('mirror')}")
print(f"{keras.backend.backend()}: reflect {of_keras('reflect')}, mirror {of_keras('mirror')}")
PYTHON
done | tee "$folder/seen"
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
