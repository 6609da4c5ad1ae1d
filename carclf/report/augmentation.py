"""What a recipe does to photos: originals beside their draws."""

import itertools
from pathlib import Path

import keras
import numpy as np

from carclf.config import Fill
from carclf.data.manifest import Manifest
from carclf.data.pipeline import Framing, complete_batches
from carclf.model.render import Render
from carclf.recipe import Recipe
from carclf.report.pictures import draw_augmentation

PHOTOS = 4
DRAWS = 8


def draw_recipe(
    manifest: Manifest, *, folds: list[int], framing: Framing, recipe: Recipe, fill: Fill, seed: int, path: Path
) -> None:
    """Writes a picture of the first photos of `folds`, each beside its draws of the first epochs."""
    batches = complete_batches(manifest=manifest, split="train", folds=folds, framing=framing, batch_size=PHOTOS)
    (batch,) = itertools.islice(batches.as_numpy_iterator(), 1)
    # Without XLA: a picture is not worth a compilation.
    layer = Render(image_size=framing.image_size, fill=fill, mixing=recipe.mixes, erasing=recipe.erases, jit=False)
    augmented = []
    for epoch in range(DRAWS):
        draws = recipe.draw(
            seed=seed,
            epoch=epoch,
            row=batch["row"],
            extent=batch["extent"],
            image_size=framing.image_size,
            fit=framing.fit,
        )
        arrays = {name: getattr(draws, name) for name in ("geometry", "colour", "mix", "erase")}
        inputs = {"canvas": batch["canvas"], "extent": batch["extent"]} | arrays
        tensors = {name: keras.ops.convert_to_tensor(array) for name, array in inputs.items()}
        augmented.append(keras.ops.convert_to_numpy(layer(tensors)))
    originals = [
        canvas[: int(height), : int(width)]
        for canvas, (height, width), row in zip(batch["canvas"], batch["extent"], batch["row"], strict=True)
        if row >= 0
    ]
    pictures = np.stack(augmented, axis=1)[: len(originals)]
    draw_augmentation(originals, pictures, path=path, title=recipe.spec or "no augmentation")
