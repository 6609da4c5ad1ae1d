"""From photos of a data set to probabilities: every view of every photo by one or more runs, indexed by row."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np

from carclf.data.index import read_index, select, sizes_for
from carclf.data.manifest import Manifest
from carclf.data.view_batches import ViewSet, view_batches
from carclf.engines.choice import Engines
from carclf.framing import Framing
from carclf.inference.ensemble import DISPUTED, ViewMean
from carclf.inference.program_runner import ProgramRunner
from carclf.inference.programs import Program, build_programs, on_device, to_numpy
from carclf.progress import Progress
from carclf.recipe import View
from carclf.runs import Member, Run


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Probabilities of some photos of a split.

    Attributes:
      rows: int64 [N], the photos' rows in the split's ids, ascending.
      probabilities: float64 [N, K], each row sums to 1.
      view_logits: float32 [V, N, K], of each view, if requested.
      agreed: int64 [N], the class that is the likeliest in every view; −1 where views or runs differ. None if unknown.
    """

    rows: np.ndarray
    probabilities: np.ndarray
    view_logits: np.ndarray | None = None
    agreed: np.ndarray | None = None


def predict_split(
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
    """Returns the mean over `views` of the probabilities of every photo of a split, from a photo classifier.

    Call it inside `Device.scope()`. All views must have the framing's size.

    Raises:
      RuntimeError: a photo was not predicted exactly once in each view.
    """
    program = Program(photo_classifier, ViewSet(tuple(views), framing, seed), tuple(range(len(views))), jit)
    (predictions,) = predict_programs(
        [[program]], manifest=manifest, split=split, folds=folds, views=views, batch_size=batch_size
    )
    return predictions


def predict_members(
    members: Sequence[Member],
    *,
    manifest: Manifest,
    split: str,
    views: Sequence[View],
    tta_mean: str = "probabilities",
    batch_size: int,
    jit: bool,
    engines: Engines | None = None,
) -> list[Predictions]:
    """Returns the predictions of each member for all photos of a split: the mean of its runs.

    Call it inside `Device.scope()`.

    Raises:
      UserError: a run's weights are missing or cannot be loaded.
    """
    predicted = predict_runs(
        [run for member in members for run in member.runs],
        manifest=manifest,
        split=split,
        views=views,
        tta_mean=tta_mean,
        batch_size=batch_size,
        jit=jit,
        engines=engines,
    )
    each = iter(predicted)
    return [mean_predictions([next(each) for _ in member.runs]) for member in members]


def predict_held_out(
    members: Sequence[Member],
    *,
    manifest: Manifest,
    folds: Sequence[int],
    views: Sequence[View],
    tta_mean: str = "probabilities",
    batch_size: int,
    jit: bool,
    engines: Engines | None = None,
    keep_views: bool = False,
) -> list[Predictions]:
    """Returns the predictions of each member for the training photos of `folds`, each by the run that held it out.

    Call it inside `Device.scope()`, with the folds from `carclf.inference.compatibility.held_out_folds`.

    Raises:
      UserError: a run's weights are missing or cannot be loaded.
    """
    by_fold = [
        predict_runs(
            [member.run_of(fold) for member in members],
            manifest=manifest,
            split="train",
            folds=[fold],
            views=views,
            tta_mean=tta_mean,
            batch_size=batch_size,
            jit=jit,
            engines=engines,
            keep_views=keep_views,
        )
        for fold in folds
    ]
    return [concatenate_predictions(parts) for parts in zip(*by_fold, strict=True)]


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
    engines: Engines | None = None,
    keep_views: bool = False,
) -> list[Predictions]:
    """Returns the predictions of each run with its best weights, size, fit and fill.

    Call it inside `Device.scope()`, after the checks in `compatibility`.

    Raises:
      UserError: a run's weights are missing or cannot be loaded.
    """
    return predict_programs(
        [build_programs(run, views=views, jit=jit) for run in loaded],
        manifest=manifest,
        split=split,
        folds=folds,
        views=views,
        tta_mean=tta_mean,
        batch_size=batch_size,
        engines=engines,
        keep_views=keep_views,
    )


def predict_programs(
    classifiers: Sequence[Sequence[Program]],
    *,
    manifest: Manifest,
    split: str,
    folds: Iterable[int] | None = None,
    views: Sequence[View],
    tta_mean: str = "probabilities",
    batch_size: int,
    engines: Engines | None = None,
    keep_views: bool = False,
) -> list[Predictions]:
    """Returns the predictions of each classifier; its programs together cover all views.

    Photos are decoded once per canvas size, for any number of classifiers and views. Unless `keep_views`, only K
    numbers per photo and classifier are kept. `engines` may take over from Keras (`carclf.engines`).

    Raises:
      RuntimeError: a photo was not predicted exactly once in each view.
    """
    folds = None if folds is None else list(folds)
    index = read_index(manifest)
    rows = np.sort(index["row"][select(manifest, index, manifest.shards_of(split, folds=folds))]).astype(np.int64)
    classes = classifiers[0][0].photo_classifier.output_shape[-1]
    means = [ViewMean(len(rows), classes, views=views, kind=tta_mean) for _ in classifiers]
    kept = [np.zeros((len(views), len(rows), classes), np.float32) if keep_views else None for _ in classifiers]
    looks = len(views) * len(classifiers)
    runners = [
        [ProgramRunner(program, engines=engines or Engines(), photos=len(rows)) for program in programs]
        for programs in classifiers
    ]
    with Progress(
        "Predicting", total=looks * len(rows), unit="photos" if looks == 1 else "views of photos"
    ) as progress:
        for number, view, row, logits in _view_logits(
            runners, manifest=manifest, split=split, folds=folds, batch_size=batch_size
        ):
            real = row >= 0
            photo = np.searchsorted(rows, row[real])
            means[number].add(view, photo, logits[real])
            if (every_view := kept[number]) is not None:
                every_view[view, photo] = logits[real]
            progress.add(int(real.sum()))
    pairs = zip(means, kept, strict=True)
    return [Predictions(rows, mean.probabilities(), logits, mean.agreed()) for mean, logits in pairs]


def _view_logits(
    classifiers: Sequence[Sequence[ProgramRunner]],
    *,
    manifest: Manifest,
    split: str,
    folds: Sequence[int] | None,
    batch_size: int,
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Yields (classifier, view, row int32 [B], logits float32 [B, K]) for every batch, classifier and view.

    The rows are distributed to the replicas together with their batch, so that neither order nor padding nor the number
    of replicas can misplace a result.
    """
    for together in _decoded_alike(classifiers, manifest=manifest):
        batches = view_batches(
            manifest=manifest,
            split=split,
            folds=folds,
            batch_size=batch_size,
            view_sets=[runner.program.view_set for _, runner in together],
        )
        for batch in on_device(batches):
            photos = {"canvas": batch["canvas"], "extent": batch["extent"]}
            given = [
                (number, view, logits)
                for (number, runner), draws in zip(together, batch["draws"], strict=True)
                for view, logits in zip(runner.program.view_indices, runner.logits(photos, draws), strict=True)
            ]
            row = to_numpy(batch["row"])
            for number, view, logits in given:  # the first wait for results
                yield number, view, row, to_numpy(logits)


def _decoded_alike(
    classifiers: Sequence[Sequence[ProgramRunner]], *, manifest: Manifest
) -> Iterable[list[tuple[int, ProgramRunner]]]:
    """Returns groups of (classifier, its program) that need the photos at the same sizes, so each is decoded once."""
    groups: dict[bytes, list[tuple[int, ProgramRunner]]] = {}
    for number, runners in enumerate(classifiers):
        for runner in runners:
            sizes = sizes_for(manifest, framing=runner.program.view_set.framing)
            groups.setdefault(sizes.key, []).append((number, runner))
    return groups.values()


def mean_predictions(predictions: Sequence[Predictions], *, weights: np.ndarray | None = None) -> Predictions:
    """Returns the weighted mean of several runs' probabilities of the same photos, with the views of all, if kept."""
    first = predictions[0]
    assert all(np.array_equal(predicted.rows, first.rows) for predicted in predictions)
    mean = np.average([predicted.probabilities for predicted in predictions], axis=0, weights=weights)
    kept = [predicted.view_logits for predicted in predictions if predicted.view_logits is not None]
    every_view = np.concatenate(kept) if len(kept) == len(predictions) else None
    return Predictions(first.rows, mean, every_view, _agreed(predictions))


def _agreed(predictions: Sequence[Predictions]) -> np.ndarray | None:
    """Returns int64 [N], the class that all views of all runs say; −1 where they differ; None if one is unknown."""
    each = [predicted.agreed for predicted in predictions if predicted.agreed is not None]
    if len(each) < len(predictions):
        return None
    return np.where((np.stack(each) == each[0]).all(axis=0), each[0], DISPUTED)


def concatenate_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Returns the predictions of different photos as one, in the order of their rows."""
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows)
    kept = [part.view_logits for part in parts if part.view_logits is not None]
    agreed = [part.agreed for part in parts if part.agreed is not None]
    return Predictions(
        rows[order],
        np.concatenate([part.probabilities for part in parts])[order],
        np.concatenate(kept, axis=1)[:, order] if kept else None,
        np.concatenate(agreed)[order] if len(agreed) == len(parts) else None,
    )
