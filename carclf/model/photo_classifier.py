"""Render in front of a classifier: the one model that trains, validates and predicts."""

from collections.abc import Mapping
from typing import Any

import keras

from carclf.framing import Fill, RenderMethod
from carclf.model.render import Render

INPUT_SHAPES = {"extent": (2,), "geometry": (3, 3), "colour": (3, 4), "mix": (5,), "erase": (7,)}


def build_photo_classifier(
    classifier: keras.Model,
    *,
    image_size: tuple[int, int],
    canvas_size: int,
    fill: Fill,
    mixing: bool,
    erasing: bool,
    stretch: bool = False,
    method: RenderMethod = "gather",
) -> keras.Model:
    """A model from the pipeline's arrays to logits float32 [B, K]; it shares the classifier's variables.

    Inputs, by name: canvas uint8 [B, C, C, 3] and, in float32, extent [B, 2], geometry [B, 3, 3], colour [B, 3, 4],
    mix [B, 5], erase [B, 7], as `carclf.data.pipeline` gives them.

    Args:
      classifier: image float32 [B, H, W, 3] in 0..255 → logits [B, K].
      image_size: (H, W) in pixels.
      canvas_size: C in pixels.
      fill: what lies outside a photo, see `Render`.
      mixing: whether `mix` is applied; False spares its cost.
      erasing: whether `erase` is applied; False spares its cost.
      stretch: whether each image's values are mapped to 0..255 before colour, see `render`.
      method: how photos are interpolated, see `render`.
    """
    inputs = {"canvas": keras.Input((canvas_size, canvas_size, 3), dtype="uint8", name="canvas")}
    inputs |= {name: keras.Input(shape, dtype="float32", name=name) for name, shape in INPUT_SHAPES.items()}
    layer = Render(
        image_size=image_size,
        fill=fill,
        mixing=mixing,
        erasing=erasing,
        stretch=stretch,
        method=method,
        name="render",
    )
    return keras.Model(inputs, classifier(layer(inputs)), name="photo_classifier")


def view_inputs(photos: Mapping[str, Any], draws: Mapping[str, Any], view: Any) -> dict[str, Any]:
    """The photo classifier's inputs that show photos in one of their views.

    Args:
      photos: canvas and extent of B photos.
      draws: geometry, colour, mix and erase of all V views, [B, V, …].
      view: int32, which of them.
    """
    return {"canvas": photos["canvas"], "extent": photos["extent"]} | {k: draw[:, view] for k, draw in draws.items()}
