"""`python -m carclf.train`: trains one stage, or several, each from the best weights of the one before."""

import dataclasses
import functools
import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from carclf import config, runs
from carclf.config import TrainOptions
from carclf.door import expand_flagfiles, find_stage, run_door
from carclf.errors import Preempted, UserError

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from carclf.data.cache import DecodedCache
    from carclf.data.manifest import Manifest
    from carclf.data.pipeline import Framing
    from carclf.model.schedules import Schedule
    from carclf.recipe import Recipe
    from carclf.training.device import Device
    from carclf.training.fitting import StageResult
    from carclf.training.growth import Phase
    from carclf.training.preemption import Preemption
    from carclf.training.resume import Start
    from carclf.training.saving import HandOver

DESCRIPTION = """Trains one stage of a schedule on the shards that tools/make_tfrecords.py wrote.

--flagfile=PATH reads options from a file, --stage=NAME from an installed stage; what follows them overrides them.
Example: python -m carclf.train --flagfile=stages/b3_512.flags --data=data/cars"""


def main(options: TrainOptions) -> int:
    """Trains; 0 also when there was nothing left to do."""
    if not options.data:
        raise UserError(
            "--data is missing: give the folder that tools/make_tfrecords.py wrote, such as --data=data/cars."
        )
    if options.stages:
        return train_stages([name.strip() for name in options.stages.split(",") if name.strip()], sys.argv[1:])
    if options.val_fold == config.ALL_FOLDS:
        return train_all_folds(options, sys.argv[1:])
    return train_one_stage(options)


def train_stages(stages: Sequence[str], arguments: Sequence[str]) -> int:
    """The exit code of the first stage that fails, or 0. Each stage is a process of its own, with its own memory.

    Args:
      stages: names of flag files.
      arguments: the command line; what it holds besides `--stages` overrides the options of every stage.

    Raises:
      UserError: a name has no flag file.
    """
    shared = _without_stages(expand_flagfiles(arguments))
    return train_each("stage", {stage: [f"--flagfile={find_stage(stage)}", *shared] for stage in stages})


def train_all_folds(options: TrainOptions, arguments: Sequence[str]) -> int:
    """The exit code of the first fold that fails, or 0: the stage trained once for each fold, in RUN/fold0 and so on.

    Where the parent was trained so too, each fold starts from the parent's run of the same fold.

    Args:
      options: of the command line.
      arguments: the command line itself.

    Raises:
      UserError: the run's folder holds a run of one fold.
    """
    from carclf.data.manifest import load_manifest

    directory = runs.run_path(options.run or "run", runs=options.runs)
    if (directory / runs.STAGE_FILE).is_file():
        raise UserError(f"The folder {directory} holds a run of one fold: choose another --run for all folds.")
    parent = runs.run_path(options.init_from, runs=options.runs) if options.init_from else None
    shared = expand_flagfiles(arguments)
    commands = {}
    for fold in load_manifest(options.data).folds:
        own = [f"--val_fold={fold}", f"--run={runs.fold_path(directory, fold)}"]
        if parent and runs.fold_paths(parent):
            own.append(f"--init_from={runs.fold_path(parent, fold)}")
        if options.resume_from:
            lost = runs.fold_path(Path(options.resume_from).expanduser(), fold)
            own.append(f"--resume_from={lost if lost.is_dir() else ''}")
        commands[str(fold)] = [*shared, *own]
    code = train_each("fold", commands)
    if not code:
        print(f"Next: python -m carclf.evaluate --run={directory} --data={options.data}")
    return code


def train_each(what: str, commands: Mapping[str, Sequence[str]]) -> int:
    """The exit code of the first command that fails, or 0. Each is a process of its own, with its own memory.

    Args:
      what: 'stage' or 'fold'.
      commands: the arguments of `python -m carclf.train`, by name of the stage or fold.
    """
    from carclf.training.preemption import passing_on_sigterm

    with passing_on_sigterm() as run_process:
        for number, (name, arguments) in enumerate(commands.items(), start=1):
            print(f"{what.capitalize()} {number} of {len(commands)}: {name}", flush=True)
            code = run_process([sys.executable, "-m", "carclf.train", *arguments])
            if code:
                print(
                    f"The {what} {name} ended with exit code {code}: the {what}s after it were not started.",
                    file=sys.stderr,
                )
                return code if code > 0 else 1
    return 0


def _without_stages(arguments: Sequence[str]) -> list[str]:
    kept: list[str] = []
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        if argument.lstrip("-") == "stages":  # written as two words
            pending = pending[1:]
        elif not argument.lstrip("-").startswith("stages="):
            kept.append(argument)
    return kept


def train_one_stage(options: TrainOptions) -> int:
    """0 after training the stage that the options describe, or when it was finished already.

    Raises:
      Preempted: SIGTERM has come; what it says is how to go on.
      KeyboardInterrupt: likewise.
    """
    from carclf.training.hosts import folder_of_host
    from carclf.training.lock import holding
    from carclf.training.preemption import Preemption
    from carclf.training.resume import where_it_stands

    directory = runs.run_path(options.run or "run", runs=options.runs)
    if runs.fold_paths(directory):
        raise UserError(f"The folder {directory} holds a run for each fold: choose another --run for a single one.")
    if not options.find_lr and (directory / runs.METRICS_FILE).is_file() and not options.overwrite:
        accuracy = (runs.load_run(directory).metrics or {})["val_accuracy"]
        print(f"The run {directory} is finished (val_accuracy {accuracy:.4f}): --overwrite trains it again.")
        return 0
    try:
        with (
            folder_of_host(options, directory) as (mine, folder),
            Preemption().watching() as preemption,
            holding(folder),
        ):
            train_run(mine, directory=folder, preemption=preemption)
    except (Preempted, KeyboardInterrupt) as error:
        name = "SIGTERM" if isinstance(error, Preempted) else "Ctrl-C"
        raise type(error)(f"Stopped by {name}: {where_it_stands(directory)}.") from None
    return 0


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage in one of its phases, and what follows from its options and the data set together.

    Attributes:
      options: of the command line.
      directory: of the run.
      manifest: the data set.
      parent: the run whose best weights it starts from, or None.
      device: where it runs.
      phases: of the whole stage: one, or one an image size where it grows.
      phase: the one of them that is trained.
      recipe: the augmentation.
      method: how photos are interpolated.
      train_folds: every fold but the one held out.
      train_photos: in them, external photos included.
      val_photos: in the fold held out.
      class_weights: float64 [K].
    """

    options: TrainOptions
    directory: Path
    manifest: "Manifest"
    parent: runs.Run | None
    device: "Device"
    phases: "Sequence[Phase]"
    phase: "Phase"
    recipe: "Recipe"
    method: config.RenderMethod
    train_folds: list[int]
    train_photos: int
    val_photos: int
    class_weights: "np.ndarray"

    @property
    def framing(self) -> "Framing":
        """Image size, canvas and fit."""
        from carclf.data.pipeline import Framing, canvas_side

        image_size = self.phase.image_size
        canvas_size = canvas_side(image_size=image_size, max_side=self.manifest.max_side)
        return Framing(image_size=image_size, canvas_size=canvas_size, fit=self.options.fit)

    @property
    def schedule(self) -> "Schedule":
        """The learning rate by step, over all epochs of the stage in steps of this phase."""
        from carclf.model.schedules import build_schedule

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


def train_run(options: TrainOptions, *, directory: Path, preemption: "Preemption") -> None:
    """Trains or goes on training, evaluates the best weights, and writes the run's files."""
    from carclf.data.label_patch import apply_label_patch
    from carclf.data.manifest import load_manifest
    from carclf.training.lineage import check_split, describe_changes, load_parent
    from carclf.training.resume import Start, decide_start, find_parent

    manifest = apply_label_patch(options.label_patch, load_manifest(options.data))
    if manifest.label_patch:
        print(f"Labels: {len(manifest.label_patch.labels)} corrected by {options.label_patch}.")
    start = Start.ANEW if options.find_lr else decide_start(directory, options=options, manifest=manifest)
    parent = None
    if options.init_from:
        parent = load_parent(
            find_parent(options), data=options.data, backbone=options.backbone, head_width=options.head_width
        )
        print(describe_changes(parent, options))
    if warning := check_split(
        manifest, val_fold=options.val_fold, parent=parent, allow_change=options.allow_split_change
    ):
        print(f"Warning: {warning}", file=sys.stderr)

    from carclf.training.device import Hosts, leave_other_hosts, select_device

    device = select_device(
        options.device,
        precision=options.precision,
        cpu_devices=options.cpu_devices,
        hosts=Hosts(count=options.num_hosts, this=options.host, coordinator=options.coordinator),
    )
    print(device.describe(), flush=True)

    # Keras is imported only from here on, when its backend has been chosen.
    stage = plan_stage(options, directory=directory, manifest=manifest, parent=parent, device=device, start=start)
    describe_plan(stage)
    classifier, model = make_models(stage)
    check_input(stage, classifier)
    if options.find_lr:
        find_learning_rate(stage, model)
        return
    run = begin_run(stage, start=start)
    resume, cache = start is not Start.ANEW, decoded_cache(stage)
    result = fit(stage, model=model, classifier=classifier, cache=cache, resume=resume, preemption=preemption)
    for phase in stage.phases[stage.phases.index(stage.phase) + 1 :]:
        del classifier, model  # before the next are made, so that a device never holds two
        gc.collect()
        before, stage = stage, dataclasses.replace(stage, phase=phase)
        if stage.framing.canvas_size != before.framing.canvas_size:
            cache = None  # likewise
            cache = decoded_cache(stage)
        classifier, model = make_models(stage)
        result = fit(
            stage,
            model=model,
            classifier=classifier,
            cache=cache,
            resume=True,
            preemption=preemption,
            handed_over=result.handed_over,
        )
    if device.hosts > 1:  # every host evaluates alone: predictions are for one machine to gather
        stage = dataclasses.replace(stage, device=leave_other_hosts(device))
        classifier, model = make_models(stage)
    finish_run(stage, run=run, model=model, classifier=classifier, result=result)


def plan_stage(
    options: TrainOptions,
    *,
    directory: Path,
    manifest: "Manifest",
    parent: runs.Run | None,
    device: "Device",
    start: "Start",
) -> Stage:
    """The stage that the options describe, in the phase that it begins or goes on with; for `--find_lr` in its last.

    Raises:
      UserError: an option that does not fit the data set or the device.
    """
    from carclf.model.separable import choose_method
    from carclf.recipe import parse_recipe
    from carclf.training.growth import phase_of_step, plan_phases
    from carclf.training.lineage import check_batch
    from carclf.training.resume import step_reached

    recipe = parse_recipe(options.augment)
    if options.feature_views and recipe.mixes:
        raise UserError(
            f"--feature_views={options.feature_views} keeps features of single photos, and --augment={options.augment} "
            "mixes photos: leave one of the two out."
        )
    train_folds = [fold for fold in manifest.folds if fold != options.val_fold]
    train_photos = manifest.photos("train", train_folds) + manifest.photos("extra")
    phases = plan_phases(options, train_photos=train_photos)
    for phase in phases:
        check_batch(
            batch_size=phase.batch_size,
            replicas=device.replicas,
            mixes=recipe.mixes,
            steps=phase.steps_per_epoch,
            train_photos=train_photos,
        )
    reached = step_reached(directory, start=start, options=options, manifest=manifest) if len(phases) > 1 else 0
    return Stage(
        options=options,
        directory=directory,
        manifest=manifest,
        parent=parent,
        device=device,
        phases=phases,
        phase=phases[-1 if options.find_lr else phase_of_step(phases, reached)],
        recipe=recipe,
        method=choose_method(options.render, turning=recipe.turning),
        train_folds=train_folds,
        train_photos=train_photos,
        val_photos=manifest.photos("train", [options.val_fold]),
        class_weights=class_weights(options.class_weights, manifest=manifest, train_folds=train_folds),
    )


def make_models(stage: Stage) -> tuple["keras.Model", "keras.Model"]:
    """The classifier, and the photo classifier around it, ready for `fit`."""
    with stage.device.scope():
        classifier = make_classifier(stage)
        return classifier, make_model(stage, classifier)


def make_classifier(stage: Stage) -> "keras.Model":
    """The classifier with its first weights: the parent's best, or the backbone's own.

    After the first phase they are random ones, since those of the phase before take their place.
    """
    import keras

    from carclf.model.classifier import build_classifier, set_trainable
    from carclf.model.weights import load_weights_file

    options, is_first = stage.options, stage.phase.first_epoch == 0
    parent = stage.parent if is_first else None
    keras.utils.set_random_seed(options.seed)
    classifier = build_classifier(
        backbone=options.backbone,
        weights=options.weights if is_first and not parent else "none",
        class_count=stage.manifest.class_count,
        image_size=stage.framing.image_size,
        head_width=options.head_width,
        dropout=options.dropout,
        l2=options.l2,
    )
    if parent:
        load_weights_file(classifier, parent.best_weights, model_name=f"the classifier of {parent.directory}")
    summary = set_trainable(classifier, unfreeze=options.unfreeze, train_batch_norm=options.train_batch_norm)
    height, width = stage.phase.image_size
    print(f"Model: {options.backbone} at {height}x{width} px, {summary}.")
    return classifier


def make_model(stage: Stage, classifier: "keras.Model") -> "keras.Model":
    """The photo classifier, ready for `fit` on this device."""
    from carclf.model.losses import build_loss
    from carclf.training.fitting import build_training_model

    options = stage.options
    return build_training_model(
        classifier,
        framing=stage.framing,
        fill=options.fill,
        mixing=stage.recipe.mixes,
        erasing=stage.recipe.erases,
        stretch=options.stretch,
        method=stage.method,
        optimizer=make_optimizer(stage, classifier),
        loss=build_loss(options.loss, focal_gamma=options.focal_gamma),
        device=stage.device,
    )


def make_optimizer(stage: Stage, classifier: "keras.Model") -> "keras.optimizers.Optimizer":
    """A new optimizer; for `--find_lr` one whose learning rate can be set."""
    from carclf.model.optimizers import build_optimizer
    from carclf.model.unfreezing import learning_factors
    from carclf.training.growth import optimizer_step

    options = stage.options
    return build_optimizer(
        options.optimizer,
        schedule=options.learning_rate if options.find_lr else stage.schedule,
        amsgrad=options.amsgrad,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
        ema_momentum=options.ema_momentum,
        accumulation_steps=options.accumulation_steps,
        factors=learning_factors(
            classifier,
            unfreeze=options.unfreeze,
            step_at=functools.partial(optimizer_step, stage.phases),
            lr_decay_by_block=options.lr_decay_by_block,
        ),
        replicas=stage.device.replicas,
    )


def describe_plan(stage: Stage) -> None:
    """Prints what a practitioner checks before a long run."""
    from carclf.model.backbones import find_backbone
    from carclf.model.separable import describe_method
    from carclf.model.unfreezing import describe_opening, parse_unfreeze

    options, phase = stage.options, stage.phase
    print(
        f"Data: {stage.train_photos} training photos, {phase.steps_per_epoch} steps of {phase.batch_size} an epoch "
        f"({phase.batch_size // stage.device.replicas} a device); {stage.val_photos} validation photos "
        f"(fold {options.val_fold})."
    )
    if len(stage.phases) > 1:
        print(*(f"Growing: {phase}." for phase in stage.phases), sep="\n")
    if opening := describe_opening(
        parse_unfreeze(options.unfreeze, find_backbone(options.backbone)), epochs=options.epochs
    ):
        print(f"{opening[0].upper()}{opening[1:]}.")
    if said := describe_method(stage.method, turning=stage.recipe.turning):
        print(said)
    print(f"Learning rate: {options.schedule} from {stage.schedule.at(0):.3g}.", flush=True)


def check_input(stage: Stage, classifier: "keras.Model") -> None:
    """Measures what reaches the backbone on the first validation photos.

    Raises:
      UserError: it is not what the backbone's weights were trained with.
    """
    import keras

    from carclf.data.pipeline import validation_batches
    from carclf.model.backbones import find_backbone
    from carclf.model.render import Render
    from carclf.recipe import parse_recipe
    from carclf.training.input_contract import PHOTOS, check_input_contract

    (batch,) = validation_batches(
        manifest=stage.manifest,
        folds=[stage.options.val_fold],
        framing=stage.framing,
        batch_size=PHOTOS,
        recipe=parse_recipe(""),
    ).take(1)
    layer = Render(
        image_size=stage.framing.image_size, fill=stage.options.fill, stretch=stage.options.stretch, jit=False
    )
    images = keras.ops.convert_to_numpy(layer(batch[0]))
    check_input_contract(classifier, find_backbone(stage.options.backbone), images)


def find_learning_rate(stage: Stage, model: "keras.Model") -> None:
    """Writes find_lr.csv and find_lr.png into the run's folder, and prints what they suggest."""
    from carclf.report.pictures import draw_learning_rates
    from carclf.training.learning_rate_sweep import STEPS, sweep_learning_rates

    data = training_data(stage, cache=None)
    sweep = sweep_learning_rates(model, data.repeat(), steps=STEPS)
    suggestion = sweep.suggestion()
    stage.directory.mkdir(parents=True, exist_ok=True)
    table, picture = stage.directory / "find_lr.csv", stage.directory / "find_lr.png"
    sweep.frame().to_csv(table, index=False, lineterminator="\n")
    draw_learning_rates(sweep.frame(), suggestion=suggestion, path=picture, title=f"Loss by learning rate: {picture}")
    print(f"{len(sweep.loss)} steps: {table}, {picture}")
    if suggestion is None:
        print("No learning rate is suggested: the loss never fell.")
    else:
        print(f"Suggested: --learning_rate={suggestion:.2g}, where the loss falls most steeply.")


def begin_run(stage: Stage, *, start: "Start") -> runs.Run:
    """The run, after writing its stage.json and augmentation.png, or as it is when it goes on."""
    from carclf.report.augmentation import Look, draw_recipe
    from carclf.training.description import describe_stage
    from carclf.training.resume import Start, check_precision, prepare_folder

    options, manifest, parent = stage.options, stage.manifest, stage.parent
    prepare_folder(stage.directory, start=start, options=options)
    if start is Start.GO_ON:
        run = runs.load_run(stage.directory)
        check_precision(run, stage.device)
        return run
    content = describe_stage(
        name=runs.run_name(stage.directory),
        options=config.to_dict(options),
        device=stage.device,
        data={
            "directory": str(manifest.directory),
            "fingerprint": manifest.fingerprint,
            "class_names": list(manifest.class_names),
            "class_map_sha256": manifest.class_map_sha256,
            "max_side": manifest.max_side,
            "train_photos": stage.train_photos,
            "val_photos": stage.val_photos,
            "label_patch": None
            if manifest.label_patch is None
            else {"sha256": manifest.label_patch.sha256, "photos": len(manifest.label_patch.labels)},
        },
        phases=stage.phases,
        parent=None
        if parent is None
        else {
            "run": str(parent.directory),
            "stage": parent.stage["stage"],
            "val_accuracy": (parent.metrics or {})["val_accuracy"],
        },
    )
    draw_recipe(
        manifest,
        folds=stage.train_folds,
        recipe=stage.recipe,
        look=Look(
            image_size=stage.phases[-1].image_size,
            fit=options.fit,
            fill=options.fill,
            seed=options.seed,
            stretch=options.stretch,
        ),
        path=stage.directory / "augmentation.png",
    )
    if manifest.label_patch:
        runs.write_atomically(stage.directory / runs.APPLIED_LABELS, manifest.label_patch.content)
    runs.write_json(stage.directory / runs.STAGE_FILE, content)  # last: a run that has it goes on with what is there
    return runs.load_run(stage.directory)


def fit(
    stage: Stage,
    *,
    model: "keras.Model",
    classifier: "keras.Model",
    cache: "DecodedCache | None",
    resume: bool,
    preemption: "Preemption",
    handed_over: "HandOver | None" = None,
) -> "StageResult":
    """How the training of the phase ended, which goes on from what the one before has handed over."""
    from carclf.data.pipeline import training_rows
    from carclf.data.waiting import InputClock
    from carclf.training.fitting import Saving, fit_stage, setting_of
    from carclf.training.resume import identity_of

    options, phase = stage.options, stage.phase
    started = time.perf_counter()
    if options.feature_views:
        model, train_data_from, val_data = feature_data(stage, classifier, cache=cache)
    else:
        train_data_from = functools.partial(training_data, stage, cache=cache)
        val_data = validation_data(stage, cache=cache)
    feature_seconds = time.perf_counter() - started if options.feature_views else 0.0
    clock = InputClock()
    result = fit_stage(
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
        handed_over=handed_over,
        tensorboard=options.tensorboard,
        profile_steps=config.parse_profile_steps(options.profile_steps),
        verbose=1 if sys.stdout.isatty() else 2,
    )
    if options.swa_epochs and phase == stage.phases[-1]:
        result = average_last_epochs(
            stage, model=model, classifier=classifier, batches=train_data_from(), val_data=val_data, result=result
        )
    return dataclasses.replace(result, train_seconds=result.train_seconds + feature_seconds)


def training_data(stage: Stage, *, cache: "DecodedCache | None", start_step: int = 0) -> "tf.data.Dataset":
    """The batches of the stage from a step on."""
    from carclf.data.pipeline import Share, training_batches

    options = stage.options
    return training_batches(
        manifest=stage.manifest,
        folds=stage.train_folds,
        framing=stage.framing,
        recipe=stage.recipe,
        batch_size=stage.phase.batch_size,
        epochs=stage.phase.end_epoch,
        seed=options.seed,
        start_step=start_step,
        steps_per_epoch=stage.phase.steps_per_epoch,
        label_smoothing=options.label_smoothing,
        class_weights=stage.class_weights,
        strength=stage.phase.strength,
        cache=cache,
        share=Share(options.host, options.num_hosts),
    )


def validation_data(stage: Stage, *, cache: "DecodedCache | None") -> "tf.data.Dataset":
    """The fold held out."""
    from carclf.data.pipeline import Share, validation_batches
    from carclf.recipe import parse_recipe

    return validation_batches(
        manifest=stage.manifest,
        folds=[stage.options.val_fold],
        framing=stage.framing,
        recipe=stage.recipe if stage.options.augment_validation else parse_recipe(""),
        batch_size=stage.phase.batch_size,
        cache=cache,
        share=Share(stage.options.host, stage.options.num_hosts),
    )


def feature_data(
    stage: Stage, classifier: "keras.Model", *, cache: "DecodedCache | None"
) -> tuple["keras.Model", "Callable[..., tf.data.Dataset]", "tf.data.Dataset"]:
    """The head alone, ready for `fit`, and what the backbone makes of the photos for it: training and validation."""
    from carclf.data.features import feature_batches, ordered_feature_batches
    from carclf.data.pipeline import training_shards
    from carclf.model.losses import build_loss
    from carclf.training.features import build_head_model, compute_features
    from carclf.training.fitting import compile_model, telling_failures

    options, manifest = stage.options, stage.manifest
    train_shards = training_shards(manifest, stage.train_folds)
    val_shards = manifest.shards_of("train", folds=[options.val_fold])
    with stage.device.scope(), telling_failures(stage.phase):
        training, validation = compute_features(
            classifier,
            manifest=manifest,
            train_shards=train_shards,
            val_shards=val_shards,
            framing=stage.framing,
            fill=options.fill,
            stretch=options.stretch,
            method=stage.method,
            recipe=stage.recipe,
            views=options.feature_views,
            seed=options.seed,
            batch_size=options.batch_size,
            jit=stage.device.jit,
            directory=stage.directory / runs.FEATURES_FOLDER,
            cache=cache,
        )
        head = build_head_model(classifier)
        loss = build_loss(options.loss, focal_gamma=options.focal_gamma)
        compile_model(head, optimizer=make_optimizer(stage, classifier), loss=loss, device=stage.device)
    train_data_from = functools.partial(
        feature_batches,
        training,
        manifest=manifest,
        shards=train_shards,
        batch_size=options.batch_size,
        epochs=options.epochs,
        seed=options.seed,
        steps_per_epoch=stage.phase.steps_per_epoch,
        label_smoothing=options.label_smoothing,
        class_weights=stage.class_weights,
    )
    val_data = ordered_feature_batches(validation, manifest=manifest, shards=val_shards, batch_size=options.batch_size)
    return head, train_data_from, val_data


def class_weights(text: str, *, manifest: "Manifest", train_folds: Sequence[int]) -> "np.ndarray":
    """float64 [K], what `--class_weights=TEXT` asks for."""
    import numpy as np

    from carclf.data.index import read_index, select
    from carclf.data.pipeline import training_shards
    from carclf.model.class_weights import parse_class_weights

    index = read_index(manifest)
    labels = index[select(manifest, index, training_shards(manifest, train_folds))]["label"]
    counts = np.bincount(labels, minlength=manifest.class_count)
    return parse_class_weights(text, manifest.class_names, counts=counts.tolist())


def decoded_cache(stage: Stage) -> "DecodedCache | None":
    """The cache that `--cache` asks for, if there is room for the photos of training and validation."""
    if stage.options.cache == "none":
        return None
    from carclf.data.cache import open_cache
    from carclf.data.index import read_index, select
    from carclf.data.pipeline import training_shards

    index = read_index(stage.manifest)
    return open_cache(
        stage.options.cache,
        manifest=stage.manifest,
        index=index,
        wanted=select(stage.manifest, index, training_shards(stage.manifest, stage.manifest.folds)),
        canvas_size=stage.framing.canvas_size,
    )


def average_last_epochs(
    stage: Stage,
    *,
    model: "keras.Model",
    classifier: "keras.Model",
    batches: "tf.data.Dataset",
    val_data: "tf.data.Dataset",
    result: "StageResult",
) -> "StageResult":
    """The result, after making the mean of the last epochs' weights the run's best where it validates no worse."""
    from carclf.training.epoch_average import adopt_if_better, average_epochs, kept_files

    count = stage.options.swa_epochs
    files = kept_files(stage.directory, epochs=stage.options.epochs, count=count)
    if not files:
        print(f"Average: the run stopped before the last {count} epochs, so nothing is averaged.")
        return result
    with stage.device.scope():
        average_epochs(model, classifier, files=files, batches=batches, jit=stage.device.jit)
        accuracy = adopt_if_better(
            model,
            classifier,
            val_data=val_data,
            best_accuracy=result.best_accuracy,
            directory=stage.directory,
        )
    if accuracy is None:
        print(f"Average of the last {count} epochs: val_accuracy does not reach that of the best epoch, which stays.")
        return result
    print(f"Average of the last {count} epochs: val_accuracy {accuracy:.4f}, and is kept.")
    return dataclasses.replace(result, best_epoch=None, best_accuracy=accuracy)


def finish_run(
    stage: Stage, *, run: runs.Run, model: "keras.Model", classifier: "keras.Model", result: "StageResult"
) -> None:
    """Evaluates the best weights and writes the run's last files; metrics.json marks it finished."""
    from carclf.inference.evaluation import evaluate_predictions
    from carclf.inference.predictor import predict_photos
    from carclf.model.weights import load_weights_file
    from carclf.recipe import parse_views
    from carclf.report.run_files import CLEAN, write_evaluation
    from carclf.training.callbacks import timing_table

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


if __name__ == "__main__":
    run_door(main, TrainOptions, description=DESCRIPTION)
