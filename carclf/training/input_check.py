"""Checks that the backbone's input has the range that its weights were trained with, before the first step."""

import dataclasses

import keras
import numpy as np

from carclf.data.pipeline import validation_batches
from carclf.errors import UserError
from carclf.model.backbones import Backbone, find_backbone
from carclf.model.render import Render
from carclf.progress import Progress
from carclf.recipe import parse_recipe
from carclf.training.stage import Stage

PHOTOS = 8  # to measure
TOLERANCE = 0.02  # as a share of the range: how far rounding may exceed it
LEAST_SPAN = 0.02  # as a share of the range: even dim photos span it; images that were rescaled twice span 0.004


def check_input(stage: Stage, classifier: keras.Model) -> None:
    """Checks the backbone's input on the first validation photos.

    Raises:
      UserError: its range is not the one that the backbone's weights were trained with.
    """
    options, framing = stage.options, stage.framing
    (batch,) = validation_batches(
        manifest=stage.manifest,
        folds=[options.val_fold],
        framing=framing,
        batch_size=PHOTOS,
        recipe=parse_recipe(""),
    ).take(1)
    rendering = dataclasses.replace(stage.rendering, method="gather", mixing=False, erasing=False)
    layer = Render(image_size=framing.image_size, **dataclasses.asdict(rendering), jit=False)
    with Progress("Checking what reaches the backbone"):
        images = keras.ops.convert_to_numpy(layer(batch[0]))
        check_input_contract(classifier, find_backbone(options.backbone), images)


def check_input_contract(classifier: keras.Model, row: Backbone, images: np.ndarray) -> None:
    """Checks that the backbone's input has the range that its weights expect, and is rescaled once.

    Args:
      classifier: from `carclf.model.classifier.build_classifier`.
      row: its backbone.
      images: float32 [B, H, W, 3], as Render gives them.

    Raises:
      UserError: the range differs, or the backbone rescales again; the message gives the measured range.
    """
    outside = [layer for layer in classifier.layers if layer.name == "input_range"]
    reached = np.asarray(images)
    for layer in outside:
        reached = keras.ops.convert_to_numpy(layer(reached))
    _check_range(reached, row.input_range, where=f"what reaches the backbone {row.name}")
    inner = [layer for layer in classifier.get_layer("backbone").layers if isinstance(layer, keras.layers.Rescaling)]
    for layer in inner:
        rescaled = keras.ops.convert_to_numpy(layer(reached))
        if np.ptp(rescaled) < LEAST_SPAN:
            raise _refusal(
                f"what the backbone {row.name} sees after its own rescaling", rescaled, "spreading over 1 or 2"
            )


def _check_range(images: np.ndarray, expected: tuple[float, float], *, where: str) -> None:
    low, high = expected
    margin = TOLERANCE * (high - low)
    outside = images.min() < low - margin or images.max() > high + margin
    if outside or np.ptp(images) < LEAST_SPAN * (high - low):
        raise _refusal(where, images, f"{low:g} to {high:g}")


def _refusal(where: str, images: np.ndarray, wanted: str) -> UserError:
    return UserError(
        f"The input is scaled wrongly: {where} lies in {images.min():.4g} to {images.max():.4g} instead of {wanted}, "
        "as its weights were trained; look at input_range of the backbone's row, and at the photos."
    )
