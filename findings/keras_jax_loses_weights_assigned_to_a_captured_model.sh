#!/usr/bin/env bash
# On JAX, a weight that a callback sets in a model it has captured is lost; set through `self.model` it is kept.
#
# Versions: Keras 3.15.1 (3.13.2 is alike), JAX 0.10.2 (0.7.2 is alike), Python 3.11.
# Expected: both names are one object, so a weight that on_train_batch_end sets is set either way, as on TensorFlow.
# Seen: within `fit` the weights are kept elsewhere, and `self.model` is a property that first copies them into the model.
# Without that, the model has no values to read, and what is assigned to it is dropped without a word.
#
# Output seen:
#   self.model is the captured model: True
#   set to 100 after 3 of 10 steps that add 1, through self.model: 107
#   set to 100 after 3 of 10 steps that add 1, through the captured model: 10
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 numpy==2.2.6
KERAS_BACKEND=jax "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON' | tee "$folder/seen"
import keras
import numpy as np


def train(*, captured):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(1.0), loss=lambda target, answer: -answer, jit_compile=True)

    class Setter(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                (model if captured else self.model).layers[0].kernel.assign([[100.0]])

        def on_train_end(self, logs=None):
            if not captured:
                print("self.model is the captured model:", self.model is model)

    ones = np.ones((10, 1), "float32")
    model.fit(ones, ones, batch_size=1, shuffle=False, verbose=0, callbacks=[Setter()])
    return float(np.array(model.layers[0].kernel)[0, 0])


for name, captured in (("self.model", False), ("the captured model", True)):
    print(f"set to 100 after 3 of 10 steps that add 1, through {name}: {train(captured=captured):g}")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
