import functools

import numpy as np
import pytest

from carclf.data.pipeline import Framing, complete_batches, training_batches
from carclf.recipe import parse_recipe
from carclf.training.batch_rows import rows_of_batch

FRAMING = Framing(image_size=(32, 32), canvas_size=64)
STEPS_PER_EPOCH = 5


@pytest.mark.parametrize("step", [0, 3, 4, 5, 12])
@pytest.mark.parametrize("recipe", ["", "flip|mixup(0.4)"])
def test_the_rows_are_those_of_the_photos_in_the_batch(dataset, step, recipe):
    photos = complete_batches(manifest=dataset, split="train", framing=FRAMING, batch_size=4)
    row_of = {
        canvas.tobytes(): int(row)
        for batch in photos.as_numpy_iterator()
        for canvas, row in zip(batch["canvas"], batch["row"], strict=True)
    }
    chain = parse_recipe(recipe)
    batches = functools.partial(training_batches, manifest=dataset, folds=[1, 2], framing=FRAMING, batch_size=2, seed=7)
    trained_on = batches(recipe=chain, epochs=3, steps_per_epoch=STEPS_PER_EPOCH, start_step=step)
    inputs, _, _ = next(trained_on.as_numpy_iterator())
    expected = {row_of[np.ascontiguousarray(canvas).tobytes()] for canvas in inputs["canvas"]}
    assert rows_of_batch(batches, step, recipe=chain, steps_per_epoch=STEPS_PER_EPOCH) == sorted(expected)
