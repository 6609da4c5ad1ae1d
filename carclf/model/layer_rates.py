"""Keras optimizers in which every variable has a learning rate, and a first step, of its own."""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from carclf.model.schedules import Factor

PLAIN = Factor()


@functools.cache
def paced(optimizer: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    """The subclass of a Keras optimizer class that also takes `factors`, as `Paced` describes it."""
    return type(f"Paced{optimizer.__name__}", (Paced, optimizer), {})


class Paced(keras.optimizers.Optimizer):
    """What `paced` puts before an optimizer class.

    - A variable learns at the learning rate times its factor's `share`; its weight decay shrinks alike. At share 0
      nothing touches it, nor its slots.
    - Before its `first_step` its gradient counts as zero, also in the gradient's global norm, and neither decay nor the
      average of the weights touches it. From then on it is updated as by an optimizer that begins at that step: without
      that, Adam's first steps would be up to six times too long, since the bias of the fresh moments would no longer
      be corrected. (Nadam's first steps are up to half as long: its product of momenta is one for all variables.)
    - `learning_rate_scale`, a float32 [] variable of the optimizer, multiplies every rate: 1 until a callback says
      otherwise.
    - With gradient accumulation the average of the weights follows the updates and not, as in Keras, the batches.

    Nothing here depends on anything but the optimizer's own variables, so a checkpoint of those resumes it. The graph
    is the same at every step: whatever waits for its first step costs as much as what learns.

    Steps are batches: with gradient accumulation, several make an update.
    """

    def __init__(self, *args: Any, factors: Mapping[str, Factor | Sequence[float]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A proxy, since Keras and TensorFlow would replace a dict by one that tracks what is put in.
        self._factors = MappingProxyType(
            {path: row if isinstance(row, Factor) else Factor(row[0], int(row[1])) for path, row in factors.items()}
        )
        self._starts_at = 0
        self.learning_rate_scale = self.add_variable(
            shape=(), initializer="ones", dtype="float32", aggregation="only_first_replica", name="learning_rate_scale"
        )

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes the slots and looks up the factor of each variable.

        Raises:
          ValueError: a factor is for none of the variables.
        """
        if unknown := sorted(set(self._factors) - {variable.path for variable in variables}):
            raise ValueError(f"Factors are given for paths that no variable has. Received: {unknown}")
        self._variable_factors = tuple(self._factors.get(variable.path, PLAIN) for variable in variables)
        super().build(variables)

    def get_config(self) -> dict[str, Any]:
        """The optimizer's arguments."""
        factors = {path: (factor.share, factor.first_step) for path, factor in self._factors.items()}
        return super().get_config() | {"factors": factors}

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Updates the variables; see the class."""
        known = self._trainable_variables if trainable_variables is None else trainable_variables
        held = [self._held_back(grad, variable) for grad, variable in zip(grads, known, strict=True)]
        super().apply(held, trainable_variables)

    def _held_back(self, gradient: Any, variable: keras.Variable) -> Any:
        factor = self._factors.get(variable.path, PLAIN)
        if gradient is None or (factor.share and not factor.first_step):
            return gradient
        zeros = ops.zeros_like(gradient)
        return ops.where(self._iterations >= factor.first_step, gradient, zeros) if factor.share else zeros

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its slots."""
        factor = self._variable_factors[self._get_variable_index(variable)]
        if not factor.share:
            return
        rate = ops.cast(learning_rate, variable.dtype)
        if factor.share != 1.0:
            rate = rate * ops.cast(factor.share, variable.dtype)
        if self.weight_decay is not None and self._use_weight_decay(variable):
            decay = rate * ops.cast(self._iterations >= factor.first_step, variable.dtype)
            self.assign_sub(variable, variable * ops.cast(self.weight_decay, variable.dtype) * decay)
        self._starts_at = self._updates_before(factor)
        try:
            super().update_step(gradient, variable, rate)
        finally:
            self._starts_at = 0

    @property
    def iterations(self) -> Any:
        """Updates so far; while a variable is being updated, those since its first step."""
        updates = super().iterations
        return ops.maximum(updates - self._starts_at, 0) if self._starts_at else updates

    def _updates_before(self, factor: Factor) -> int:
        return factor.first_step // (self.gradient_accumulation_steps or 1)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Nothing: `update_step` does it, where the variable's own rate is known."""

    def _get_current_learning_rate(self) -> Any:
        return super()._get_current_learning_rate() * self.learning_rate_scale

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[keras.Variable]) -> None:
        if not self.use_ema:
            return
        is_update = (self._iterations + 1) % (self.gradient_accumulation_steps or 1) == 0
        rows = zip(trainable_variables, self._model_variables_moving_average, self._variable_factors, strict=True)
        for variable, average, factor in rows:
            has_begun = self.iterations > self._updates_before(factor) if factor.share else False
            momentum = ops.cast(has_begun, variable.dtype) * ops.cast(self.ema_momentum, variable.dtype)
            momentum = ops.where(is_update, momentum, ops.ones_like(momentum))
            average.assign(momentum * average + (1.0 - momentum) * variable)
