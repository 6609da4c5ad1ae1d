"""Stochastic weight averaging (SWA): the weights of the last epochs are kept as files and averaged at the end."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from carclf import runs
from carclf.metrics import Metric
from carclf.model.batch_norm import recompute_batch_norm
from carclf.model.weight_average import running_average
from carclf.progress import Progress
from carclf.runs.weights_files import checked_file
from carclf.training.callbacks import save_weights
from carclf.training.stage import Stage
from carclf.training.stopping import StopWhenPreempted


class SaveEpochWeights(keras.callbacks.Callback):
    """Saves the classifier after `first_epoch` (counted from 0) and every later one; a repeated epoch writes the same.

    It saves to files, not memory, so that a resumed run finds them.
    """

    def __init__(self, classifier: keras.Model, directory: Path, *, first_epoch: int) -> None:
        super().__init__()
        self._classifier, self._folder, self._first = classifier, directory / runs.EPOCHS_FOLDER, first_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the weights from `first_epoch` on."""
        if epoch >= self._first:
            self._folder.mkdir(exist_ok=True)
            save_weights(self._classifier, epoch_file(self._folder.parent, epoch))


def average_last_epochs(
    stage: Stage,
    *,
    model: keras.Model,
    classifier: keras.Model,
    batches: tf.data.Dataset,
    val_data: tf.data.Dataset,
    best_score: float,
) -> float | None:
    """Averages the weights of the last epochs, and makes the mean the run's best weights if it is better.

    It returns the mean's metric, or None if the mean was not adopted, and prints the outcome either way.
    """
    count = stage.options.swa_epochs
    files = kept_files(stage.directory, epochs=stage.options.epochs, count=count)
    if not files:
        print(f"Average: the run stopped before the last {count} epochs, so nothing is averaged.")
        return None
    with Progress("Averaging the last epochs"), stage.device.scope():
        average_epochs(model, classifier, files=files, batches=batches, jit=stage.device.jit)
        score = adopt_if_better(
            model,
            classifier,
            val_data=val_data,
            best_score=best_score,
            directory=stage.directory,
            metric=stage.metric,
        )
    name = f"val_{stage.metric.name}"
    if score is None:
        print(f"Average of the last {count} epochs: {name} does not reach that of the best epoch, which stays.")
    else:
        print(f"Average of the last {count} epochs: {name} {score:.4f}, and is kept.")
    return score


def epoch_file(directory: Path, epoch: int) -> Path:
    """Returns the path in a run's folder for the weights after an epoch, counted from 0."""
    return directory / runs.EPOCHS_FOLDER / f"epoch-{epoch + 1:05d}.weights.h5"


def kept_files(directory: Path, *, epochs: int, count: int) -> list[Path]:
    """Returns the files of the last `count` of `epochs` epochs; none if one is missing: the run stopped early."""
    files = [epoch_file(directory, epoch) for epoch in range(epochs - count, epochs)]
    return files if files and all(path.is_file() for path in files) else []


def average_epochs(
    model: keras.Model, classifier: keras.Model, *, files: Sequence[Path], batches: Iterable[Any], jit: bool
) -> None:
    """Sets `classifier` to the mean of the weights in `files`, with the BatchNorm statistics for that mean.

    Args:
      model: the model that takes the training data; it shares the classifier's variables.
      classifier: the model whose weights the files hold.
      files: weights of the classifier.
      batches: training batches (inputs, target, weight), for the statistics.
      jit: whether XLA compiles the pass over them.
    """
    average = None
    for count, path in enumerate(files):
        classifier.load_weights(checked_file(path))
        average = running_average(average, classifier.get_weights(), count=count)
    classifier.set_weights(average)
    recompute_batch_norm(model, (batch[0] for batch in batches), jit=jit)


def adopt_if_better(
    model: keras.Model, classifier: keras.Model, *, val_data: Any, best_score: float, directory: Path, metric: Metric
) -> float | None:
    """Makes the weights in `classifier` the run's best and returns their metric; None if they are worse."""
    validated = model.evaluate(val_data, callbacks=[StopWhenPreempted()], return_dict=True, verbose=0)
    score = float(validated[metric.log])
    if not metric.rank(score) >= metric.rank(best_score):
        return None
    save_weights(classifier, directory / runs.BEST_WEIGHTS)
    return score
