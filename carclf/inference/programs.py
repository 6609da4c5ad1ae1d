"""Prepares a run for prediction: from photos and the draws of their views to logits, on any device."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from carclf.data.view_batches import ViewSet
from carclf.device import copied_to_gpu
from carclf.framing import Framing, parse_image_size
from carclf.model.classifier import build_classifier
from carclf.model.compile import compiled_prediction
from carclf.model.hub_preset import Preset
from carclf.model.photo_classifier import build_photo_classifier, renderer_of, view_inputs
from carclf.model.separable import choose_method
from carclf.model.weights import load_weights_file
from carclf.progress import Progress
from carclf.recipe import View
from carclf.runs import Run

Tensor = Any


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A classifier at one image size, with the views that it predicts.

    Attributes:
      photo_classifier: from `build_photo_classifier`: canvases and draws to logits.
      view_set: its views.
      view_indices: the index of each of its views in the list of all views.
      jit: whether XLA compiles it.
    """

    photo_classifier: keras.Model
    view_set: ViewSet
    view_indices: tuple[int, ...]
    jit: bool

    def logits(self, photos: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns the logits float32 [B, K] of each view, for a batch on the device; see `to_numpy`.

        One compiled function runs once per view, on the same canvases with the view's own matrices: memory does not
        grow with the number of views. It returns before the results are ready.

        Args:
          photos: canvas and extent, from `carclf.data.view_batches.view_batches`.
          draws: of all views, [B, V, …].
        """
        return [self._step(photos, draws, np.int32(view)) for view in range(len(self.view_set.views))]

    def images(self, photos: Mapping[str, Tensor], draws: Mapping[str, Tensor], view: int) -> np.ndarray:
        """Returns what the network sees in one view, float32 [B, H, W, 3] in 0..255; arguments as for `logits`."""
        return to_numpy(self._render(photos, draws, np.int32(view)))

    @functools.cached_property
    def _render(self) -> Callable[..., Tensor]:
        return compiled_prediction(renderer_of(self.photo_classifier), view_inputs, jit=self.jit)

    @functools.cached_property
    def _step(self) -> Callable[..., Tensor]:
        return compiled_prediction(self.photo_classifier, view_inputs, jit=self.jit)


def on_device(batches: tf.data.Dataset) -> Iterable[Any]:
    """Returns the batches on the device or distributed to the replicas; each is copied while the one before runs."""
    if keras.backend.backend() == "jax":
        return _on_jax_devices(batches)
    strategy = tf.distribute.get_strategy()
    if tf.distribute.has_strategy():
        return strategy.experimental_distribute_dataset(batches)
    if tf.config.list_logical_devices("GPU"):
        return copied_to_gpu(batches)
    return batches


def _on_jax_devices(batches: tf.data.Dataset) -> Iterator[Any]:
    import jax

    distribution = keras.distribution.distribution()

    def placed(array: np.ndarray) -> Any:
        if distribution is None:
            return jax.device_put(array)
        return keras.distribution.distribute_tensor(array, distribution.get_data_layout(array.shape))

    ahead = None
    for batch in batches.as_numpy_iterator():
        following = jax.tree.map(placed, batch)
        if ahead is not None:
            yield ahead
        ahead = following
    if ahead is not None:
        yield ahead


def to_numpy(value: Tensor) -> np.ndarray:
    """Returns a step's result for the whole batch, from all replicas, on the host: [B, …] of the same dtype."""
    if keras.backend.backend() == "jax":
        return np.asarray(value)
    parts = tf.distribute.get_strategy().experimental_local_results(value)
    return np.concatenate([np.asarray(part) for part in parts])


def load_classifier(run: Run, *, image_size: tuple[int, int] | None = None) -> tuple[keras.Model, Framing]:
    """Returns the run's classifier with its best weights, and the framing of its photos.

    Args:
      run: the run.
      image_size: (height, width) in pixels; None means the run's own.

    Raises:
      UserError: the weights are missing or do not fit, or the backbone does not accept that size.
    """
    options = run.options
    size = image_size or parse_image_size(options.image_size)
    with Progress(f"Loading {run.name}"):
        classifier = build_classifier(
            backbone=options.backbone,
            weights="none",
            class_count=len(run.class_names),
            image_size=size,
            head=options.head,
            head_width=options.head_width,
            dropout=options.dropout,
            l2=options.l2,
            preset=Preset.from_dict(run.stage["preset"]) if "preset" in run.stage else None,
        )
        load_weights_file(classifier, run.best_weights, model_name=f"the classifier of {run.directory}")
    return classifier, Framing(image_size=size, fit=options.fit)


def build_programs(run: Run, *, views: Sequence[View], jit: bool) -> list[Program]:
    """Returns one program per image size among the views, in their order. Call it inside `Device.scope()`.

    Raises:
      UserError: the run's weights are missing or cannot be loaded, or its backbone does not accept a size.
    """
    own_size = parse_image_size(run.options.image_size)
    sizes = [view.image_size or own_size for view in views]
    programs = []
    for size in dict.fromkeys(sizes):
        indices = tuple(index for index, other in enumerate(sizes) if other == size)
        of_size = tuple(views[index] for index in indices)
        classifier, framing = load_classifier(run, image_size=size)
        axis_aligned = all(view.axis_aligned for view in of_size)
        rendering = dataclasses.replace(
            run.rendering,
            # A gather gives the same image as the run's own method, and renders views that are not axis-aligned.
            method=choose_method(run.options.render, not_axis_aligned=()) if axis_aligned else "gather",
            erasing=any(view.recipe is not None and view.recipe.erases for view in of_size),
            affine=all(view.affine for view in of_size),
            per_channel=all(view.per_channel for view in of_size),
        )
        photo_classifier = build_photo_classifier(classifier, framing=framing, rendering=rendering)
        view_set = ViewSet(of_size, framing=framing, seed=run.options.seed)
        programs.append(Program(photo_classifier, view_set, indices, jit))
    return programs
