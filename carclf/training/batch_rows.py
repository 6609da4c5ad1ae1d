"""Which photos a batch held, for the error text about it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from carclf.recipe import Draws, Recipe


class _RecordingRecipe(Recipe):
    """A recipe that notes for which rows it was asked to draw."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe.spec, recipe.steps)
        object.__setattr__(self, "rows", [])

    def draw(self, *, row: Any, **arguments: Any) -> Draws:
        self.rows.extend(np.ravel(row).tolist())  # type: ignore[attr-defined]
        return super().draw(row=row, **arguments)


def rows_of_batch(
    batches: Callable[..., tf.data.Dataset], step: int, *, recipe: Recipe, steps_per_epoch: int
) -> list[int]:
    """The rows of the photos in the batch of a training step, in no order, by making that batch again.

    The pipeline hands on no rows, but it draws for them. Its epoch is cut off behind the batch, so that no other is
    prefetched.

    Args:
      batches: `training_batches` with all but recipe, epochs, steps_per_epoch and start_step.
      step: counted from 0.
      recipe: of the training.
      steps_per_epoch: of the training.
    """
    epoch, step_in_epoch = divmod(step, steps_per_epoch)
    shorter = step_in_epoch + 1
    recording = _RecordingRecipe(recipe)
    dataset = batches(
        recipe=recording, epochs=epoch + 1, steps_per_epoch=shorter, start_step=epoch * shorter + step_in_epoch
    )
    for _ in dataset:
        pass
    return sorted(row for row in set(recording.rows) if row >= 0)  # type: ignore[attr-defined]
