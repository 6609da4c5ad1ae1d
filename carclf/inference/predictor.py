"""Photos to probabilities: every view of every photo through one model, placed by row."""

import dataclasses
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from carclf import config
from carclf.data.manifest import Manifest
from carclf.data.pipeline import Framing, canvas_side, view_batches
from carclf.model.classifier import build_classifier
from carclf.model.photo_classifier import build_photo_classifier
from carclf.model.separable import choose_method
from carclf.model.weights import load_weights_file
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


def load_classifier(run: Run) -> tuple[keras.Model, Framing]:
    """The run's classifier with its best weights, and how photos were framed for it.

    Raises:
      UserError: the weights are missing or do not fit.
    """
    options = run.options
    image_size = config.parse_image_size(options.image_size)
    classifier = build_classifier(
        backbone=options.backbone,
        weights="none",
        class_count=len(run.class_names),
        image_size=image_size,
        head_width=options.head_width,
        dropout=options.dropout,
        l2=options.l2,
    )
    load_weights_file(classifier, run.best_weights, model_name=f"the classifier of {run.directory}")
    canvas_size = canvas_side(image_size=image_size, max_side=run.max_side)
    return classifier, Framing(image_size=image_size, canvas_size=canvas_size, fit=options.fit)


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

    Each batch carries the rows it is made of through the model, so neither order nor padding nor the number of
    replicas can misplace a result. Call it inside `Device.scope()`.

    Raises:
      RuntimeError: a photo did not come back once for each view; nothing is returned then.
    """
    batches = view_batches(
        manifest=manifest, split=split, folds=folds, framing=framing, batch_size=batch_size, views=views, seed=seed
    )
    row = keras.Input((), dtype="int32", name="row")
    model = keras.Model({**photo_classifier.input, "row": row}, [photo_classifier.output, row])
    # Keras would choose XLA on a CPU too, where it is many times slower.
    model.compile(jit_compile=jit)
    logits, row = model.predict(batches, verbose=0)
    total, photos = manifest.photos(split), manifest.photos(split, folds)
    sums, seen = np.zeros((total, logits.shape[-1])), np.zeros(total, np.int64)
    real = row >= 0
    np.add.at(sums, row[real], softmax(logits[real]))
    np.add.at(seen, row[real], 1)
    rows = np.flatnonzero(seen)
    if len(rows) != photos or not np.all(seen[rows] == len(views)):
        raise RuntimeError(f"{photos} photos in {len(views)} views were expected, and {int(seen.sum())} came back.")
    return Predictions(rows=rows, probabilities=sums[rows] / len(views))


def predict_run(
    run: Run,
    *,
    manifest: Manifest,
    split: str,
    folds: Iterable[int] | None = None,
    views: Sequence[View],
    batch_size: int,
    jit: bool,
) -> Predictions:
    """`predict_photos` with a run's best weights, size, fit and fill; see `carclf.inference.compatibility` first.

    Raises:
      UserError: its weights are missing or do not load.
    """
    classifier, framing = load_classifier(run)
    turning = [view.name for view in views if view.turns]
    photo_classifier = build_photo_classifier(
        classifier,
        image_size=framing.image_size,
        canvas_size=framing.canvas_size,
        fill=run.options.fill,
        mixing=False,
        erasing=any(view.recipe is not None and view.recipe.erases for view in views),
        stretch=run.options.stretch,
        # To views that turn, gathers give the image that the run's own method would give.
        method="gather" if turning else choose_method(run.options.render, turning=turning),
    )
    return predict_photos(
        photo_classifier=photo_classifier,
        framing=framing,
        manifest=manifest,
        split=split,
        folds=folds,
        views=views,
        batch_size=batch_size,
        seed=run.options.seed,
        jit=jit,
    )


def mean_predictions(predictions: Sequence[Predictions]) -> Predictions:
    """The mean of several runs' probabilities of the same photos."""
    first = predictions[0]
    assert all(np.array_equal(p.rows, first.rows) for p in predictions)
    return Predictions(rows=first.rows, probabilities=np.mean([p.probabilities for p in predictions], axis=0))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float64 [N, K] of logits [N, K]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
