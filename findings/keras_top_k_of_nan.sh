#!/usr/bin/env bash
# Keras's top-k accuracy of predictions that are all NaN is 0 on TensorFlow and 1 on JAX.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0 (CPU), JAX 0.10.2, NumPy 2.4.6, Python 3.11.
# Expected: one metric, one value on both backends; a diverged network has no perfect score.
# Seen: on JAX the metric of a network that predicts NaN is perfect, in the sparse and in the dense form, so a run
# monitored by top-k accuracy keeps its broken weights as the best. Plain accuracy is 0 on both.
#
# Output seen:
#   tensorflow: top-2 accuracy 0.0, accuracy 0.0
#   jax: top-2 accuracy 1.0, accuracy 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 jax==0.10.2 tensorflow-cpu==2.21.0 numpy==2.4.6
for backend in tensorflow jax; do
  KERAS_BACKEND=$backend TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON'
import keras
import numpy as np

targets, undefined = np.eye(5, dtype="float32")[1:], np.full((4, 5), np.nan, "float32")
top_2 = float(keras.metrics.TopKCategoricalAccuracy(k=2)(targets, undefined))
accuracy = float(keras.metrics.CategoricalAccuracy()(targets, undefined))
print(f"{keras.backend.backend()}: top-2 accuracy {top_2}, accuracy {accuracy}")
PYTHON
done | tee "$folder/seen"
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
