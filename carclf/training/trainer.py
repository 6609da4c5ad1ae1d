"""Trains a stage phase by phase, from its initial to its best weights. The command does what comes before and after."""

import dataclasses
import functools
import gc
import sys
import time
from collections.abc import Callable

import keras
import tensorflow as tf

from carclf import preemption, runs
from carclf.data.cache import DecodedCache
from carclf.data.index import sizes_for
from carclf.data.input_clock import InputClock
from carclf.data.pipeline import training_rows
from carclf.device import leave_other_hosts
from carclf.engines.choice import Engines, plan_engines
from carclf.model.head_start import divide_logits
from carclf.model.weights import load_weights_file
from carclf.runs.opening import OpenRun, Start
from carclf.train_options import parse_profile_steps
from carclf.training.checkpointing import HandOver
from carclf.training.estimate import StageEstimate
from carclf.training.failures import reporting_failures
from carclf.training.fit_plan import Display, FitData, FitPlan, FitResult, Saving
from carclf.training.fitting import fit_phase, setting_of
from carclf.training.head_regression import start_from_regression
from carclf.training.input_check import check_input
from carclf.training.lr_finder import Sweep, sweep_stage
from carclf.training.stage import Stage
from carclf.training.stage_data import (
    check_room_for_features,
    decoded_cache,
    feature_data,
    stage_features,
    training_data,
    validation_data,
)
from carclf.training.stage_models import make_head, make_models
from carclf.training.swa import average_last_epochs


@dataclasses.dataclass(frozen=True, eq=False)
class _FittedModel:
    """What a phase fits, and the data for it.

    Attributes:
      model: the photo classifier, or the head alone on kept features; shares the variables of the classifier.
      training_from: returns its training batches; the keyword `start_step` is the first step.
      validation: its validation batches.
      feature_seconds: how long the features took.
    """

    model: keras.Model
    training_from: Callable[..., tf.data.Dataset]
    validation: tf.data.Dataset
    feature_seconds: float = 0.0


class Trainer:
    """The models of a stage on their device.

    Args:
      stage: in the phase where it starts or resumes.
      batches: returns the training batches of photos; called as `training_data` is, which is the default.

    Attributes:
      stage: in the phase that is trained.
      classifier: takes images.
      model: the photo classifier around it.

    Raises:
      UserError: the backbone's input is not what its weights expect, the disk has no room for kept features, or the
        engine that is to compute them cannot.
    """

    def __init__(self, stage: Stage, *, batches: Callable[..., tf.data.Dataset] | None = None) -> None:
        self.stage = stage
        self._batches = batches or training_data
        self._engines = plan_engines(stage.options.engine, stage.device) if stage.features else Engines()
        self.classifier, self.model = make_models(stage)
        check_input(stage, self.classifier)
        check_room_for_features(stage, self.classifier)

    def sweep_learning_rates(self) -> Sweep:
        """Returns what `--find_lr` measures; the model is unusable afterwards."""
        divide_logits(self.classifier, self.stage.head_temperature)
        return sweep_stage(self.stage, self.model)

    def train(self, opened: OpenRun) -> FitResult:
        """Trains the stage and returns the result; the models then hold the run's best weights, on this host alone.

        Args:
          opened: the run; its folder is prepared.

        Raises:
          UserError: as for `fit_phase`.
          DamagedShardError: a photo cannot be read.
          Preempted: SIGTERM has arrived, and the last step is saved.
        """
        phases = self.stage.phases
        cache, saving = decoded_cache(self.stage), _saving(self.stage, opened)
        result = self._train_phase(cache=cache, saving=saving)
        for phase in phases[phases.index(self.stage.phase) + 1 :]:
            before, stage = self.stage, dataclasses.replace(self.stage, phase=phase)
            self._drop_models()
            old, new = (sizes_for(one.manifest, framing=one.framing) for one in (before, stage))
            if new.key != old.key:
                cache = None  # before the next cache is made, so that memory holds only one
                cache = decoded_cache(stage)
            self._make_models(stage)
            result = self._train_phase(
                cache=cache, saving=dataclasses.replace(saving, resume=True), handed_over=result.handed_over
            )
        if self.stage.device.hosts > 1:  # every host evaluates alone, so that one machine has all predictions
            self._drop_models()
            self._make_models(dataclasses.replace(self.stage, device=leave_other_hosts(self.stage.device)))
        with self.stage.device.scope():
            best = runs.load_run(opened.directory).best_weights
            load_weights_file(self.classifier, best, model_name="the classifier that wrote it")
        return result

    def _drop_models(self) -> None:
        """Drops the models before the next ones are made, so that a device never holds two."""
        del self.classifier, self.model
        gc.collect()

    def _make_models(self, stage: Stage) -> None:
        preemption.check()
        self.stage = stage
        self.classifier, self.model = make_models(stage)

    def _train_phase(
        self, *, cache: DecodedCache | None, saving: Saving, handed_over: HandOver | None = None
    ) -> FitResult:
        """Trains the phase from what the previous one handed over, and returns the result."""
        fitted = self._fitted_model(cache)
        result = fit_phase(
            fitted.model,
            classifier=self.classifier,
            data=_fit_data(self.stage, fitted),
            plan=_fit_plan(self.stage),
            saving=saving,
            display=_display(self.stage),
            handed_over=handed_over,
        )
        if cache is not None:
            cache.sync()  # another run of this process may open it next
        result = dataclasses.replace(result, train_seconds=result.train_seconds + fitted.feature_seconds)
        return self._average_at_the_end(result, fitted)

    def _fitted_model(self, cache: DecodedCache | None) -> _FittedModel:
        """Returns the model of the phase with its batches: of photos, or of the features that the stage keeps."""
        stage = self.stage
        if not stage.features:
            photos_from = functools.partial(self._batches, stage, cache=cache)
            return _FittedModel(self.model, photos_from, validation_data(stage, cache=cache))
        started = time.perf_counter()
        with reporting_failures(stage.phase):
            features = stage_features(stage, self.classifier, cache=cache, engines=self._engines)
            if stage.features.regression:
                start_from_regression(stage, self.classifier, features)
            training_from, validation = feature_data(stage, features)
            head = make_head(stage, self.classifier)
        return _FittedModel(head, training_from, validation, feature_seconds=time.perf_counter() - started)

    def _average_at_the_end(self, result: FitResult, fitted: _FittedModel) -> FitResult:
        """Returns the result; after the last phase, with the average of the last epochs (SWA) if that is better."""
        stage = self.stage
        if not stage.options.swa_epochs or stage.phase != stage.phases[-1]:
            return result
        score = average_last_epochs(
            stage,
            model=fitted.model,
            classifier=self.classifier,
            batches=fitted.training_from(),
            val_data=fitted.validation,
            best_score=result.best_score,
        )
        return result if score is None else dataclasses.replace(result, best_epoch=None, best_score=score)


def _fit_data(stage: Stage, fitted: _FittedModel) -> FitData:
    clock = InputClock()
    return FitData(
        training_from=lambda step: stage.device.prefetched(clock.timed(fitted.training_from(start_step=step))),
        validation=fitted.validation,
        input_clock=clock,
        rows_of_step=functools.partial(_rows_of_step, stage),
    )


def _fit_plan(stage: Stage) -> FitPlan:
    options = stage.options
    return FitPlan(
        phase=stage.phase,
        epochs=options.epochs,
        schedule=stage.schedule,
        metric=stage.metric,
        patience=options.patience,
        uses_ema=options.ema_momentum > 0,
        kept_epochs=options.swa_epochs,
        starts_trained=stage.starts_trained,
        head_temperature=stage.head_temperature,
    )


def _display(stage: Stage) -> Display:
    options = stage.options
    return Display(
        tensorboard=options.tensorboard,
        profile_steps=parse_profile_steps(options.profile_steps),
        verbose=1 if sys.stdout.isatty() else 2,
        estimate=StageEstimate(stage.phases, stage.phase, val_photos=stage.val_photos),
    )


def _rows_of_step(stage: Stage, step: int) -> dict[str, list[int]]:
    """Returns the rows of the photos in a step's batch, in the lists 'train' and 'test'."""
    return training_rows(
        manifest=stage.manifest,
        folds=stage.train_folds,
        batch_size=stage.phase.batch_size,
        seed=stage.options.seed,
        step=step,
        steps_per_epoch=stage.phase.steps_per_epoch,
    )


def _saving(stage: Stage, opened: OpenRun) -> Saving:
    return Saving(
        directory=opened.directory,
        identity=opened.identity,
        every_steps=stage.options.save_every,
        resume=opened.start is not Start.FRESH,
        setting=setting_of(stage.device),
        hosts=stage.device.hosts,
        step=opened.step,
    )
