#!/usr/bin/env bash
# TensorFlow 2.20 reports its first XLA compilation on stderr, whatever TF_CPP_MIN_LOG_LEVEL says; 2.21 does not.
#
# Versions: tensorflow-cpu 2.20.0 and 2.21.0, Python 3.11.
# Expected: level 3 hides the C++ code's INFO, WARNING and ERROR lines.
# Seen: it hides an ERROR such as that of a missing CUDA driver, but not the INFO line "Compiled cluster using XLA!", nor
# the WARNING about early messages that comes with it. Colab and Kaggle have 2.20.
#
# Output seen:
#   TensorFlow 2.20.0, level 3: Compiled cluster using XLA!
#   TensorFlow 2.21.0, level 3: nothing
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 2.20.0 2.21.0; do
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "tensorflow-cpu==$version"
  TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 TF_ENABLE_ONEDNN_OPTS=0 "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON'
import tensorflow as tf

assert tf.function(lambda number: number + 1, jit_compile=True)(1).numpy() == 2
PYTHON
  said=$(grep -o "Compiled cluster using XLA!" "$folder/errors" || echo nothing)
  echo "TensorFlow $version, level 3: $said"
done | tee "$folder/seen"
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
