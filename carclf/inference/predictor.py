"""Photos of a data set to probabilities: every view of every photo through one run or many, placed by row."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np

from carclf.data.manifest import Manifest
from carclf.data.pipeline import Framing, ViewSet, view_batches
from carclf.inference.averaging import ViewMean
from carclf.inference.program import Program, build_programs, on_device, to_numpy
from carclf.recipe import View
from carclf.runs import Run


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Probabilities of some photos of a split.

    Attributes:
      rows: int64 [N], the photos' rows in the split's ids, ascending.
      probabilities: float64 [N, K], each row sums to 1.
    """

    rows: np.ndarray
    probabilities: np.ndarray


def predict_photos(
    *,
    photo_classifier: keras.Model,
    framing: Framing,
    manifest: Manifest,
    split: str,
    folds: Iterable[int] | None = None,
    views: Sequence[View],
    batch_size: int,
    seed: int,
    jit: bool,
) -> Predictions:
    """The mean probability over `views` of every photo of a split, by `build_photo_classifier`'s model.

    Call it inside `Device.scope()`; all views are of the framing's size.

    Raises:
      RuntimeError: a photo did not come back once in each view; nothing is returned then.
    """
    view_set = ViewSet(tuple(views), image_size=framing.image_size, fit=framing.fit, seed=seed)
    program = Program(photo_classifier, framing.canvas_size, view_set, tuple(range(len(views))), jit)
    (predictions,) = predict_programs(
        [[program]], manifest=manifest, split=split, folds=folds, views=views, batch_size=batch_size
    )
    return predictions


def predict_runs(
    loaded: Sequence[Run],
    *,
    manifest: Manifest,
    split: str,
    folds: Iterable[int] | None = None,
    views: Sequence[View],
    tta_mean: str = "probabilities",
    batch_size: int,
    jit: bool,
) -> list[Predictions]:
    """The predictions of each run with its best weights, size, fit and fill; see `compatibility` first.

    Call it inside `Device.scope()`.

    Raises:
      UserError: a run's weights are missing or do not load.
    """
    return predict_programs(
        [build_programs(run, views=views, jit=jit) for run in loaded],
        manifest=manifest,
        split=split,
        folds=folds,
        views=views,
        tta_mean=tta_mean,
        batch_size=batch_size,
    )


def predict_programs(
    members: Sequence[Sequence[Program]],
    *,
    manifest: Manifest,
    split: str,
    folds: Iterable[int] | None = None,
    views: Sequence[View],
    tta_mean: str = "probabilities",
    batch_size: int,
) -> list[Predictions]:
    """The predictions of each member, whose programs together see all views.

    Photos are decoded once for each size of canvas, whatever the number of members and views, and nothing but a row of
    probabilities a photo and member is kept.

    Raises:
      RuntimeError: a photo did not come back once in each view; nothing is returned then.
    """
    folds = None if folds is None else list(folds)
    classes = members[0][0].photo_classifier.output_shape[-1]
    total, photos = manifest.photos(split), manifest.photos(split, folds)
    means = [ViewMean(total, classes, views=views, kind=tta_mean) for _ in members]
    for member, place, row, logits in view_logits(
        members, manifest=manifest, split=split, folds=folds, batch_size=batch_size
    ):
        means[member].add(place, row, logits)
    predictions = [Predictions(mean.rows(), mean.probabilities()) for mean in means]
    if any(len(predicted.rows) != photos for predicted in predictions):
        raise RuntimeError(f"{photos} photos were expected, and {len(predictions[0].rows)} came back.")
    return predictions


def view_logits(
    members: Sequence[Sequence[Program]],
    *,
    manifest: Manifest,
    split: str,
    folds: Sequence[int] | None,
    batch_size: int,
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """(member, place of the view, row int32 [B], logits float32 [B, K]) for every batch, member and view.

    The rows travel with their batch through the sharing among replicas, so that neither order nor padding nor the
    number of replicas can misplace a result.
    """
    numbered = [(member, program) for member, programs in enumerate(members) for program in programs]
    numbered.sort(key=lambda pair: pair[1].canvas_size)
    for canvas_size, group in itertools.groupby(numbered, key=lambda pair: pair[1].canvas_size):
        together = list(group)
        batches = view_batches(
            manifest=manifest,
            split=split,
            folds=folds,
            canvas_size=canvas_size,
            batch_size=batch_size,
            view_sets=[program.view_set for _, program in together],
        )
        for batch in on_device(batches):
            photos = {"canvas": batch["canvas"], "extent": batch["extent"]}
            given = [
                (member, place, logits)
                for (member, program), draws in zip(together, batch["draws"], strict=True)
                for place, logits in zip(program.places, program.logits(photos, draws), strict=True)
            ]
            row = to_numpy(batch["row"])
            for member, place, logits in given:  # only now is anything waited for
                yield member, place, row, to_numpy(logits)


def mean_predictions(predictions: Sequence[Predictions], *, weights: Sequence[float] | None = None) -> Predictions:
    """The mean of several runs' probabilities of the same photos, each with its weight."""
    first = predictions[0]
    assert all(np.array_equal(predicted.rows, first.rows) for predicted in predictions)
    mean = np.average([predicted.probabilities for predicted in predictions], axis=0, weights=weights)
    return Predictions(rows=first.rows, probabilities=mean)
