"""XLA on whichever backend Keras runs on. The one place below the doors that may import TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def xla(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function` compiled by XLA for every shape it is called with.

    On TensorFlow the result is a nested graph function, so that it is compiled even inside a `fit` or `predict`
    that is not (and, inside one that is, simply becomes part of it). On other backends that compile on their own
    the result is a jitted function, or `function` itself where the backend has no compiler.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        compiled: Callable[..., Any] = tf.function(function, jit_compile=True, autograph=False)
        return compiled
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function


def gather_rows(table: Any, index: Any) -> Any:
    """Returns table[index]: the backend's [..., D] tensor for a table [N, D] and int32 indices, all within 0..N-1.

    `keras.ops.take` handles negative and excessive indices, which costs more than the gather itself; here the
    caller promises that there are none.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.gather(table, index)
    if backend == "jax":
        return table.at[index].get(mode="promise_in_bounds")
    return keras.ops.take(table, index, axis=0)
