"""Features of frozen backbones, computed once and kept on disk; memory does not grow with the photos."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from carclf import hashed_json
from carclf.data.manifest import Manifest
from carclf.data.pipeline import ordered_batches, training_shards
from carclf.engines.choice import Engines
from carclf.framing import Framing, Rendering
from carclf.model.classifier import build_classifier
from carclf.model.photo_classifier import build_photo_classifier
from carclf.probing.extractors import Extractor
from carclf.progress import Progress
from carclf.recipe import parse_recipe
from carclf.runs.weights_files import is_intact
from carclf.schema import typed
from carclf.train_options import TrainOptions
from carclf.training.engine_model import EngineModel
from carclf.training.feature_files import append_all, check_room, writing_features

FORMAT = 1
DTYPE = np.dtype(np.float32)
VIEWS = {"undrawn": "", "mirrored": "flip(p=1)"}  # recipe of each view


@dataclasses.dataclass(frozen=True, eq=False)
class KeptFeatures:
    """The features of all training photos by one extractor.

    Attributes:
      views: float32 [N, D] for each view, mapped from files, photos in the order of the shards.
      seconds: how long computing them took, even if an earlier command did it.
      engines: the ones that computed them, by their names in `carclf.engines.table.ENGINES`.
    """

    views: Sequence[np.ndarray]
    seconds: float
    engines: Sequence[str] = ("keras",)

    @property
    def images_per_second(self) -> float:
        """Photos and views per second."""
        return sum(len(view) for view in self.views) / max(self.seconds, 1e-9)


def keep_features(
    extractor: Extractor,
    *,
    manifest: Manifest,
    views: Sequence[str],
    fit: str,
    batch_size: int,
    jit: bool,
    engines: Engines,
    directory: Path,
) -> KeptFeatures:
    """Returns the features of the training photos and external photos, and computes those that are not kept yet.

    A view's file gets its name when it is complete, so a command that was interrupted resumes with the next view.

    Args:
      extractor: the backbone.
      manifest: the data set.
      views: names in `VIEWS`.
      fit: the resize mode.
      batch_size: photos per step.
      jit: whether XLA compiles the step.
      engines: the ones that may take over from Keras.
      directory: the folder of all features.

    Raises:
      UserError: the disk has no room for them.
    """
    folder = directory / f"{extractor.name}-{_digest(extractor, manifest=manifest, fit=fit)[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    found = {view: _notes(folder, view) for view in views}
    notes = {view: known for view, known in found.items() if known is not None}
    if missing := [view for view in views if view not in notes]:
        model = _model(extractor, class_count=manifest.class_count, fit=fit)
        photos = manifest.photos("train") + manifest.photos("extra")
        network = EngineModel(model, engines=engines, images=photos * len(missing), jit=jit)
        check_room(
            folder,
            photos=photos * len(missing),
            photo_bytes=network.width * DTYPE.itemsize,
            way_out="choose another --output",
        )
        with Progress(f"Features of {extractor.name}", total=photos * len(missing)) as progress:
            for view in missing:
                notes[view] = _compute(
                    network, extractor, view, manifest=manifest, fit=fit, batch_size=batch_size,
                    photos=photos, folder=folder, progress=progress,
                )  # fmt: skip
    arrays = [np.load(_files(folder, view)[0], mmap_mode="r") for view in views]
    used = dict.fromkeys(name for known in notes.values() for name in known.engines)
    return KeptFeatures(arrays, sum(known.seconds for known in notes.values()), tuple(used))


@dataclasses.dataclass(frozen=True)
class Notes:
    """What is noted of a view's features.

    Attributes:
      seconds: how long they took.
      engines: the ones that computed them; older files name none, since Keras did.
    """

    seconds: float
    engines: tuple[str, ...] = ("keras",)


def _notes(folder: Path, view: str) -> Notes | None:
    """Returns the notes of a view's features, after comparing their hash; None if they are missing or damaged."""
    arrays, notes = _files(folder, view)
    if not notes.is_file() or not is_intact(arrays):
        return None
    try:
        content = hashed_json.parse(notes.read_bytes())
        hashed_json.take_hash(content)
        return typed(content, Notes, at="notes", others=True)
    except (OSError, ValueError):
        return None


def _files(folder: Path, view: str) -> tuple[Path, Path]:
    """Returns the file of a view's features, and the file of its notes, which is written last."""
    return folder / f"{view}.npy", folder / f"{view}.json"


def _digest(extractor: Extractor, *, manifest: Manifest, fit: str) -> str:
    """Returns a hash of everything that determines the features."""
    what = {
        "format": FORMAT, "data": manifest.fingerprint, "backbone": extractor.backbone, "fit": fit,
        "image_size": extractor.image_size, "weights": extractor.weights_digest(),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _model(extractor: Extractor, *, class_count: int, fit: str) -> keras.Model:
    """Returns a model from the pipeline's arrays to the pooled features, float32 [B, D]."""
    keras.utils.set_random_seed(TrainOptions().seed)  # so that NAME=none is the network of the run that is made of it
    with Progress(f"Building {extractor.backbone}"):
        classifier = build_classifier(
            backbone=extractor.backbone,
            weights=extractor.weights,
            class_count=class_count,
            image_size=extractor.image_size,
        )
    pooled = keras.Model(classifier.input, classifier.get_layer("head_pool").output)
    framing = Framing(image_size=extractor.image_size, fit=fit)
    return build_photo_classifier(pooled, framing=framing, rendering=Rendering(affine=True, per_channel=True))


def _compute(
    network: EngineModel,
    extractor: Extractor,
    view: str,
    *,
    manifest: Manifest,
    fit: str,
    batch_size: int,
    photos: int,
    folder: Path,
    progress: Progress,
) -> Notes:
    """Writes a view's features and their notes, and returns these."""
    batches = ordered_batches(
        manifest=manifest,
        shards=training_shards(manifest, manifest.folds),
        framing=Framing(image_size=extractor.image_size, fit=fit),
        batch_size=batch_size,
        recipe=parse_recipe(VIEWS[view]),
    )
    started = time.perf_counter()
    arrays, notes = _files(folder, view)
    with writing_features(arrays, shape=(photos, network.width), dtype=DTYPE) as append:
        append_all(batches, network, append, progress=progress)
    made = Notes(round(time.perf_counter() - started, 3), network.used())
    hashed_json.write(notes, dataclasses.asdict(made))
    return made
