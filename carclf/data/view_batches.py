"""Batches of photos in the views of a prediction."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from carclf.data.batches import canvas_shapes
from carclf.data.loaded_batches import batch_numbers, entries_at, loaded_batches, open_loader, padded_indices
from carclf.data.manifest import Manifest
from carclf.framing import Framing
from carclf.recipe import DRAW_SHAPES, View


@dataclasses.dataclass(frozen=True)
class ViewSet:
    """Views of one size.

    Attributes:
      views: at least one.
      framing: of their photos.
      seed: of random views.
    """

    views: tuple[View, ...]
    framing: Framing
    seed: int

    def draw(self, *, row: np.ndarray, extent: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the draws of B photos in V views, float32 [B, V, …], by the names of `DRAW_SHAPES`.

        Args:
          row: int [B]; −1 is padding.
          extent: float32 [B, 2], (height, width) of the photos in pixels.
        """
        drawn = [
            view.draw(seed=self.seed, row=row, extent=extent, image_size=self.framing.image_size, fit=self.framing.fit)
            for view in self.views
        ]
        return {name: np.stack([getattr(draws, name) for draws in drawn], axis=1) for name in DRAW_SHAPES}


def view_batches(
    *,
    manifest: Manifest,
    split: str,
    folds: Iterable[int] | None = None,
    batch_size: int,
    view_sets: Sequence[ViewSet],
) -> tf.data.Dataset:
    """Returns every photo of a split once, in shard order, with the draws of all views; padding has row −1.

    canvas uint8 [B, Y, X, 3]; extent float32 [B, 2] pixels; row int32 [B]; draws, a tuple with a mapping per view set
    of V views: geometry [B, V, 3, 3], colour [B, V, 3, 4], mix [B, V, 5], erase [B, V, 7], all float32.

    Args:
      manifest: the data set.
      split: 'train' or 'test'.
      folds: the folds of the training split to read; None means all.
      batch_size: photos per batch, on all replicas together.
      view_sets: the views to draw for each photo; the photos are decoded for the first one's framing.
    """
    loader, entries = open_loader(
        manifest, manifest.shards_of(split, folds=folds), framing=view_sets[0].framing, cache=None
    )

    def indices_of(number: int) -> np.ndarray:
        return padded_indices(number, batch_size=batch_size, photos=len(entries))

    def draws_of(number: int, indices: np.ndarray, extent: np.ndarray) -> Iterable[np.ndarray]:
        row = entries_at(entries, indices)["row"]
        drawn = [views.draw(row=row, extent=extent) for views in view_sets]
        return row, *(draws[name] for draws in drawn for name in DRAW_SHAPES)

    shapes = canvas_shapes(batch_size, loader.canvas_size) | {"row": (tf.int32, (batch_size,))}
    for number, views in enumerate(view_sets):
        drawn = {name: (batch_size, len(views.views), *shape) for name, shape in DRAW_SHAPES.items()}
        shapes |= {f"{number} {name}": (tf.float32, shape) for name, shape in drawn.items()}

    def with_draws(arrays: dict[str, tf.Tensor]) -> dict[str, Any]:
        draws = [{name: arrays[f"{number} {name}"] for name in DRAW_SHAPES} for number in range(len(view_sets))]
        return {name: arrays[name] for name in ("canvas", "extent", "row")} | {"draws": tuple(draws)}

    numbers = batch_numbers(entries, batch_size)
    return loaded_batches(numbers, loader, indices_of, draws_of, shapes, batch_size=batch_size).map(with_draws)


def prediction_batches(
    *,
    manifest: Manifest,
    split: str,
    folds: Iterable[int] | None = None,
    framing: Framing,
    batch_size: int,
    view: View,
    seed: int,
) -> tf.data.Dataset:
    """Returns every photo of a split once in one view, in the order of the rows: inputs as in `training_batches`.

    There is no padding: the last batch is smaller.

    Args:
      manifest: the data set.
      split: 'train' or 'test'.
      folds: the folds of the training split to read; None is all.
      framing: image size and fit.
      batch_size: photos per batch.
      view: of each photo.
      seed: of a view that draws random numbers.
    """
    shards = manifest.shards_of(split, folds=folds)
    loader, entries = open_loader(manifest, shards, framing=framing, cache=None)
    order = np.argsort(entries["row"])

    def indices_of(number: int) -> np.ndarray:
        return order[number * batch_size : (number + 1) * batch_size]

    def draws_of(number: int, indices: np.ndarray, extent: np.ndarray) -> Iterable[np.ndarray]:
        draws = view.draw(
            seed=seed, row=entries["row"][indices], extent=extent, image_size=framing.image_size, fit=framing.fit
        )
        return draws.geometry, draws.colour, draws.mix, draws.erase

    shapes = canvas_shapes(None, loader.canvas_size)
    shapes |= {name: (tf.float32, (None, *shape)) for name, shape in DRAW_SHAPES.items()}
    numbers = batch_numbers(entries, batch_size)
    return loaded_batches(numbers, loader, indices_of, draws_of, shapes, batch_size=batch_size)
