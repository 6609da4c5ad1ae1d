"""The classes of carclf that a saved Keras model may hold: importing this module lets Keras load such a model."""

from typing import Any

import keras

# Each registers its classes with Keras when it is imported.
from carclf.model import learning_rate, losses, pooling, render, score, tokens, whole_photo
from carclf.model.clipping import clipping_the_sum
from carclf.model.layer_rates import with_layer_rates
from carclf.model.optimizers import OPTIMIZERS, OptimizerRow

__all__ = ["OPTIMIZER_CLASSES", "learning_rate", "losses", "pooling", "render", "score", "tokens", "whole_photo"]


def _classes_of(row: OptimizerRow) -> tuple[Any, ...]:
    """Returns the classes that `build_optimizer` derives from a stock one: Keras must know them before it loads one."""
    stock: Any = getattr(keras.optimizers, row.builder)
    with_own_rates: Any = with_layer_rates(stock)
    return with_own_rates, clipping_the_sum(stock), clipping_the_sum(with_own_rates)


OPTIMIZER_CLASSES = tuple(made for row in OPTIMIZERS.values() for made in _classes_of(row))
