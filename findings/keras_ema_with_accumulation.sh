#!/usr/bin/env bash
# With gradient accumulation, Keras moves the EMA of the weights at every batch, not at every update.
#
# Versions: Keras 3.15.1, JAX 0.10.2, NumPy 2.4.6, Python 3.11.
# Expected: four batches per update and ema_momentum=0.5 average the weights once per update.
# Seen: the average also moves at the three batches between two updates, while the weight stands still. A momentum
# chosen for updates forgets four times as fast.
#
# Output seen, batch by batch:
#   batch 4: weight 0.8000, average 0.8000
#   batch 8: weight 0.6400, average 0.7200
#   batch 9: weight 0.6400, average 0.6800
#   batch 10: weight 0.6400, average 0.6600
#   batch 11: weight 0.6400, average 0.6500
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 numpy==2.4.6
KERAS_BACKEND=jax "$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/seen"
import keras
import numpy as np

model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=4)
model.compile(optimizer, "mse")
optimizer.build(model.trainable_variables)
one, zero = np.ones((2, 1), "float32"), np.zeros((2, 1), "float32")
for batch in range(1, 12):
    model.train_on_batch(one, zero)
    weight = np.asarray(model.trainable_variables[0]).item()
    average = np.asarray(optimizer._model_variables_moving_average[0]).item()
    if batch in (4, 8, 9, 10, 11):
        print(f"batch {batch}: weight {weight:.4f}, average {average:.4f}")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
