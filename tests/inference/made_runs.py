"""Runs on disk with random weights, made in a second: all that prediction needs of a training."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from carclf import hashed_json, runs
from carclf.data.manifest import Manifest
from carclf.flags import to_dict
from carclf.framing import Framing, parse_image_size
from carclf.model import photo_classifier
from carclf.model.classifier import build_classifier
from carclf.model.photo_classifier import INPUT_SHAPES
from carclf.model.render import Render
from carclf.runs.closing import close_run
from carclf.train_options import TrainOptions
from carclf.training.callbacks import save_weights


@contextlib.contextmanager
def render_not_compiled() -> Iterator[None]:
    """XLA takes seconds for each Render, and so do the gathers; matrix products without it give the same images."""

    def render(**options):
        return Render(**(options | {"jit": False, "method": "separable"}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_classifier, "Render", render)
        yield


def make_run(directory: Path, manifest: Manifest, *, seed: int = 1, **changes) -> runs.Run:
    """Returns a finished run of the tiny backbone in `directory`; its outputs are far from uniform."""
    options = TrainOptions(backbone="tiny", weights="none", seed=seed, **({"image_size": "32"} | changes))
    keras.utils.set_random_seed(seed)
    size = parse_image_size(options.image_size)
    classifier = build_classifier(
        backbone="tiny",
        weights="none",
        class_count=manifest.class_count,
        image_size=size,
        head=options.head,
        head_width=8,
    )
    queries = [variable for variable in classifier.trainable_variables if variable.name == "queries"]
    for variable in [*queries, *classifier.trainable_variables[-2:]]:  # of attentive pooling and of the last layer
        variable.assign(keras.random.normal(variable.shape, stddev=3.0, seed=seed))
    directory.mkdir(parents=True, exist_ok=True)
    save_weights(classifier, directory / runs.BEST_WEIGHTS)
    stage = {
        "format_version": runs.FORMAT_VERSION,
        "stage": directory.name,
        "options": to_dict(options) | {"head_width": 8},
        "data": {
            "directory": manifest.directory,
            "fingerprint": manifest.fingerprint,
            "class_names": list(manifest.class_names),
            "class_labels": list(manifest.class_labels),
            "class_photos": [entry.count for entry in manifest.classes],
            "form": manifest.form.to_dict() if manifest.form else None,
            "class_map_sha256": manifest.class_map_sha256,
            "max_side": manifest.max_side,
            "train_photos": 16,
            "val_photos": 8,
        },
        "parent": None,
    }
    hashed_json.write(directory / runs.STAGE_FILE, stage)
    (directory / runs.HISTORY_FILE).write_text("epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds\n")
    close_run(dataclasses.replace(runs.load_run(directory), metrics={"val_accuracy": 0.5}))
    return runs.load_run(directory)


def colour_classifier(classifier: keras.Model, *, framing: Framing, **_) -> keras.Model:
    """Replaces `build_photo_classifier`: a run's last layer on a photo's mean colour and its view's matrix.

    It traces in a tenth of a second, much faster than Render, for tests that do not depend on the pixels.
    """
    inputs = {"canvas": keras.Input((None, None, 3), dtype="uint8", name="canvas")}
    inputs |= {name: keras.Input(shape, name=name) for name, shape in INPUT_SHAPES.items()}
    area = keras.ops.prod(inputs["extent"], axis=1, keepdims=True)
    colour = keras.ops.sum(keras.ops.cast(inputs["canvas"], "float32"), axis=(1, 2)) / (255.0 * area)
    matrix = keras.ops.reshape(inputs["geometry"][:, :2], (-1, 6))[:, ::2]
    size = keras.ops.zeros_like(colour[:, :2]) + np.float32(framing.image_size) / 64
    # Keras up to 3.13 refuses a model with an input that nothing depends on.
    unused = [keras.ops.sum(keras.ops.reshape(inputs[name], (-1, 1))) for name in ("colour", "mix", "erase")]
    features = keras.ops.concatenate([colour, matrix, size], axis=1) + 0.0 * sum(unused)
    return keras.Model(inputs, classifier.get_layer("logits")(features), name="photo_classifier")
