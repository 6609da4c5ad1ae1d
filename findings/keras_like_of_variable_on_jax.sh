#!/usr/bin/env bash
# With NumPy 2.3, Keras's zeros_like, ones_like, full_like and empty_like refuse a Variable on JAX, which others take.
#
# Versions: Keras 3.15.1 (3.13.2 is alike), JAX 0.10.2 (0.7.2 and 0.12.0.1 are alike), NumPy 2.2.6 and 2.3.5, Python 3.11.
# Expected: NumPy's version has no say in what Keras does on JAX; an operation that takes arrays takes a Variable.
# Seen: the Variable reaches JAX as it is, which asks NumPy for its dtype. Keras gives that as a text, NumPy 2.3 wants a
# NumPy dtype there, and the call ends in ValueError. `variable.value` in place of `variable` works everywhere.
#
# Output seen:
#   NumPy 2.2.6: all take a Variable
#   NumPy 2.3.5: refused by zeros_like, ones_like, full_like, empty_like
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for numpy in 2.2.6 2.3.5; do
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 "numpy==$numpy"
  KERAS_BACKEND=jax "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON'
import keras
import numpy as np

variable = keras.Variable(np.ones((2, 3), "float32"))
operations = {
    "add": lambda: variable + 1.0,
    "sum": lambda: keras.ops.sum(variable),
    "exp": lambda: keras.ops.exp(variable),
    "concatenate": lambda: keras.ops.concatenate([variable, variable]),
    "zeros_like": lambda: keras.ops.zeros_like(variable),
    "ones_like": lambda: keras.ops.ones_like(variable),
    "full_like": lambda: keras.ops.full_like(variable, 2.0),
    "empty_like": lambda: keras.ops.empty_like(variable),
}
refused = []
for name, operation in operations.items():
    try:
        operation()
    except ValueError as error:
        assert "dtype" in str(error), error
        refused.append(name)
said = f"refused by {', '.join(refused)}" if refused else "all take a Variable"
print(f"NumPy {np.__version__}: {said}")
PYTHON
done | tee "$folder/seen"
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
