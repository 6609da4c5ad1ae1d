"""Grad-CAM heat maps of a run's classifier on photos of a split."""

import dataclasses
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from carclf.data.manifest import Manifest
from carclf.data.photos import read_canvases
from carclf.framing import Framing, Rendering
from carclf.model.compile import sharing_devices
from carclf.model.grad_cam import build_grad_cam, heat_map
from carclf.model.render import Render
from carclf.progress import Progress
from carclf.recipe import parse_recipe

BATCH_SIZE = 8


def photo_heat(
    classifier: keras.Model,
    *,
    framing: Framing,
    rendering: Rendering,
    manifest: Manifest,
    split: str,
    folds: Iterable[int] | None = None,
    labels: Mapping[int, tuple[int, ...]],
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Returns (heat, geometry) by row: heat float32 [h, w, n] in 0..1, the evidence for each of a photo's n labels.

    All labels of a photo share one scale: 1 is the strongest evidence for any of them. `geometry` float32 [3, 3] maps
    positions in the heat map, −1..1 from edge to edge, to positions in the photo; see `carclf.report.heat.overlay`.

    Args:
      classifier: image → logits.
      framing: how photos become its input.
      rendering: how to compute the images.
      manifest: the data set.
      split: 'train' or 'test'.
      folds: the folds of the photos; None means all.
      labels: the labels to explain, by the photo's row.
    """
    model = build_grad_cam(classifier)
    # For a few photos tracing does not pay on TensorFlow; on JAX only a compiled step is fast.
    model.compile(run_eagerly=keras.backend.backend() == "tensorflow")
    render = Render(image_size=framing.image_size, **dataclasses.asdict(rendering), jit=False)
    devices = sharing_devices()
    batch_size = -(-BATCH_SIZE // devices) * devices  # and always full
    rows = np.array(sorted(labels), np.int64)
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    with Progress("Computing heat maps", total=len(rows)) as progress:
        for start in range(0, len(rows), batch_size):
            batch = rows[np.minimum(np.arange(start, start + batch_size), len(rows) - 1)]
            canvas, extent = read_canvases(manifest, split=split, folds=folds, rows=batch.tolist(), framing=framing)
            draws = parse_recipe("").draw(
                seed=0, epoch=0, row=batch, extent=extent, image_size=framing.image_size, fit=framing.fit
            )
            arrays = {"canvas": canvas, "extent": extent, "geometry": draws.geometry, "colour": draws.colour}
            image = render({name: keras.ops.convert_to_tensor(array) for name, array in arrays.items()})
            evidence = model.predict_on_batch(image)["evidence"]
            for row, by_class, geometry in zip(batch.tolist(), evidence, draws.geometry, strict=True):
                found[row] = heat_map(by_class[..., list(labels[row])]), geometry
            progress.add(min(batch_size, len(rows) - start))
    return found
