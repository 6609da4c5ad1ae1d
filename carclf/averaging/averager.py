"""The classifier into which averaged weights are put, with the photos that give it statistics and a score."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from carclf.averaging.methods import WeightedMean, Weights
from carclf.averaging.plan import SoupPlan
from carclf.data.pipeline import training_batches
from carclf.data.view_batches import ViewSet
from carclf.device import Device
from carclf.framing import parse_image_size
from carclf.inference.dataset_predictions import Predictions, predict_programs
from carclf.inference.evaluation import labels_of
from carclf.inference.metrics import FIGURES
from carclf.inference.programs import Program, load_classifier
from carclf.model.batch_norm import StatisticsPass
from carclf.model.classifier import batch_norm_layers
from carclf.model.photo_classifier import build_photo_classifier
from carclf.model.separable import choose_method
from carclf.model.weights import load_weights_file, weights_in_memory
from carclf.recipe import parse_recipe, parse_views
from carclf.runs import Run
from carclf.runs.parent import check_batch
from carclf.runs.weights_files import write_weights

CLEAN = parse_views("clean")


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """The ingredients' network at one image size; whose weights it holds changes.

    Attributes:
      classifier: takes images.
      program: predicts with it.
    """

    classifier: keras.Model
    program: Program

    def load(self, run: Run) -> None:
        """Loads the best weights of a run."""
        load_weights_file(self.classifier, run.best_weights, model_name=f"the classifier of {run.directory}")

    def statistics(self) -> list[np.ndarray]:
        """Returns the stored mean and variance of each BatchNorm layer, each float32 [C], in turn."""
        norms = batch_norm_layers(self.classifier)
        both = [variable for norm in norms for variable in (norm.moving_mean, norm.moving_variance)]
        return [keras.ops.convert_to_numpy(variable).copy() for variable in both]

    def predict(self, plan: SoupPlan, *, batch_size: int) -> Predictions:
        """Returns the predictions of the held-out photos."""
        assert plan.fold is not None
        (predictions,) = predict_programs(
            [[self.program]], manifest=plan.manifest, split="train", folds=[plan.fold], views=CLEAN,
            batch_size=batch_size,
        )  # fmt: skip
        return predictions


def build_network(run: Run, *, jit: bool) -> Network:
    """Returns the network of a run, at its image size and with its weights; `jit`: whether XLA compiles it."""
    classifier, framing = load_classifier(run)
    method = choose_method(run.options.render, not_axis_aligned=parse_recipe(run.options.augment).not_axis_aligned)
    rendering = dataclasses.replace(run.rendering, method=method, affine=True, per_channel=True)
    model = build_photo_classifier(classifier, framing=framing, rendering=rendering)
    return Network(classifier, Program(model, ViewSet(CLEAN, framing, run.options.seed), (0,), jit))


def pass_size(*, batch_size: int, photos: int, unit: int) -> int:
    """Returns how many photos a training pass takes: a multiple of `unit`, no more than asked for and there are.

    Raises:
      UserError: there are fewer photos than `unit`.
    """
    size = max(min(batch_size, photos) // unit, 1) * unit
    check_batch(batch_size=size, replicas=1, mixes=False, steps=photos // size, train_photos=photos)
    return size


class Averager:
    """Puts means of the ingredients' weights into their network, and measures them. Use it inside `Device.scope()`.

    Args:
      plan: what is averaged; its ingredients are measured first, so that the best of a greedy soup comes first.
      batch_size: photos per step.
      device: where to compute.

    Attributes:
      plan: with the ingredients' own scores.
      count: number of ingredients.
      metric: the score.
      rows: of the held-out photos in the split's ids, int64 [N]; none without a fold.
    """

    def __init__(self, plan: SoupPlan, *, batch_size: int, device: Device) -> None:
        self.count, self.metric, self.rows = len(plan.ingredients), plan.metric, np.zeros(0, np.int64)
        self._batch_size, self._device = device.padded_batch_size(batch_size), device
        networks: dict[tuple[int, int], Network] = {}
        scores: list[float] = []
        statistics = []
        for run in plan.ingredients:
            size = parse_image_size(run.options.image_size)
            if size not in networks:
                networks[size] = build_network(run, jit=device.jit)
            networks[size].load(run)
            statistics.append(networks[size].statistics())
            if plan.fold is not None:
                scores.append(self._score(networks[size].predict(plan, batch_size=self._batch_size), plan))
                print(f"{plan.metric.title} of {run.name}: {plan.metric.show(scores[-1])}.", flush=True)
        self.plan = plan.with_scores(scores)
        self._network = networks[parse_image_size(self.plan.leader.options.image_size)]
        self._renewal = self._statistics_pass(statistics)

    def weights_of(self, number: int) -> Weights:
        """Returns the weights of an ingredient."""
        self._network.load(self.plan.ingredients[number])
        return list(self._network.classifier.get_weights())

    def measured(self, weights: Weights, *, shares: Sequence[float]) -> WeightedMean:
        """Returns the mean with its statistics and, where photos are held out, its score, which is printed."""
        classifier = self._network.classifier
        classifier.set_weights(weights)
        if sum(share > 0 for share in shares) > 1:
            self._renewal.renew(batch[0] for batch in self._training_batches())
        mean = WeightedMean(tuple(shares), list(classifier.get_weights()))
        if self.plan.fold is None:
            return mean
        predictions = self._network.predict(self.plan, batch_size=self._batch_size)
        labels, self.rows = labels_of(predictions, self.plan.manifest), predictions.rows
        score = self._score(predictions, self.plan)
        print(f"{self.metric.title} {self.metric.show(score)}: {self._described(shares)}.", flush=True)
        return dataclasses.replace(
            mean,
            score=score,
            log_loss=FIGURES["log_loss"].compute(predictions.probabilities, labels),
            probabilities=predictions.probabilities,
        )

    def save(self, mean: WeightedMean, path: Path) -> None:
        """Writes the weights of a mean."""
        self._network.classifier.set_weights(mean.weights)
        write_weights(path, weights_in_memory(self._network.classifier).getbuffer())

    def _score(self, predictions: Predictions, plan: SoupPlan) -> float:
        return plan.metric.compute(predictions.probabilities, labels_of(predictions, plan.manifest))

    def _described(self, shares: Sequence[float]) -> str:
        pairs = zip(shares, self.plan.ingredients, strict=True)
        return " + ".join(f"{share:.2f} {run.name}" for share, run in pairs if share)

    def _statistics_pass(self, statistics: Sequence[Sequence[np.ndarray]]) -> StatisticsPass:
        """Returns what computes the statistics again in those BatchNorm layers where the ingredients differ in them.

        The statistics of the others were frozen in every training, which took them as they are.
        """
        first, *others = statistics
        for number, norm in enumerate(batch_norm_layers(self._network.classifier)):
            own = slice(2 * number, 2 * number + 2)
            same = all(np.array_equal(a, b) for other in others for a, b in zip(first[own], other[own], strict=True))
            norm.trainable = not same
        leader, framing = self.plan.leader, self._network.program.view_set.framing
        recipe = parse_recipe(leader.options.augment)
        method = choose_method(leader.options.render, not_axis_aligned=recipe.not_axis_aligned)
        # A model of its own: one that mixes photos takes no odd batch, of which the held-out photos may have some.
        rendering = recipe.fitted(dataclasses.replace(leader.rendering, method=method))
        model = build_photo_classifier(self._network.classifier, framing=framing, rendering=rendering)
        return StatisticsPass(model, jit=self._device.jit)

    def _training_batches(self) -> tf.data.Dataset:
        """Returns batches of the photos that the soup may learn from, augmented as in the leader's training."""
        plan, leader = self.plan, self.plan.leader.options
        folds = [fold for fold in plan.manifest.folds if fold != plan.fold]
        photos = plan.manifest.photos("train", folds) + plan.manifest.photos("extra")
        recipe = parse_recipe(leader.augment)
        unit = self._device.replicas * (2 if recipe.mixes else 1)
        return training_batches(
            manifest=plan.manifest,
            folds=folds,
            framing=self._network.program.view_set.framing,
            recipe=recipe,
            batch_size=pass_size(batch_size=self._batch_size, photos=photos, unit=unit),
            epochs=1,
            seed=leader.seed,
        )
