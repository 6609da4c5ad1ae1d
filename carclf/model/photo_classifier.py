"""Render in front of a classifier: the model that trains, validates and predicts."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from carclf.framing import Framing, Rendering
from carclf.model.render import Render
from carclf.recipe import DRAW_SHAPES

INPUT_SHAPES = {"extent": (2,), **DRAW_SHAPES}  # of one photo beside its canvas, all float32


def build_photo_classifier(classifier: keras.Model, *, framing: Framing, rendering: Rendering) -> keras.Model:
    """Returns a model from the pipeline's arrays to logits float32 [B, K]; it shares the classifier's variables.

    Inputs, by name: canvas uint8 [B, Y, X, 3] of any Y and X, and in float32 extent [B, 2], geometry [B, 3, 3],
    colour [B, 3, 4], mix [B, 5], erase [B, 7], as `carclf.data.pipeline` returns them.

    Args:
      classifier: image float32 [B, H, W, 3] in 0..255 → logits [B, K].
      framing: with (H, W) in pixels.
      rendering: how to compute the images.
    """
    inputs = {"canvas": keras.Input((None, None, 3), dtype="uint8", name="canvas")}
    inputs |= {name: keras.Input(shape, dtype="float32", name=name) for name, shape in INPUT_SHAPES.items()}
    layer = Render(image_size=framing.image_size, **dataclasses.asdict(rendering), name="render")
    return keras.Model(inputs, classifier(layer(inputs)), name="photo_classifier")


def renderer_of(photo_classifier: keras.Model) -> keras.Model:
    """Returns the first part of a photo classifier: the pipeline's arrays → images float32 [B, H, W, 3] in 0..255."""
    return keras.Model(photo_classifier.input, photo_classifier.get_layer("render").output)


def network_of(photo_classifier: keras.Model) -> keras.Model:
    """Returns the second part of a photo classifier: images → logits, or whatever its classifier returns."""
    return photo_classifier.layers[-1]


def view_inputs(photos: Mapping[str, Any], draws: Mapping[str, Any], view: Any) -> dict[str, Any]:
    """Returns the inputs of the photo classifier for one view of the photos.

    Args:
      photos: canvas and extent of B photos.
      draws: geometry, colour, mix and erase of all V views, [B, V, …].
      view: int32, index of the view.
    """
    return {"canvas": photos["canvas"], "extent": photos["extent"]} | {k: draw[:, view] for k, draw in draws.items()}
