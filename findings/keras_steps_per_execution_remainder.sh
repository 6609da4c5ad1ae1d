#!/usr/bin/env bash
# With steps_per_execution=2, Keras trains 6 steps where steps_per_epoch=5 was asked for.
#
# Versions: Keras 3.15.1, JAX 0.10.2, NumPy 2.4.6, Python 3.11 (TensorFlow 2.21 as the backend: the same).
# Expected: five updates per epoch, the last execution with one step, or a refusal.
# Seen: the last execution is filled up from the data; schedules that count steps and a run resumed by its step number
# are then off by one per epoch.
#
# Output seen:
#   steps_per_execution=1, steps_per_epoch=5: 5 updates
#   steps_per_execution=2, steps_per_epoch=5: 6 updates
#   steps_per_execution=4, steps_per_epoch=5: 8 updates
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 numpy==2.4.6
KERAS_BACKEND=jax "$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/seen"
import keras
import numpy as np


def endless():
    while True:
        yield np.ones((2, 1), "float32"), np.zeros((2, 1), "float32")


for steps in (1, 2, 4):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", steps_per_execution=steps)
    model.fit(endless(), steps_per_epoch=5, epochs=1, verbose=0)
    updates = int(np.asarray(model.optimizer.iterations))
    print(f"steps_per_execution={steps}, steps_per_epoch=5: {updates} updates")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
