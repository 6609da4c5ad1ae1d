#!/usr/bin/env bash
# With gradient accumulation, Keras asks a learning-rate schedule for the rate of each batch, not of each update.
#
# Versions: Keras 3.15.1, JAX 0.10.2, NumPy 2.4.6, Python 3.11 (TensorFlow 2.21 as the backend: the same).
# Expected: `optimizer.iterations` is the step that a schedule gets, as it is the one that Adam's bias correction gets.
# With gradient_accumulation_steps=4 it counts updates, so the n-th update has the rate that it has without
# accumulation.
# Seen: the schedule gets the count of batches. A cosine that shall take 8 updates has reached zero after 2; from then
# on nothing is learnt, while `iterations` still says 2 of 8. Warm-up is as short. Whoever sets the length by the number
# of updates, or reads the rate as schedule(optimizer.iterations), is wrong by the factor of accumulation.
#
# Output seen, the rate of each update that was made:
#   without accumulation: 1.00 0.96 0.85 0.69 0.50 0.31 0.15 0.04, 8 iterations
#   4 batches per update: 0.69 0.04 0.00 0.00 0.00 0.00 0.00 0.00, 8 iterations
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
KERAS_BACKEND=jax "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON' | tee "$folder/seen"
import keras
import numpy as np

inputs, targets = np.ones((2, 1), "float32"), np.zeros((2, 1), "float32")
for name, batches in (("without accumulation", 1), ("4 batches per update", 4)):
    schedule = keras.optimizers.schedules.CosineDecay(1.0, decay_steps=8)
    optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=batches if batches > 1 else None)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(optimizer, loss=lambda target, answer: -answer)  # the gradient is -1, so the weight grows by the rate
    optimizer.build(model.trainable_variables)
    weights = [0.0]
    for _ in range(8):
        for _ in range(batches):
            model.train_on_batch(inputs, targets)
        weights.append(np.asarray(model.layers[-1].kernel).item())
    rates = " ".join(f"{rate + 0:.2f}" for rate in np.diff(weights))
    print(f"{name}: {rates}, {int(optimizer.iterations)} iterations")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
