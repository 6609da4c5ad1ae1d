"""A stage from its first weights to its report: trained phase by phase, with the run's files before and after."""

import dataclasses
import functools
import gc
import sys
import time

import keras

from carclf import runs
from carclf.data.cache import DecodedCache
from carclf.data.input_clock import InputClock
from carclf.data.pipeline import training_rows
from carclf.device import leave_other_hosts
from carclf.files import write_atomically, write_json
from carclf.framing import Rendering
from carclf.inference.evaluation import evaluate_predictions
from carclf.inference.predictor import predict_photos
from carclf.model.weights import load_weights_file
from carclf.recipe import parse_views
from carclf.report.augmentation import Look, draw_recipe
from carclf.report.run_files import CLEAN, write_evaluation
from carclf.runs.opening import Start, check_precision, identity_of, prepare_folder
from carclf.train_options import parse_profile_steps
from carclf.training.callbacks import timing_table
from carclf.training.checkpointing import HandOver
from carclf.training.description import describe_stage
from carclf.training.estimate import StageEstimate
from carclf.training.failures import telling_failures
from carclf.training.fitting import FitResult, Saving, fit_phase, setting_of
from carclf.training.input_check import check_input
from carclf.training.lr_finder import find_learning_rate
from carclf.training.preemption import Preemption
from carclf.training.stage import Stage
from carclf.training.stage_data import decoded_cache, feature_data, training_data, validation_data
from carclf.training.stage_models import make_head, make_models
from carclf.training.swa import average_last_epochs


def train_stage(stage: Stage, *, start: Start, preemption: Preemption) -> None:
    """Trains or goes on training, evaluates the best weights and writes the run's files; `--find_lr` only measures.

    Args:
      stage: in the phase that it begins or goes on with.
      start: how the run begins.
      preemption: whether SIGTERM has come.

    Raises:
      UserError: what reaches the backbone is not what its weights expect, or as `fit_phase`.
      DamagedShardError: a photo cannot be read.
      Preempted: SIGTERM has come, and the last step is saved.
    """
    classifier, model = make_models(stage)
    check_input(stage, classifier)
    if stage.options.find_lr:
        find_learning_rate(stage, model)
        return
    run = begin_run(stage, start=start)
    resume, cache = start is not Start.ANEW, decoded_cache(stage)
    result = train_phase(stage, model=model, classifier=classifier, cache=cache, resume=resume, preemption=preemption)
    for phase in stage.phases[stage.phases.index(stage.phase) + 1 :]:
        del classifier, model  # before the next are made, so that a device never holds two
        gc.collect()
        before, stage = stage, dataclasses.replace(stage, phase=phase)
        if stage.framing.canvas_size != before.framing.canvas_size:
            cache = None  # likewise
            cache = decoded_cache(stage)
        classifier, model = make_models(stage)
        result = train_phase(
            stage,
            model=model,
            classifier=classifier,
            cache=cache,
            resume=True,
            preemption=preemption,
            handed_over=result.handed_over,
        )
    if stage.device.hosts > 1:  # every host evaluates alone: predictions are for one machine to gather
        stage = dataclasses.replace(stage, device=leave_other_hosts(stage.device))
        classifier, model = make_models(stage)
    finish_run(stage, run=run, model=model, classifier=classifier, result=result)


def begin_run(stage: Stage, *, start: Start) -> runs.Run:
    """The run, after writing its stage.json and augmentation.png, or as it is when it goes on."""
    options, manifest = stage.options, stage.manifest
    prepare_folder(stage.directory, start=start, options=options)
    if start is Start.GO_ON:
        run = runs.load_run(stage.directory)
        check_precision(run, stage.device)
        return run
    content = describe_stage(stage)
    draw_recipe(
        manifest,
        folds=stage.train_folds,
        recipe=stage.recipe,
        look=Look(
            image_size=stage.phases[-1].image_size,
            fit=options.fit,
            rendering=Rendering(fill=options.fill, stretch=options.stretch),
            seed=options.seed,
        ),
        path=stage.directory / "augmentation.png",
    )
    if manifest.label_patch:
        write_atomically(stage.directory / runs.APPLIED_LABELS, manifest.label_patch.content)
    write_json(stage.directory / runs.STAGE_FILE, content)  # last: a run that has it goes on with what is there
    return runs.load_run(stage.directory)


def train_phase(
    stage: Stage,
    *,
    model: keras.Model,
    classifier: keras.Model,
    cache: DecodedCache | None,
    resume: bool,
    preemption: Preemption,
    handed_over: HandOver | None = None,
) -> FitResult:
    """How the training of the phase ended, which goes on from what the one before has handed over."""
    options, phase = stage.options, stage.phase
    started = time.perf_counter()
    if options.feature_views:
        with telling_failures(phase):
            train_data_from, val_data = feature_data(stage, classifier, cache=cache)
            model = make_head(stage, classifier)
    else:
        train_data_from = functools.partial(training_data, stage, cache=cache)
        val_data = validation_data(stage, cache=cache)
    feature_seconds = time.perf_counter() - started if options.feature_views else 0.0
    clock = InputClock()
    result = fit_phase(
        model,
        classifier=classifier,
        directory=stage.directory,
        train_data_from=lambda step: stage.device.prefetched(clock.watch(train_data_from(start_step=step))),
        val_data=val_data,
        phase=phase,
        epochs=options.epochs,
        patience=options.patience,
        averaged=options.ema_momentum > 0,
        kept_epochs=options.swa_epochs,
        schedule=stage.schedule,
        input_clock=clock,
        rows_of_step=lambda step: training_rows(
            manifest=stage.manifest,
            folds=stage.train_folds,
            batch_size=phase.batch_size,
            seed=options.seed,
            step=step,
            steps_per_epoch=phase.steps_per_epoch,
        ),
        saving=Saving(
            identity=identity_of(options, stage.manifest),
            every_steps=options.save_every,
            resume=resume,
            preemption=preemption,
            setting=setting_of(stage.device),
            hosts=stage.device.hosts,
        ),
        estimate=StageEstimate(stage.phases, phase, val_photos=stage.val_photos),
        handed_over=handed_over,
        tensorboard=options.tensorboard,
        profile_steps=parse_profile_steps(options.profile_steps),
        verbose=1 if sys.stdout.isatty() else 2,
    )
    result = dataclasses.replace(result, train_seconds=result.train_seconds + feature_seconds)
    if options.swa_epochs and phase == stage.phases[-1]:
        accuracy = average_last_epochs(
            stage,
            model=model,
            classifier=classifier,
            batches=train_data_from(),
            val_data=val_data,
            best_accuracy=result.best_accuracy,
        )
        if accuracy is not None:
            return dataclasses.replace(result, best_epoch=None, best_accuracy=accuracy)
    return result


def finish_run(stage: Stage, *, run: runs.Run, model: keras.Model, classifier: keras.Model, result: FitResult) -> None:
    """Evaluates the best weights and writes the run's last files; metrics.json marks it finished."""
    options = stage.options
    with stage.device.scope():
        load_weights_file(classifier, run.best_weights, model_name="the classifier that wrote it")
        predictions = predict_photos(
            photo_classifier=model,
            framing=stage.framing,
            manifest=stage.manifest,
            split="train",
            folds=[options.val_fold],
            views=parse_views(CLEAN),
            batch_size=options.batch_size,
            seed=options.seed,
            jit=stage.device.jit,
        )
    evaluation = evaluate_predictions(predictions, stage.manifest)
    page = write_evaluation(
        run,
        evaluation=evaluation,
        manifest=stage.manifest,
        tta=CLEAN,
        runs_folder=options.runs,
        fit={
            "best_epoch": result.best_epoch,
            "epochs": len(result.history),
            "train_seconds": round(result.train_seconds, 3),
        },
    )
    print(timing_table(result.history))
    kept = f"best at epoch {result.best_epoch}" if result.best_epoch else f"of the last {options.swa_epochs} averaged"
    print(f"Validation accuracy {evaluation.summary()}, {kept}.")
    print(f"Report: {page}")
    print(f"Next: python -m carclf.predict --run={run.directory} --data={options.data}")
