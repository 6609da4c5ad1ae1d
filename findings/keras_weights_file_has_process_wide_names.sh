#!/usr/bin/env bash
# Equal weights of equal networks give files of other bytes if the process has built another network before.
#
# Versions: Keras 3.15.1, h5py 3.16.0, JAX 0.10.2, NumPy 2.3.5, Python 3.11.
# Expected: save_weights writes weights, by their place in the network, so equal weights give the same file.
# Seen: each group has the name of its layer as an attribute. Layers without a name of their own are counted over the
# process (input_layer, input_layer_1), so the second network's file differs in one byte for each such layer, and hashes of
# the files cannot be compared. Names given to all layers, the input's too, make the files equal.
#
# Output seen:
#   arrays equal: True
#   files equal: False, differing bytes: 2 of the same length: True
#   attributes that differ: input_layer_1 input_layer_2, rescaling_1 rescaling_2
#   files equal where all layers have names: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 h5py==3.16.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.3.5
KERAS_BACKEND=jax "$folder/venv/bin/python" - "$folder" 2>"$folder/errors" >"$folder/seen" <<'PYTHON'
import sys
from pathlib import Path

import h5py
import keras
import numpy as np


FOLDER = Path(sys.argv[1])


def network(named):
    name = (lambda text: text) if named else (lambda text: None)
    image = keras.Input((4, 4, 3), name=name("image"))
    x = keras.layers.Rescaling(1 / 255, name=name("scale"))(image)
    x = keras.layers.Dense(2, kernel_initializer="ones", name="dense")(x)
    return keras.Model(image, x, name="network")


def attributes(path):
    found = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.extend(str(value) for value in item.attrs.values()))
    return found


network(False)
for number in (1, 2):
    network(False).save_weights(FOLDER / f"{number}.weights.h5")
    network(True).save_weights(FOLDER / f"named{number}.weights.h5")
first, second = ((FOLDER / f"{number}.weights.h5").read_bytes() for number in (1, 2))
print("arrays equal:", all(np.array_equal(a, b) for a, b in zip(network(False).get_weights(), network(False).get_weights())))
differing = sum(a != b for a, b in zip(first, second))
print(f"files equal: {first == second}, differing bytes: {differing} of the same length: {len(first) == len(second)}")
pairs = zip(attributes(FOLDER / "1.weights.h5"), attributes(FOLDER / "2.weights.h5"))
print("attributes that differ:", ", ".join(f"{a} {b}" for a, b in pairs if a != b))
named = [(FOLDER / f"named{number}.weights.h5").read_bytes() for number in (1, 2)]
print("files equal where all layers have names:", named[0] == named[1])
PYTHON
cat "$folder/seen"
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
