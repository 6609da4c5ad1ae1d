#!/usr/bin/env bash
# Keras keeps seeds and step counts in another type on each backend, so a model's variables are not those of another.
#
# Versions: Keras 3.15.1 (3.13.2 is alike), tensorflow-cpu 2.21.0, JAX 0.10.2, Python 3.11.
# Expected: the variables of one model and optimizer have one name, shape and dtype on every backend: weights files do.
# Seen: the state of a seed generator (dropout has one) is int64 on TensorFlow and uint32 on JAX, the optimizer's
# iteration int64 and int32. Whoever saves `model.variables` and `optimizer.variables` to resume a training elsewhere
# must convert them; what compares dtypes first refuses.
#
# Output seen:
#   tensorflow: iteration int64, seed_generator_state int64, kernel float32
#   jax: iteration int32, seed_generator_state uint32, kernel float32
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow-cpu==2.21.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.2.6
for backend in tensorflow jax; do
  KERAS_BACKEND=$backend TF_ENABLE_ONEDNN_OPTS=0 CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON'
import keras

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, use_bias=False), keras.layers.Dropout(0.5)])
optimizer = keras.optimizers.SGD(0.1)
optimizer.build(model.trainable_variables)
types = {
    variable.path.rpartition("/")[2]: keras.backend.standardize_dtype(variable.dtype)
    for variable in [*optimizer.variables, *model.variables]
}
shown = ("iteration", "seed_generator_state", "kernel")
print(f"{keras.backend.backend()}: " + ", ".join(f"{name} {types[name]}" for name in shown))
PYTHON
done | tee "$folder/seen"
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
