"""`python -m carclf.train`: trains one stage, or several, each from the best weights of the one before."""

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from carclf import config, runs
from carclf.config import TrainOptions
from carclf.door import expand_flagfiles, find_stage, run_door
from carclf.errors import Preempted, UserError

if TYPE_CHECKING:
    import keras

    from carclf.data.cache import DecodedCache
    from carclf.data.manifest import Manifest
    from carclf.data.pipeline import Framing
    from carclf.model.schedules import Schedule
    from carclf.recipe import Recipe
    from carclf.training.device import Device
    from carclf.training.preemption import Preemption
    from carclf.training.resume import Start
    from carclf.training.stage import StageResult

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
    return train_one_stage(options)


def train_stages(stages: Sequence[str], arguments: Sequence[str]) -> int:
    """The exit code of the first stage that fails, or 0. Each stage is a process of its own, with its own memory.

    Args:
      stages: names of flag files.
      arguments: the command line; what it holds besides `--stages` overrides the options of every stage.

    Raises:
      UserError: a name has no flag file.
    """
    from carclf.training.preemption import passing_on_sigterm

    paths = [find_stage(stage) for stage in stages]
    shared = _without_stages(expand_flagfiles(arguments))
    with passing_on_sigterm() as run_process:
        for number, (stage, path) in enumerate(zip(stages, paths, strict=True), start=1):
            print(f"Stage {number} of {len(stages)}: {stage}", flush=True)
            code = run_process([sys.executable, "-m", "carclf.train", f"--flagfile={path}", *shared])
            if code:
                print(
                    f"The stage {stage} ended with exit code {code}: the stages after it were not started.",
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
    from carclf.training.preemption import Preemption
    from carclf.training.resume import where_it_stands

    directory = runs.run_path(options.run or "run", runs=options.runs)
    if (directory / runs.METRICS_FILE).is_file() and not options.overwrite:
        accuracy = (runs.load_run(directory).metrics or {})["val_accuracy"]
        print(f"The run {directory} is finished (val_accuracy {accuracy:.4f}): --overwrite trains it again.")
        return 0
    try:
        with Preemption().watching() as preemption:
            train_run(options, directory=directory, preemption=preemption)
    except (Preempted, KeyboardInterrupt) as error:
        name = "SIGTERM" if isinstance(error, Preempted) else "Ctrl-C"
        raise type(error)(f"Stopped by {name}: {where_it_stands(directory)}.") from None
    return 0


def train_run(options: TrainOptions, *, directory: Path, preemption: "Preemption") -> None:
    """Trains or goes on training, evaluates the best weights, and writes the run's files."""
    from carclf.data.manifest import load_manifest
    from carclf.training.lineage import check_split, load_parent
    from carclf.training.resume import decide_start, find_parent

    manifest = load_manifest(options.data)
    start = decide_start(directory, options=options, manifest=manifest)
    parent = None
    if options.init_from:
        parent = load_parent(
            find_parent(options), data=options.data, backbone=options.backbone, head_width=options.head_width
        )
    check_split(manifest, val_fold=options.val_fold, parent=parent)

    from carclf.training.device import select_device

    device = select_device(options.device, precision=options.precision, cpu_devices=options.cpu_devices)
    print(device.describe(), flush=True)

    # Keras is imported only from here on, when its backend has been chosen.
    plan = plan_stage(options, manifest=manifest, replicas=device.replicas)
    with device.scope():
        classifier = make_classifier(options, class_count=manifest.class_count, parent=parent)
        model = compile_model(options, classifier=classifier, plan=plan, device=device)
    describe_plan(options, plan=plan, replicas=device.replicas)
    run = begin_run(
        options, directory=directory, start=start, manifest=manifest, plan=plan, device=device, parent=parent
    )
    result = fit(
        options,
        model=model,
        classifier=classifier,
        run=run,
        start=start,
        manifest=manifest,
        plan=plan,
        device=device,
        preemption=preemption,
    )
    finish_run(
        options, model=model, classifier=classifier, run=run, result=result, manifest=manifest, plan=plan, device=device
    )


@dataclasses.dataclass(frozen=True)
class Plan:
    """What follows from options and data set together.

    Attributes:
      framing: image size, canvas and fit.
      recipe: the augmentation.
      train_folds: every fold but the one held out.
      train_photos: in them, external photos included.
      val_photos: in the fold held out.
      steps_per_epoch: full batches.
      schedule: learning rate by step.
    """

    framing: "Framing"
    recipe: "Recipe"
    train_folds: list[int]
    train_photos: int
    val_photos: int
    steps_per_epoch: int
    schedule: "Schedule"


def plan_stage(options: TrainOptions, *, manifest: "Manifest", replicas: int) -> Plan:
    """The plan of a stage.

    Raises:
      UserError: an option that does not fit the data set or the device.
    """
    from carclf.data.pipeline import Framing, canvas_side
    from carclf.model.schedules import build_schedule
    from carclf.recipe import parse_recipe
    from carclf.training.lineage import check_batch

    image_size = config.parse_image_size(options.image_size)
    recipe = parse_recipe(options.augment)
    train_folds = [fold for fold in manifest.folds if fold != options.val_fold]
    train_photos = manifest.photos("train", train_folds) + manifest.photos("extra")
    steps = options.steps or train_photos // options.batch_size
    check_batch(
        batch_size=options.batch_size, replicas=replicas, mixes=recipe.mixes, steps=steps, train_photos=train_photos
    )
    return Plan(
        framing=Framing(
            image_size=image_size,
            canvas_size=canvas_side(image_size=image_size, max_side=manifest.max_side),
            fit=options.fit,
        ),
        recipe=recipe,
        train_folds=train_folds,
        train_photos=train_photos,
        val_photos=manifest.photos("train", [options.val_fold]),
        steps_per_epoch=steps,
        schedule=build_schedule(
            options.schedule,
            learning_rate=options.learning_rate,
            steps_per_epoch=steps,
            epochs=options.epochs,
            warmup_epochs=options.warmup_epochs,
            decay=options.lr_decay,
        ),
    )


def make_classifier(options: TrainOptions, *, class_count: int, parent: runs.Run | None) -> "keras.Model":
    """The classifier with its first weights: the parent's best, or the backbone's own."""
    import keras

    from carclf.model.classifier import build_classifier, set_trainable
    from carclf.model.weights import load_weights_file

    keras.utils.set_random_seed(options.seed)
    classifier = build_classifier(
        backbone=options.backbone,
        weights="none" if parent else options.weights,
        class_count=class_count,
        image_size=config.parse_image_size(options.image_size),
        head_width=options.head_width,
        dropout=options.dropout,
        l2=options.l2,
    )
    if parent:
        load_weights_file(classifier, parent.best_weights, model_name=f"the classifier of {parent.directory}")
    summary = set_trainable(classifier, unfreeze=options.unfreeze, train_batch_norm=options.train_batch_norm)
    print(f"Model: {options.backbone} at {options.image_size} px, {summary}.")
    return classifier


def compile_model(options: TrainOptions, *, classifier: "keras.Model", plan: Plan, device: "Device") -> "keras.Model":
    """The photo classifier, ready for `fit` on this device."""
    from carclf.model.optimizers import build_optimizer
    from carclf.training.stage import build_training_model

    optimizer = build_optimizer(
        options.optimizer,
        schedule=plan.schedule,
        amsgrad=options.amsgrad,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
        ema_momentum=options.ema_momentum,
    )
    return build_training_model(
        classifier,
        framing=plan.framing,
        fill=options.fill,
        mixing=plan.recipe.mixes,
        erasing=plan.recipe.erases,
        optimizer=optimizer,
        device=device,
    )


def describe_plan(options: TrainOptions, *, plan: Plan, replicas: int) -> None:
    """Prints what a practitioner checks before a long run."""
    print(
        f"Data: {plan.train_photos} training photos, {plan.steps_per_epoch} steps of {options.batch_size} an epoch "
        f"({options.batch_size // replicas} a device); {plan.val_photos} validation photos (fold {options.val_fold})."
    )
    print(f"Learning rate: {options.schedule} from {plan.schedule.at(0):.3g}.", flush=True)


def begin_run(
    options: TrainOptions,
    *,
    directory: Path,
    start: "Start",
    manifest: "Manifest",
    plan: Plan,
    device: "Device",
    parent: runs.Run | None,
) -> runs.Run:
    """The run, after writing its stage.json and augmentation.png, or as it is when it goes on."""
    from carclf.report.augmentation import Look, draw_recipe
    from carclf.training.description import describe_stage
    from carclf.training.resume import Start, check_precision, prepare_folder

    prepare_folder(directory, start=start, options=options)
    if start is Start.GO_ON:
        run = runs.load_run(directory)
        check_precision(run, device)
        return run
    content = describe_stage(
        name=directory.name,
        options=config.to_dict(options),
        device=device,
        data={
            "directory": str(manifest.directory),
            "fingerprint": manifest.fingerprint,
            "class_names": list(manifest.class_names),
            "class_map_sha256": manifest.class_map_sha256,
            "max_side": manifest.max_side,
            "train_photos": plan.train_photos,
            "val_photos": plan.val_photos,
        },
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
        folds=plan.train_folds,
        recipe=plan.recipe,
        look=Look(image_size=plan.framing.image_size, fit=options.fit, fill=options.fill, seed=options.seed),
        path=directory / "augmentation.png",
    )
    runs.write_json(directory / runs.STAGE_FILE, content)  # last: a run that has it goes on with what is there
    return runs.load_run(directory)


def fit(
    options: TrainOptions,
    *,
    model: "keras.Model",
    classifier: "keras.Model",
    run: runs.Run,
    start: "Start",
    manifest: "Manifest",
    plan: Plan,
    device: "Device",
    preemption: "Preemption",
) -> "StageResult":
    """How the training ended."""
    from carclf.data.pipeline import training_batches, training_rows, validation_batches
    from carclf.recipe import parse_recipe
    from carclf.training.resume import Start, identity_of
    from carclf.training.stage import Saving, fit_stage, setting_of

    cache = decoded_cache(options, manifest=manifest, plan=plan)
    train_data_from = functools.partial(
        training_batches,
        manifest=manifest,
        folds=plan.train_folds,
        framing=plan.framing,
        recipe=plan.recipe,
        batch_size=options.batch_size,
        epochs=options.epochs,
        seed=options.seed,
        steps_per_epoch=plan.steps_per_epoch,
        label_smoothing=options.label_smoothing,
        cache=cache,
    )
    val_data = validation_batches(
        manifest=manifest,
        folds=[options.val_fold],
        framing=plan.framing,
        recipe=parse_recipe(""),
        batch_size=options.batch_size,
        cache=cache,
    )
    return fit_stage(
        model,
        classifier=classifier,
        directory=run.directory,
        train_data_from=lambda step: train_data_from(start_step=step),
        val_data=val_data,
        epochs=options.epochs,
        steps_per_epoch=plan.steps_per_epoch,
        batch_size=options.batch_size,
        patience=options.patience,
        averaged=options.ema_momentum > 0,
        schedule=plan.schedule,
        rows_of_step=lambda step: training_rows(
            manifest=manifest,
            folds=plan.train_folds,
            batch_size=options.batch_size,
            seed=options.seed,
            step=step,
            steps_per_epoch=plan.steps_per_epoch,
        ),
        saving=Saving(
            identity=identity_of(options, manifest),
            every_steps=options.save_every,
            resume=start is not Start.ANEW,
            preemption=preemption,
            setting=setting_of(device),
        ),
        verbose=1 if sys.stdout.isatty() else 2,
    )


def decoded_cache(options: TrainOptions, *, manifest: "Manifest", plan: Plan) -> "DecodedCache | None":
    """The cache that `--cache` asks for, if there is room for the photos of training and validation."""
    if options.cache == "none":
        return None
    from carclf.data.cache import open_cache
    from carclf.data.index import read_index, select
    from carclf.data.pipeline import training_shards

    index = read_index(manifest)
    shards = training_shards(manifest, manifest.folds)
    return open_cache(
        options.cache,
        manifest=manifest,
        index=index,
        wanted=select(manifest, index, shards),
        canvas_size=plan.framing.canvas_size,
    )


def finish_run(
    options: TrainOptions,
    *,
    model: "keras.Model",
    classifier: "keras.Model",
    run: runs.Run,
    result: "StageResult",
    manifest: "Manifest",
    plan: Plan,
    device: "Device",
) -> None:
    """Evaluates the best weights and writes the run's last files; metrics.json marks it finished."""
    from carclf.inference.evaluation import evaluate_predictions
    from carclf.inference.predictor import predict_photos
    from carclf.model.weights import load_weights_file
    from carclf.recipe import parse_views
    from carclf.report.run_files import CLEAN, write_evaluation

    with device.scope():
        load_weights_file(classifier, run.best_weights, model_name="the classifier that wrote it")
        predictions = predict_photos(
            photo_classifier=model,
            framing=plan.framing,
            manifest=manifest,
            split="train",
            folds=[options.val_fold],
            views=parse_views(CLEAN),
            batch_size=options.batch_size,
            seed=options.seed,
            jit=device.jit,
        )
    evaluation = evaluate_predictions(predictions, manifest)
    page = write_evaluation(
        run,
        evaluation=evaluation,
        manifest=manifest,
        tta=CLEAN,
        runs_folder=options.runs,
        fit={
            "best_epoch": result.best_epoch,
            "epochs": len(result.history),
            "train_seconds": round(result.train_seconds, 3),
        },
    )
    print(f"Seconds: {result.train_seconds:.0f} in all, {result.train_seconds / len(result.history):.1f} an epoch.")
    print(f"Validation accuracy {evaluation.summary()}, best at epoch {result.best_epoch}.")
    print(f"Report: {page}")
    print(f"Next: python -m carclf.predict --run={run.directory} --data={options.data}")


if __name__ == "__main__":
    run_door(main, TrainOptions, description=DESCRIPTION)
