"""The functions of `import carclf`: carclf's building blocks, with defaults for Python programs.

Each imports what it needs when it is called, so importing this module imports no framework.
`carclf.__init__` lists the public names.
"""

import contextlib
import fnmatch
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from carclf.arguments import checked
from carclf.data.manifest import Manifest, load_manifest
from carclf.device import building_in, check_backend
from carclf.errors import UserError
from carclf.extras import install_command
from carclf.framing import Framing
from carclf.storage import is_remote

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from carclf.inference.run_predictor import Predictor
    from carclf.model.learning_rate import LearningRate
    from carclf.recipe import Recipe, View

ImageSize = int | tuple[int, int]


@checked
def open_dataset(directory: str | os.PathLike[str]) -> Manifest:
    """Returns the data set in a folder that `carclf make_tfrecords` wrote, as a `carclf.Dataset`; no photo is read yet.

    It has `class_names`, `class_count`, `folds`, the number of photos of a split (`photos("train")`), and a table of
    them with their ids (`read_ids("test")`).

    Raises:
      UserError: the folder holds no data set, or one of its shards is missing or has the wrong size.
    """
    path = os.path.expanduser(os.fspath(directory))
    return load_manifest(path if is_remote(path) else os.path.abspath(path))  # the program may change its folder later


@checked
def training_batches(
    dataset: Manifest,
    *,
    recipe: "str | Recipe | None" = "",
    image_size: ImageSize = 224,
    batch_size: int = 32,
    val_fold: int | None = 0,
    fit: str = "squash",
    label_smoothing: float = 0.0,
    class_weights: str | None = "none",
    seed: int = 42,
    initial_epoch: int = 0,
) -> "tf.data.Dataset":
    """Returns a `tf.data.Dataset` of the full, shuffled, augmented batches of an epoch, for a model behind `Render`.

    Each element is (inputs, target, weight). inputs is a dictionary: canvas uint8 [B, Y, X, 3], the decoded photos;
    extent float32 [B, 2], their (height, width) in pixels; and what Render does with them, all float32: geometry
    [B, 3, 3], colour [B, 3, 4], mix [B, 5], erase [B, 7]. target is float32 [B, K] and sums to 1, weight float32 [B].

    Each iteration yields the next epoch, in a new order and with new draws, as `fit` expects; `len` is the number of
    batches per epoch. The content of an epoch depends only on the seed and the epoch, not on the machine.

    Args:
      dataset: from `open_dataset`.
      recipe: the augmentation, such as "flip|rotate(10)|cutmix(1.0)"; empty or None for none.
      image_size: of the rendered images in pixels, one side of a square or (height, width).
      batch_size: photos per batch; photos that do not fill a batch are left out, different ones in each epoch.
      val_fold: the fold to hold out; None trains on all folds.
      fit: "squash" stretches the whole photo to the image's shape, "crop" uses its centre, "pad" adds borders.
      label_smoothing: fraction of each target spread over all classes, in [0, 1).
      class_weights: "none" or None, "balanced", or "name:weight,name:weight"; part of the weight of each photo.
      seed: of the order and the random draws.
      initial_epoch: the first epoch to yield, counted from 0, when training is resumed.

    Raises:
      UserError: an unknown operation in the recipe, a fold that the data set does not have, a batch larger than the
        training set, an odd batch size with a recipe that mixes photos, or a number out of range; as for every
        function here, an argument of another kind.
    """
    from carclf.recipe import Recipe, parse_recipe

    parsed = recipe if isinstance(recipe, Recipe) else parse_recipe(recipe or "")
    framing = _framing(image_size, fit=fit)
    folds = [fold for fold in dataset.folds if fold != val_fold]
    dataset.shards_of("train", folds=[] if val_fold is None else [val_fold])  # refuses a fold that is not there
    steps = (dataset.photos("train", folds) + dataset.photos("extra")) // batch_size
    _refuse(steps < 1, f"batch_size is {batch_size}, more than the photos to train on: lower it.")
    _refuse(
        bool(parsed.mixes and batch_size % 2),
        f"{parsed.spec} mixes pairs and batch_size is {batch_size}: make it even.",
    )
    _require("tensorflow")
    _leave_gpus_to_jax()

    from carclf.data import pipeline
    from carclf.model.class_weights import parse_class_weights

    return pipeline.training_batches(
        manifest=dataset,
        folds=folds,
        framing=framing,
        recipe=parsed,
        batch_size=batch_size,
        epochs=None,
        seed=seed,
        start_step=initial_epoch * steps,
        label_smoothing=label_smoothing,
        class_weights=parse_class_weights(
            class_weights or "none", dataset.class_names, counts=pipeline.photos_per_class(dataset, folds)
        ),
    )


@checked
def validation_batches(
    dataset: Manifest,
    *,
    image_size: ImageSize = 224,
    batch_size: int = 32,
    val_fold: int = 0,
    fit: str = "squash",
) -> "tf.data.Dataset":
    """Returns a `tf.data.Dataset` of every photo of the held-out fold once, not augmented, for `fit` and `evaluate`.

    Each element is (inputs, target, weight), as from `training_batches`. The last batch is padded with empty photos of
    weight 0: pass metrics to Keras as `weighted_metrics`, so that the padding does not count.

    Args:
      dataset: from `open_dataset`.
      image_size: as in training.
      batch_size: photos per batch.
      val_fold: the fold that training leaves out.
      fit: as in training.

    Raises:
      UserError: a fold the data set does not have, or a number out of range.
    """
    from carclf.recipe import parse_recipe

    framing = _framing(image_size, fit=fit)
    dataset.shards_of("train", folds=[val_fold])  # refuses a fold that is not there
    _require("tensorflow")
    _leave_gpus_to_jax()

    from carclf.data import pipeline

    return pipeline.validation_batches(
        manifest=dataset, folds=[val_fold], framing=framing, batch_size=batch_size, recipe=parse_recipe("")
    )


@checked
def view_batches(
    dataset: Manifest,
    *,
    view: "str | View | Sequence[View]" = "clean",
    split: str = "test",
    folds: Sequence[int] | None = None,
    image_size: ImageSize = 224,
    batch_size: int = 32,
    fit: str = "squash",
    seed: int = 42,
) -> "tf.data.Dataset":
    """Returns a `tf.data.Dataset` of every photo of a split once, in the order of `dataset.read_ids(split)`.

    Each element is the inputs of `training_batches`, without targets, for `predict`. The last batch may be smaller, so
    that `predict` returns one row per photo. For test-time augmentation, predict in several views and take the mean.

    Args:
      dataset: from `open_dataset`.
      view: one view, such as "clean", "flip" or "flip+zoom(1.1)", or one that `parse_views` returns.
      split: "test" or "train".
      folds: the folds of "train" to read; None reads all.
      image_size: as in training.
      batch_size: photos per batch.
      fit: as in training.
      seed: of a view that draws.

    Raises:
      UserError: an unknown view, or several views; no such split or fold; a number out of range.
    """
    views = _parsed_views(view)
    _refuse(len(views) != 1, f"view is {len(views)} views: give one of what carclf.parse_views returns at a time.")
    framing = _framing(views[0].image_size or image_size, fit=fit)
    wrong = folds is not None and split != "train"
    _refuse(wrong, f"folds are those of the training photos: give split='train' with folds={folds}, or leave them out.")
    dataset.shards_of(split, folds=folds)  # refuses a fold that is not there
    _require("tensorflow")
    _leave_gpus_to_jax()

    from carclf.data.view_batches import prediction_batches

    return prediction_batches(
        manifest=dataset,
        split=split,
        folds=folds,
        framing=framing,
        batch_size=batch_size,
        view=views[0],
        seed=seed,
    )


@checked
def build_classifier(
    backbone: str = "efficientnet_b0",
    *,
    class_count: int,
    image_size: ImageSize | None = None,
    weights: str | os.PathLike[str] | None = "imagenet",
    head: str = "notebook",
    head_width: int = 128,
    dropout: float = 0.25,
    l2: float = 0.01,
) -> "keras.Model":
    """Returns a `keras.Model` from images float32 [B, H, W, 3] in 0..255, such as Render's, to logits [B, K].

    Its layer "backbone" is a nested model: `get_layer("backbone").trainable = False` trains the head alone.

    Args:
      backbone: one of `list_backbones()`, or "hub:PRESET" (docs/keras_hub.md).
      class_count: K.
      image_size: in pixels, one side of a square or (height, width); None means the size at which the published
        weights were trained.
      weights: "imagenet" (downloaded once by Keras), "none" or None, or the path of a weights file of the backbone or
        of a KerasHub preset's folder.
      head: one of `list_heads()`.
      head_width: units of the hidden layer, if the head has one.
      dropout: fraction of the last layer's inputs that is dropped in training, in [0, 1).
      l2: factor of the L2 penalty on the hidden layer.

    Raises:
      UserError: an unknown backbone or head, an image size that the backbone cannot take, weights that do not fit, or a
        number out of range.
    """
    _require("keras")
    from carclf.model import classifier
    from carclf.model.backbones import find_backbone

    return classifier.build_classifier(
        backbone=backbone,
        weights=os.fspath(weights or "none"),
        class_count=class_count,
        image_size=_pair(find_backbone(backbone).default_size if image_size is None else image_size),
        head=head,
        head_width=head_width,
        dropout=dropout,
        l2=l2,
    )


@checked
def build_schedule(
    name: str = "cosine",
    *,
    learning_rate: float,
    steps_per_epoch: int,
    epochs: int,
    warmup_epochs: float = 0.0,
    decay: float = 0.9,
    period_epochs: float = 2.0,
    lowest_fraction: float = 0.0,
) -> "LearningRate":
    """Returns a Keras learning-rate schedule, for any optimizer's `learning_rate`: a function of the step, float32 [].

    Args:
      name: one of `list_schedules()`.
      learning_rate: the peak rate.
      steps_per_epoch: batches per epoch, the `len` of the training batches.
      epochs: number of epochs of the whole training, including warm-up.
      warmup_epochs: epochs of linear increase at the start.
      decay: factor per epoch (exponential, cyclic_exp_range) or per period (step), in (0, 1].
      period_epochs: epochs between two drops (step), or per half cycle (cyclic_*).
      lowest_fraction: lowest rate of cosine and cyclic_*, as a fraction of `learning_rate`.

    Raises:
      UserError: an unknown name, or a number out of range.
    """
    from carclf.model import schedules

    _refuse(name == "plateau", "plateau follows a metric, not the step: use keras.callbacks.ReduceLROnPlateau.")
    schedule = schedules.build_schedule(
        name,
        learning_rate=learning_rate,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        warmup_epochs=warmup_epochs,
        decay=decay,
        period_epochs=period_epochs,
        lowest_fraction=lowest_fraction,
    )
    _require("keras")
    from carclf.model.learning_rate import LearningRate

    return LearningRate(schedule)


@checked
def load_run(
    *run: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    views: "str | View | Sequence[View]" = "clean",
    tta_mean: str = "probabilities",
    batch_size: int = 8,
    runs: str | os.PathLike[str] = "runs",
) -> "Predictor":
    """Returns a run as a function: `load_run("b3_512")("car.jpg")` returns the probabilities, float64 [K].

    It uses the run's best weights. Its method `predict` takes many photos. A photo is a path, the bytes of an image
    file, a Pillow image, or an array uint8 [H, W, 3].

    Args:
      *run: a folder that `carclf train` wrote, or its bare name inside `runs`; several are averaged with equal weights.
        The folder of `--val_fold=all` stands for the mean of the runs of all folds. A list, or a text with commas as in
        `--run`, may name several.
      views: the views of each photo to average, such as "clean|flip"; see `parse_views`.
      tta_mean: what to average over the views: "probabilities" or "logits".
      batch_size: photos per step of `predict`.
      runs: the folder in which bare names are looked up.

    Raises:
      UserError: there is no such run, or it has no weights yet; the runs have different classes; an unknown view.
    """
    from carclf.runs import load_members, split_names

    paths = [path for each in run for path in ([each] if isinstance(each, (str, os.PathLike)) else each)]
    names = [name for path in paths for name in split_names(os.fspath(path), runs=os.fspath(runs))]
    _refuse(not names, "load_run names no run: give the path of a run's folder, or several.")
    members = load_members(names, runs=os.fspath(runs))
    parsed = _parsed_views(views)
    _require("tensorflow", "keras")
    check_backend(_backend())
    _leave_gpus_to_jax()

    from carclf.inference.photo_predictor import PhotoPredictor
    from carclf.inference.run_predictor import Predictor
    from carclf.model.compile import platform

    with building_in(members[0].runs[0].options.precision):
        predictor = PhotoPredictor.of_members(
            members, views=parsed, tta_mean=tta_mean, batch_size=batch_size, jit=platform() != "cpu"
        )
    return Predictor(predictor, name=",".join(names), batch_size=batch_size)


@checked
def list_backbones(pattern: str = "*") -> list[str]:
    """Returns the backbones that `build_classifier` accepts, or those that match a pattern such as "efficientnet*"."""
    from carclf.model.backbones import BACKBONES

    return _matching(BACKBONES, pattern)


@checked
def list_heads(pattern: str = "*") -> list[str]:
    """Returns the heads that `build_classifier` accepts; docs/stages.md describes each."""
    from carclf.model.heads import HEADS

    return _matching(HEADS, pattern)


@checked
def list_recipes(pattern: str = "*") -> list[str]:
    """Returns the operations and named recipes that a recipe may contain, such as "flip", "rotate" and "notebook".

    docs/recipes.md lists their arguments and ranges.
    """
    from carclf.recipe import NAMED_RECIPES, RECIPES

    return _matching([*NAMED_RECIPES, *RECIPES], pattern)


@checked
def list_schedules(pattern: str = "*") -> list[str]:
    """Returns the names that `build_schedule` accepts."""
    from carclf.model.schedules import SCHEDULES

    return _matching([name for name in SCHEDULES if name != "plateau"], pattern)


def _matching(names: Any, pattern: str) -> list[str]:
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def _pair(image_size: ImageSize) -> tuple[int, int]:
    """Returns (height, width) in pixels."""
    return image_size if isinstance(image_size, tuple) else (image_size, image_size)


def _framing(image_size: ImageSize, *, fit: str) -> Framing:
    return Framing(_pair(image_size), fit)


def _parsed_views(views: "str | View | Sequence[View]") -> "tuple[View, ...]":
    from carclf.recipe import View, parse_views

    if isinstance(views, str):
        return parse_views(views)
    return (views,) if isinstance(views, View) else tuple(views)


def _require(*packages: str) -> None:
    """Checks that the packages are installed.

    Raises:
      ModuleNotFoundError: one is missing; the message has the command that installs it.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"{package} is not installed: {install_command('cpu')}", name=package)


def _backend() -> str:
    """Returns the backend of Keras, or the one that it will have once it is imported."""
    keras = sys.modules.get("keras")
    return keras.backend.backend() if keras else os.environ.get("KERAS_BACKEND") or "tensorflow"


def _leave_gpus_to_jax() -> None:
    """Hides the GPUs from TensorFlow, which would take their memory, if Keras runs on JAX."""
    if _backend() != "jax":
        return
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # TensorFlow has already initialised its devices
        tf.config.set_visible_devices([], "GPU")


def _refuse(wrong: bool, sentence: str) -> None:
    if wrong:
        raise UserError(sentence)
