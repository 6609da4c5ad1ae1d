"""A stage and its plan, derived from its options, the data set and the device."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from carclf import runs
from carclf.data.index import sizes_for
from carclf.data.manifest import Manifest
from carclf.data.pipeline import photos_per_class, training_shards
from carclf.device import Device
from carclf.framing import Framing, Rendering, RenderMethod
from carclf.metrics import Metric, choose_metric, grades_note
from carclf.model.backbones import find_backbone
from carclf.model.class_weights import parse_class_weights
from carclf.model.hub_families import HubBackbone
from carclf.model.hub_preset import Preset
from carclf.model.schedules import Schedule, build_schedule
from carclf.model.separable import choose_method, describe_method
from carclf.model.unfreezing import describe_unfreezing, parse_unfreeze
from carclf.recipe import Recipe, parse_recipe
from carclf.runs.opening import OpenRun
from carclf.runs.parent import check_batch
from carclf.train_options import TrainOptions
from carclf.training.feature_plan import FeaturePlan, plan_features
from carclf.training.phases import Phase, phase_of_step, plan_phases

HEAD_MOMENTUM = 0.99  # Keras's own
FOLLOWING_FRACTION = 0.25  # of an epoch: the statistics of a head that was trained before forget what is older
LEAST_MOMENTUM = 0.9
HEAD_TEMPERATURE = 5.0  # source: measured, docs/stages.md


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage in one of its phases, derived from its options and the data set.

    Attributes:
      options: from the command line.
      directory: the run's folder.
      manifest: the data set.
      metric: what the training follows.
      parent: the run whose best weights it starts from, or None.
      device: the device it runs on.
      phases: phases of the whole stage: one, or with progressive resizing one for each image size.
      phase: the phase that is trained.
      recipe: the augmentation.
      method: how photos are interpolated.
      train_folds: all folds but the validation fold.
      train_photos: number of photos in them, external ones and those with pseudo-labels included.
      val_photos: number of photos in the validation fold.
      class_weights: float64 [K].
      features: what it keeps of the frozen backbone's output, or None if it trains on photos.
      preset: what a backbone of KerasHub is built from; None for any other.
      head_follows: whether the statistics of the head's BatchNorm follow the backbone within a part of an epoch.
      head_softens: whether the backbone begins to learn under a head that was trained while it was frozen.
    """

    options: TrainOptions
    directory: Path
    manifest: Manifest
    metric: Metric
    parent: runs.Run | None
    device: Device
    phases: Sequence[Phase]
    phase: Phase
    recipe: Recipe
    method: RenderMethod
    train_folds: list[int]
    train_photos: int
    val_photos: int
    class_weights: np.ndarray
    features: FeaturePlan | None
    preset: Preset | None = None
    head_follows: bool = False
    head_softens: bool = False

    @property
    def head_temperature(self) -> float:
        """What the logits of the parent's head are divided by before the first step.

        A head that was fitted to frozen features is sharp: the loss curves so strongly in the backbone's weights that
        the first steps raise it, and the features are lost. Divided logits name the same classes and curve less.

        Source: measured, docs/stages.md; Ren et al. 2023, "How to prepare your task head for finetuning",
          stop the training of the head early for the same reason.
        """
        if self.parent is None:
            return 1.0
        if self.options.head_temperature or not self.head_softens:
            return self.options.head_temperature or 1.0
        return HEAD_TEMPERATURE

    @property
    def head_momentum(self) -> float:
        """The momentum of the head's BatchNorm.

        A head that was trained before is validated with the statistics of earlier features while its backbone changes:
        with Keras's momentum, of more than two epochs where an epoch has 44 steps.
        """
        if self.options.head_momentum or not self.head_follows:
            return self.options.head_momentum or HEAD_MOMENTUM
        steps = FOLLOWING_FRACTION * self.phase.steps_per_epoch
        return min(max(1 - 1 / steps, LEAST_MOMENTUM), HEAD_MOMENTUM)

    @property
    def starts_trained(self) -> bool:
        """Whether the head is trained before the first step: by a parent run, or by a regression."""
        return self.parent is not None or (self.features is not None and self.features.regression)

    @property
    def framing(self) -> Framing:
        """Image size and fit."""
        return Framing(image_size=self.phase.image_size, fit=self.options.fit)

    @property
    def rendering(self) -> Rendering:
        """How the images are computed, in training and in the validation between its epochs."""
        return self.recipe.fitted(Rendering(fill=self.options.fill, stretch=self.options.stretch, method=self.method))

    @property
    def schedule(self) -> Schedule:
        """The learning rate by step, over all epochs of the stage in steps of this phase."""
        options, phase = self.options, self.phase
        return build_schedule(
            options.schedule,
            learning_rate=phase.learning_rate,
            steps_per_epoch=phase.steps_per_epoch,
            epochs=options.epochs,
            warmup_epochs=options.warmup_epochs,
            decay=options.lr_decay,
            period_epochs=options.lr_period,
            lowest_fraction=options.lr_floor,
            ahead_steps=phase.ahead_steps,
        )


def plan_stage(options: TrainOptions, *, opened: OpenRun, manifest: Manifest, device: Device) -> Stage:
    """Returns the stage that the options describe, in the phase where it starts or resumes; `--find_lr` takes the last.

    Raises:
      UserError: an option that does not fit the data set or the device.
    """
    recipe = parse_recipe(options.augment)
    train_folds = [fold for fold in manifest.folds if fold != options.val_fold]
    train_photos = sum(shard.count for shard in training_shards(manifest, train_folds))
    phases = plan_phases(options, train_photos=train_photos)
    for phase in phases:
        check_batch(
            batch_size=phase.batch_size,
            replicas=device.replicas,
            mixes=recipe.mixes,
            steps=phase.steps_per_epoch,
            train_photos=train_photos,
        )
    return Stage(
        options=options,
        directory=opened.directory,
        manifest=manifest,
        metric=choose_metric(options.metric, manifest.form),
        parent=opened.parent,
        device=device,
        phases=phases,
        phase=phases[-1 if options.find_lr else phase_of_step(phases, opened.step)],
        recipe=recipe,
        method=choose_method(options.render, not_axis_aligned=recipe.not_axis_aligned),
        train_folds=train_folds,
        train_photos=train_photos,
        val_photos=manifest.photos("train", [options.val_fold]),
        class_weights=parse_class_weights(
            options.class_weights, manifest.class_names, counts=photos_per_class(manifest, train_folds)
        ),
        features=plan_features(options, recipe=recipe, begun=opened.begun),
        preset=_hub_preset(options, opened, phases),
        head_follows=opened.parent is not None and _knows("head_momentum", opened.begun),
        head_softens=_begins_to_learn(options, opened.parent) and _knows("head_temperature", opened.begun),
    )


def _knows(option: str, begun: Mapping[str, Any] | None) -> bool:
    """Returns whether the run that is resumed, if any, was begun by a carclf with that option; others go without."""
    return begun is None or option in begun["options"]


def _begins_to_learn(options: TrainOptions, parent: runs.Run | None) -> bool:
    """Returns whether the backbone learns in this stage, and did not in its parent."""
    return parent is not None and parent.options.unfreeze == "head" and options.unfreeze != "head"


def _hub_preset(options: TrainOptions, opened: OpenRun, phases: Sequence[Phase]) -> Preset | None:
    """Returns what a backbone of KerasHub is built from: that of the resumed run, of the parent, or of --weights."""
    row = find_backbone(options.backbone)
    if not isinstance(row, HubBackbone):
        return None
    from carclf.model.hub import check_hub_image_size, find_preset  # only here: KerasHub takes seconds

    stored = opened.begun or (opened.parent.stage if opened.parent else None)
    preset = Preset.from_dict(stored["preset"]) if stored else find_preset(row, options.weights)
    if preset:
        for phase in phases:
            check_hub_image_size(row, preset, phase.image_size)
    return preset


def describe_plan(stage: Stage) -> None:
    """Prints the facts that a practitioner checks before a long run."""
    options, phase = stage.options, stage.phase
    print(
        f"Data: {stage.train_photos} training photos, {phase.steps_per_epoch} steps of {phase.batch_size} photos per "
        f"epoch ({phase.batch_size // stage.device.replicas} per device); {stage.val_photos} validation photos "
        f"(fold {options.val_fold})."
    )
    if stage.metric.name != "accuracy":
        print(f"Metric: {stage.metric.name}.")
    if note := grades_note(stage.metric, stage.manifest.class_names):
        print(note)
    print(sizes_for(stage.manifest, framing=stage.framing))
    if len(stage.phases) > 1:
        print(*(f"Progressive resizing: {phase}." for phase in stage.phases), sep="\n")
    if unfreezing := describe_unfreezing(
        parse_unfreeze(options.unfreeze, find_backbone(options.backbone)), epochs=options.epochs
    ):
        print(f"{unfreezing[0].upper()}{unfreezing[1:]}.")
    if note := _engine_note(stage):
        print(note)
    if method := describe_method(stage.method, not_axis_aligned=stage.recipe.not_axis_aligned):
        print(method)
    print(f"Learning rate: {options.schedule} from {stage.schedule.at(0):.3g}.", flush=True)


def _engine_note(stage: Stage) -> str:
    """Returns that --engine, from a flag file or for all stages of several, computes nothing in this one; else ""."""
    engine = stage.options.engine
    if engine == TrainOptions.engine or stage.features is not None or stage.options.find_lr:
        return ""
    return f"Engine: --engine={engine} computes kept features alone, and this stage keeps none: Keras computes it."
