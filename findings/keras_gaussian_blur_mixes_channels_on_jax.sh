#!/usr/bin/env bash
# Keras's gaussian_blur mixes the channels of a photo on JAX, unless data_format is given.
#
# Versions: Keras 3.15.1, tensorflow-cpu 2.21.0, JAX 0.10.2, NumPy 2.4.6, Python 3.11.
# Expected: ops.image.gaussian_blur(photos) takes the configured image_data_format, channels_last, as every function of
# ops.image documents and does: each channel is blurred along its height and its width.
# Seen: TensorFlow does that. On JAX the default None is not resolved: the axes (height, width, channels) are taken for
# (channels, height, width). So a photo is blurred along its width and across red, green and blue, not along its height,
# and no error says so. A point of colour (100, 10, 0) becomes a line of one row in other colours. With
# data_format="channels_last" both agree.
#
# Output seen:
#   tensorflow: column [12.4, 20.4, 12.4], row [12.4, 20.4, 12.4], colour in the middle [20.4, 2.0, 0.0]
#   tensorflow, channels_last: column [12.4, 20.4, 12.4], row [12.4, 20.4, 12.4], colour in the middle [20.4, 2.0, 0.0]
#   jax: column [0.0, 21.7, 0.0], row [13.1, 21.7, 13.1], colour in the middle [21.7, 14.4, 1.2]
#   jax, channels_last: column [12.4, 20.4, 12.4], row [12.4, 20.4, 12.4], colour in the middle [20.4, 2.0, 0.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow-cpu==2.21.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
for backend in tensorflow jax; do
  KERAS_BACKEND=$backend TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON'
import keras
import numpy as np

photo = np.zeros((1, 5, 5, 3), np.float32)
photo[0, 2, 2] = (100, 10, 0)
for name, options in (("", {}), (", channels_last", {"data_format": "channels_last"})):
    blurred = keras.ops.image.gaussian_blur(photo, kernel_size=(3, 3), sigma=(1.0, 1.0), **options)
    blurred = keras.ops.convert_to_numpy(blurred)[0]
    column, row, colour = ([round(float(v), 1) for v in part] for part in (blurred[1:4, 2, 0], blurred[2, 1:4, 0], blurred[2, 2]))
    print(f"{keras.backend.backend()}{name}: column {column}, row {row}, colour in the middle {colour}")
PYTHON
done | tee "$folder/seen"
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
