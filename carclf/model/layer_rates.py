"""Keras optimizers with layer-wise learning rates: each variable has a rate and a first step of its own."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from carclf.model.optimizers import NEVER_DECAYED
from carclf.model.schedules import Factor

PLAIN = Factor()


@functools.cache
def with_layer_rates(optimizer: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    """Returns the subclass of a Keras optimizer class that also takes `factors`, as `LayerRates` describes."""
    # Checkpoints contain this name, in the paths of the optimizer's variables: it cannot change.
    made = type(f"Paced{optimizer.__name__}", (LayerRates, optimizer), {})
    return keras.saving.register_keras_serializable(package="carclf")(made)


class LayerRates(keras.optimizers.Optimizer):
    """Layer-wise learning rates, mixed into an optimizer class by `with_layer_rates`.

    - A variable learns at the learning rate times its factor's `scale`; so does its weight decay. At scale 0 neither
      the variable nor its slots change.
    - Before its `first_step` a variable's gradient counts as zero, also in the gradient's global norm, and neither
      weight decay nor the EMA of the weights changes it. From then on it is updated as by an optimizer that begins at
      that step. Otherwise Adam's first steps would be up to six times too long, because the bias of its fresh moments
      would no longer be corrected. (Nadam's first steps are up to half as long: all variables share its product of
      momenta.)
    - `learning_rate_scale`, a float32 [] variable of the optimizer, multiplies every rate: 1 until a callback sets it.
    - With gradient accumulation the EMA of the weights follows the updates, not the batches as in Keras.

    All state is in the optimizer's variables, so a checkpoint of them is enough to resume. The graph is the same at
    every step: a variable that waits for its first step costs as much as one that learns.

    Steps are batches: with gradient accumulation, several make one update.
    """

    def __init__(
        self,
        *args: Any,
        factors: Mapping[str, Factor | Sequence[float]] | Sequence[Factor | Sequence[float]],
        **kwargs: Any,
    ) -> None:
        """See the class.

        Args:
          *args: of the optimizer.
          factors: by the path of a variable, how it follows the learning rate; or for all variables in their order, as
            a saved model has them, since a variable's path is another one when Keras has loaded it.
          **kwargs: of the optimizer.
        """
        super().__init__(*args, **kwargs)
        # A tuple or a proxy, because Keras and TensorFlow would replace a list or dict by one that tracks its items.
        self._factors: tuple[Factor, ...] | Mapping[str, Factor] = (
            MappingProxyType({path: _as_factor(row) for path, row in factors.items()})
            if isinstance(factors, Mapping)
            else tuple(map(_as_factor, factors))
        )
        self._starts_at = 0
        if self.weight_decay:  # here too, since a saved model does not hold what Keras was told to exclude
            self.exclude_from_weight_decay(var_names=list(NEVER_DECAYED))
        self.learning_rate_scale = self.add_variable(
            shape=(), initializer="ones", dtype="float32", aggregation="only_first_replica", name="learning_rate_scale"
        )

    def build(self, variables: list[keras.Variable]) -> None:
        """Creates the slots and looks up the factor of each variable.

        Raises:
          ValueError: a factor belongs to none of the variables, or there are not as many factors as variables.
        """
        self._variable_factors = self._factors_of(variables)
        super().build(variables)

    def _factors_of(self, variables: Sequence[keras.Variable]) -> tuple[Factor, ...]:
        if isinstance(self._factors, tuple):
            if len(self._factors) != len(variables):
                raise ValueError(f"{len(self._factors)} factors do not fit. Received: {len(variables)} variables")
            return self._factors
        if unknown := sorted(set(self._factors) - {variable.path for variable in variables}):
            raise ValueError(f"Factors are given for paths that no variable has. Received: {unknown}")
        return tuple(self._factors.get(variable.path, PLAIN) for variable in variables)

    def get_config(self) -> dict[str, Any]:
        """Returns the optimizer's arguments."""
        rows = self._variable_factors if self.built else self._factors
        if isinstance(rows, tuple):
            return super().get_config() | {"factors": [list(dataclasses.astuple(row)) for row in rows]}
        return super().get_config() | {"factors": {path: dataclasses.astuple(row) for path, row in rows.items()}}

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Updates the variables; see the class."""
        known = self._trainable_variables if trainable_variables is None else trainable_variables
        if self.built:
            factors = [self._variable_factors[self._get_variable_index(variable)] for variable in known]
        else:
            factors = list(self._factors_of(known))
        held = [self._held_back(grad, factor) for grad, factor in zip(grads, factors, strict=True)]
        super().apply(held, trainable_variables)

    def _held_back(self, gradient: Any, factor: Factor) -> Any:
        if gradient is None or (factor.scale and not factor.first_step):
            return gradient
        zeros = ops.zeros_like(gradient)
        return ops.where(self._iterations >= factor.first_step, gradient, zeros) if factor.scale else zeros

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its slots."""
        factor = self._variable_factors[self._get_variable_index(variable)]
        if not factor.scale:
            return
        rate = ops.cast(learning_rate, variable.dtype)
        if factor.scale != 1.0:
            rate = rate * ops.cast(factor.scale, variable.dtype)
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
        """Updates so far, or while a variable is being updated, updates since its first step."""
        updates = super().iterations
        return ops.maximum(updates - self._starts_at, 0) if self._starts_at else updates

    def _updates_before(self, factor: Factor) -> int:
        return factor.first_step // (self.gradient_accumulation_steps or 1)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Does nothing: `update_step` applies weight decay, because it knows the variable's own rate."""

    def _get_current_learning_rate(self) -> Any:
        return super()._get_current_learning_rate() * self.learning_rate_scale

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[keras.Variable]) -> None:
        if not self.use_ema:
            return
        is_update = (self._iterations + 1) % (self.gradient_accumulation_steps or 1) == 0
        rows = zip(trainable_variables, self._model_variables_moving_average, self._variable_factors, strict=True)
        for variable, average, factor in rows:
            has_begun = self.iterations > self._updates_before(factor) if factor.scale else False
            momentum = ops.cast(has_begun, variable.dtype) * ops.cast(self.ema_momentum, variable.dtype)
            momentum = ops.where(is_update, momentum, ops.ones_like(momentum))
            average.assign(momentum * average + (1.0 - momentum) * variable)


def _as_factor(row: Factor | Sequence[float]) -> Factor:
    return row if isinstance(row, Factor) else Factor(float(row[0]), int(row[1]))
