"""Adam by TensorFlow's own kernel: one operation for each variable, where Keras has about thirty."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@functools.cache
def with_fused_step(optimizer: type[keras.optimizers.Adam]) -> type[keras.optimizers.Adam]:
    """Returns the subclass of Keras's Adam, or of a subclass of that, that updates as `FusedStep` does.

    It cannot be loaded from a saved model: another backend could not train with it.
    """
    bases = (FusedStep,) if optimizer is keras.optimizers.Adam else (optimizer, FusedStep)
    return type(f"Fused{optimizer.__name__}", bases, {})


class FusedStep(keras.optimizers.Adam):
    """The step of Adam in one operation; `with_fused_step` mixes it into an optimizer class. Only for TensorFlow.

    The numbers are Keras's up to rounding, and the variables are the same. The train step of a network has thousands
    fewer operations, so tracing, optimising and running it takes less time. It is for a single device without XLA,
    which fuses Keras's operations itself.

    Source: the functor ApplyAdamNonCuda of TensorFlow, tensorflow/core/kernels/training_ops.cc.
    """

    _powers: tuple[Any, Any] | None = None

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Updates the variables."""
        self._powers = None  # they belong to the graph of this call
        super().apply(grads, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its slots."""
        import tensorflow as tf

        index, dtype = self._get_variable_index(variable), variable.dtype
        beta1_power, beta2_power = self._decayed()
        arguments = {
            "var": variable.handle,
            "m": self._momentums[index].value.handle,
            "v": self._velocities[index].value.handle,
            "beta1_power": ops.cast(beta1_power, dtype),
            "beta2_power": ops.cast(beta2_power, dtype),
            "lr": ops.cast(learning_rate, dtype),
            "beta1": self.beta_1,
            "beta2": self.beta_2,
            "epsilon": self.epsilon,
            "grad": ops.cast(gradient, dtype),
        }
        if self.amsgrad:
            arguments["vhat"] = self._velocity_hats[index].value.handle
            tf.raw_ops.ResourceApplyAdamWithAmsgrad(**arguments)
        else:
            tf.raw_ops.ResourceApplyAdam(**arguments)

    def _decayed(self) -> tuple[Any, Any]:
        """Returns both betas to the power of the step, float32 []; one pair for all variables of the same step."""
        iterations = self.iterations
        if self._powers is not None and iterations is self._iterations:
            return self._powers
        step = ops.cast(iterations + 1, "float32")
        powers = ops.power(self.beta_1, step), ops.power(self.beta_2, step)
        if iterations is self._iterations:
            self._powers = powers
        return powers
