"""XLA on any Keras backend. With `fused_adam` the only module below the commands that may import TensorFlow."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def xla(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function`, of tensors with the batch as first axis, compiled by XLA once per shape.

    On TensorFlow the result is a nested graph function, so it is compiled even inside a `fit` or `predict` that is not;
    inside a compiled one it becomes part of that. On JAX it is a jitted function, and each device of a Keras
    distribution computes its own part of the batch: XLA cannot know that no photo needs another's canvas, and would
    gather all canvases on every device. On other backends it is `function` itself.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        compiled: Callable[..., Any] = tf.function(function, jit_compile=True, autograph=False)
        return compiled
    if backend == "jax":
        import jax

        return jax.jit(_on_each_device(function))
    return function


def compiled_on_jax(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function`, on JAX as one program.

    Outside of a program JAX compiles every operation by itself, and a conditional again on every call.
    """
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def compiled_prediction(model: keras.Model, inputs: Callable[..., Any], *, jit: bool = True) -> Callable[..., Any]:
    """Returns a function of the arguments of `inputs` for `model(inputs(...), training=False)` in one program.

    It returns before the result is ready. On TensorFlow it runs on every replica of the strategy in scope, with the
    replica's own part of the arguments.

    Args:
      model: the model; its variables are read at each call.
      inputs: from tensors to the model's input. Pass numbers as NumPy scalars, or each value compiles a new program.
      jit: whether XLA compiles it on TensorFlow; on JAX it always does.
    """
    if keras.backend.backend() == "jax":
        return _stateless_prediction(model, inputs)
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    # Partial functions, because TensorFlow mistakes functions with the same code for one that is retraced repeatedly.
    predict = functools.partial(_predict, model, inputs)
    # Keras would choose XLA even on a CPU, where it is many times slower.
    compiled = tf.function(predict, jit_compile=jit or None, autograph=False)
    step = tf.function(functools.partial(_on_replicas, strategy, compiled), autograph=False)
    return lambda *arguments: step(*map(_tensor_if_number, arguments))


def _predict(model: keras.Model, inputs: Callable[..., Any], *arguments: Any) -> Any:
    return model(inputs(*arguments), training=False)


def _on_replicas(strategy: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    return strategy.run(function, args=arguments)


def _tensor_if_number(argument: Any) -> Any:
    import tensorflow as tf

    return tf.constant(argument) if isinstance(argument, np.generic) else argument


def _stateless_prediction(model: keras.Model, inputs: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    @jax.jit
    def step(trainable: Any, frozen: Any, *arguments: Any) -> Any:
        return model.stateless_call(trainable, frozen, inputs(*arguments), training=False)[0]

    # Listing them visits every layer and takes 0.5 to 0.9 ms; a GPU needs 3.7 ms for 64 images on EfficientNetB0.
    groups = (list(model.trainable_variables), list(model.non_trainable_variables))

    def call(*arguments: Any) -> Any:
        return step(*([variable.value for variable in variables] for variables in groups), *arguments)

    return call


def _on_each_device(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function`, or under a Keras distribution one that calls it on each device with its part of the batch."""
    import jax

    distribution = keras.distribution.distribution()
    if distribution is None:
        return function
    spec = jax.sharding.PartitionSpec(distribution.batch_dim_name)
    mesh = distribution.device_mesh.backend_mesh
    mapped: Callable[..., Any] = jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    return mapped


def sharing_devices() -> int:
    """Returns how many devices share each batch under a Keras distribution, and so divide it; 1 without one."""
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else math.prod(distribution.device_mesh.shape)


def built_at_once(build: Callable[[], keras.Model]) -> keras.Model:
    """Returns `build()`, with the initial values that Keras would give its variables, computed in one program.

    Keras initialises every variable separately, and JAX compiles that again for every shape: 83 programs and 20 s for
    EfficientNetB0 on two CPU cores, more on an accelerator. Here one program on the CPU computes all of them in a third
    of that time; it runs only once, so it is not optimised. Values that `build` assigns, such as loaded weights, are
    kept.
    """
    if keras.backend.backend() != "jax":
        return build()
    import jax

    try:
        cpu = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        return build()
    with keras.StatelessScope() as scope:  # on exit Keras calls the initializer of each variable made inside
        model = build()
        assigned = {id(variable): scope.get_current_value(variable) for variable in model.variables}
        waiting = [variable for variable in model.variables if assigned[id(variable)] is None]

        def initial_values() -> list[jax.Array]:
            return [variable.value for variable in waiting]

        with jax.default_device(cpu):
            values = jax.jit(initial_values, compiler_options={"xla_backend_optimization_level": 0})()
        assigned |= {id(variable): value for variable, value in zip(waiting, values, strict=True)}
        for variable in model.variables:
            variable._initializer = _constant(np.asarray(assigned[id(variable)]))
    return model


def _constant(value: np.ndarray) -> Callable[..., np.ndarray]:
    """Returns an initializer that gives this value."""

    def initializer(shape: Any, dtype: Any = None) -> np.ndarray:
        return value

    return initializer


def gather_rows(table: Any, index: Any) -> Any:
    """Returns table[index]: the backend's [..., D] tensor for a table [N, D] and int32 indices, all within 0..N-1.

    `keras.ops.take` handles indices out of bounds, which costs more than the gather itself; here the caller promises
    that there are none.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.gather(table, index)
    if backend == "jax":
        return table.at[index].get(mode="promise_in_bounds")
    return keras.ops.take(table, index, axis=0)


def platform() -> str:
    """Returns the platform on which the backend computes: `cpu`, `gpu` or `tpu`."""
    if keras.backend.backend() == "jax":
        import jax

        return str(jax.default_backend())
    import tensorflow as tf

    return "gpu" if tf.config.list_logical_devices("GPU") else "cpu"


def exact_einsum(equation: str, left: Any, right: Any) -> Any:
    """Returns the float32 einsum of two float32 tensors, each product with a relative error of at most 2^-16.

    By default matrix units round their float32 operands to 8 bits on a TPU and to 11 on a GPU. A TPU needs three passes
    over such halves for 16 bits (Precision.HIGH), six for all 24; on a GPU only HIGHEST is enough. TensorFlow has no
    such switch for a single product; on a CPU it needs none.
    """
    if keras.backend.backend() != "jax":
        return keras.ops.einsum(equation, left, right)
    import jax

    def product(precision: jax.lax.Precision) -> Callable[[Any, Any], Any]:
        return lambda left, right: jax.numpy.einsum(equation, left, right, precision=precision)

    precisions = jax.lax.Precision
    return jax.lax.platform_dependent(left, right, tpu=product(precisions.HIGH), default=product(precisions.HIGHEST))
