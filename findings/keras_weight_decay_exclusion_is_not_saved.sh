#!/usr/bin/env bash
# A .keras file forgets exclude_from_weight_decay: a loaded model decays the biases that were excluded.
#
# Versions: Keras 3.15.1, JAX 0.10.2, NumPy 2.4.6, Python 3.11.
# Expected: the optimizer of a saved and loaded model goes on as before, since its state and options are in the file.
# Seen: weight_decay is kept, the list of what is excluded from it is not, and nothing warns. A bias without a gradient,
# which stood still, shrinks at every step after loading.
#
# Output seen, the bias after each of two steps:
#   before: 1.0000 1.0000
#   loaded: 0.9500 0.9025
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 numpy==2.4.6
KERAS_BACKEND=jax "$folder/venv/bin/python" - "$folder" <<'PYTHON' | tee "$folder/seen"
import sys

import keras
import numpy as np


def step(model):
    bias = model.layers[-1].bias
    inputs, targets = np.zeros((1, 1), "float32"), np.asarray(bias).reshape(1, 1)  # no error, so no gradient
    model.train_on_batch(inputs, targets)
    return np.asarray(bias).item()


model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, bias_initializer="ones")])
optimizer = keras.optimizers.AdamW(learning_rate=0.1, weight_decay=0.5)
optimizer.exclude_from_weight_decay(var_names=["bias"])
model.compile(optimizer, "mse")
print(f"before: {step(model):.4f} {step(model):.4f}")
model.save(f"{sys.argv[1]}/model.keras")
loaded = keras.models.load_model(f"{sys.argv[1]}/model.keras")
print(f"loaded: {step(loaded):.4f} {step(loaded):.4f}")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
