#!/usr/bin/env bash
# Keras's Adam does not use TensorFlow's kernel for Adam: it adds dozens of operations to the graph for each variable.
#
# Versions: Keras 3.15.1, tensorflow-cpu 2.21.0, NumPy 2.4.6, Python 3.11.
# Expected: one operation for each variable, ResourceApplyAdam, as the optimizers of Keras 2 added; or at least the
# scalars that all variables share, such as the corrected learning rate, computed once.
# Seen: no such operation. Each variable adds 41 operations without AMSGrad and 46 with it, among them two powers of the
# betas, which are the same for all variables. The train step of a network with 200 variables has thousands of operations
# more than its forward and backward pass need. All have to be traced and optimised before the first step ends: on two
# cores a third of the time that EfficientNet B0 takes until then.
#
# Output seen, operations that one more variable adds:
#   Keras's Adam: 41, of which 2 are Pow
#   Keras's Adam with AMSGrad: 46, of which 2 are Pow
#   ResourceApplyAdam: 5, of which 0 are Pow
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" 2>"$folder/errors" - <<'PYTHON' | tee "$folder/seen"
import keras
import tensorflow as tf


def operations(step, count):
    """Returns the types of the operations that a step of `count` variables has in a graph."""
    variables = [keras.Variable(tf.ones((3, 3)), name=f"kernel_{number}") for number in range(count)]
    traced = step(variables)
    graph = tf.function(traced).get_concrete_function([tf.ones((3, 3))] * count).graph
    return [operation.type for operation in graph.get_operations()]


def with_keras(**options):
    def step(variables):
        optimizer = keras.optimizers.Adam(0.1, **options)
        optimizer.build(variables)
        return lambda gradients: optimizer.apply(gradients, variables)

    return step


def with_kernel(variables):
    slots = [[tf.Variable(tf.zeros((3, 3))) for _ in variables] for _ in range(2)]
    numbers = dict(beta1_power=0.9, beta2_power=0.999, lr=0.1, beta1=0.9, beta2=0.999, epsilon=1e-7)

    def apply(gradients):
        shared = {name: tf.constant(number) for name, number in numbers.items()}
        for variable, m, v, gradient in zip(variables, *slots, gradients):
            tf.raw_ops.ResourceApplyAdam(var=variable.value.handle, m=m.handle, v=v.handle, grad=gradient, **shared)

    return apply


for name, step in {
    "Keras's Adam": with_keras(),
    "Keras's Adam with AMSGrad": with_keras(amsgrad=True),
    "ResourceApplyAdam": with_kernel,
}.items():
    few, many = operations(step, 3), operations(step, 4)
    powers = many.count("Pow") - few.count("Pow")
    print(f"{name}: {len(many) - len(few)}, of which {powers} are Pow")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
