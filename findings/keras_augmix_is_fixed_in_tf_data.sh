#!/usr/bin/env bash
# In tf.data, Keras's AugMix chooses its operations once for all batches, and its seed has no say in the choice.
#
# Versions: Keras 3.15.1, tensorflow-cpu 2.21.0, NumPy 2.4.6, Python 3.11.
# Expected: the layer documents that it is safe to use in a tf.data pipeline and takes a seed. So each batch gets
# operations of its own, as when the layer is called directly, and two layers with one seed give the same photos.
# Seen: which operations are applied is drawn with Python's global `random`. tf.data traces that once, so one pipeline
# has one set of operations for all batches and epochs, and only their strength differs: a run may never see a rotation,
# its repetition with the same seed nothing else. RandAugment, drawn as tensors, does differ from batch to batch.
#
# Output seen, of 40 batches of a grey photo, which only some operations change, with one operation per batch:
#   AugMix, called directly: some batches change
#   AugMix, tf.data, 12 pipelines: each changes all of its batches or none: True
#   RandAugment, tf.data, 12 pipelines: each changes all of its batches or none: False
#   AugMix, two layers of one seed: equal photos: False
#   RandAugment, two layers of one seed: equal photos: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6
export KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1
"$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON' | tee "$folder/seen"
import random

import keras
import numpy as np
import tensorflow as tf

grey = np.full((1, 8, 8, 3), 100, "float32")
photos = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype("float32")


def make(name, seed):
    if name == "AugMix":
        return keras.layers.AugMix(num_chains=1, chain_depth=1, seed=seed)
    return keras.layers.RandAugment(num_ops=1, seed=seed)


def changes(photos):
    return sum(float(abs(np.asarray(photo) - grey).mean()) > 0.01 for photo in photos)


random.seed(0)
layer = make("AugMix", 1)
direct = changes(layer(grey, training=True) for _ in range(40))
print(f"AugMix, called directly: {'some' if 0 < direct < 40 else 'all or no'} batches change")
for name in ("AugMix", "RandAugment"):
    counts = []
    for seed in range(12):
        random.seed(seed)
        layer = make(name, seed)
        data = tf.data.Dataset.from_tensors(grey).repeat(40)
        counts.append(changes(data.map(lambda batch, layer=layer: layer(batch, training=True))))
    fixed = set(counts) <= {0, 40}
    print(f"{name}, tf.data, 12 pipelines: each changes all of its batches or none: {fixed}")
for name in ("AugMix", "RandAugment"):
    random.seed(0)
    first, second = (np.stack([make(name, 1)(photos, training=True) for _ in range(8)]) for _ in range(2))
    print(f"{name}, two layers of one seed: equal photos: {np.array_equal(first, second)}")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
