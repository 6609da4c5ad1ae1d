"""`python -m carclf.train`: trains one stage or several, each from the best weights of the previous one."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from carclf import advice, lease, preemption, runs, stage_lists, storage
from carclf.children import run_child
from carclf.command import expand_flagfiles, given_names, parse_command_line, run_command
from carclf.data.label_patch import apply_label_patch
from carclf.data.manifest import load_manifest
from carclf.data.pseudo_labels import apply_pseudo_labels
from carclf.device import Hosts, select_device
from carclf.errors import Preempted, UserError
from carclf.flags import options_of, refuse_idle
from carclf.framing import Rendering
from carclf.model.backbones import find_backbone
from carclf.model.hub_families import HubBackbone
from carclf.model.hub_preset import read_preset
from carclf.runs.parent import check_chain, describe_changes
from carclf.storage import copies
from carclf.train_options import ALL_FOLDS, TrainOptions
from carclf.wording import counted

if TYPE_CHECKING:
    from carclf.data.manifest import Manifest
    from carclf.runs.opening import OpenRun
    from carclf.training.fit_plan import FitResult
    from carclf.training.stage import Stage
    from carclf.training.trainer import Trainer

DESCRIPTION = """Trains a stage, or several with --stages, on the shards that carclf.make_tfrecords wrote.

--flagfile=PATH reads options from a file, --stage=NAME from an installed stage; options after them override those.
--plan --budget=9h times this machine and writes stages that fit into the budget.
Example: python -m carclf.train --flagfile=stages/b3_512.flags --data=data/cars"""


def main(options: TrainOptions) -> int:
    """Trains and returns the exit code, which is also 0 if there was nothing left to do; `--plan` only plans."""
    if options.stages and not options.plan:
        return train_stages(options.stages, sys.argv[1:])
    check_files(options)
    if options.plan:
        from carclf.planning.planner import make_plan

        make_plan(options, sys.argv[1:])
        return 0
    if options.val_fold == ALL_FOLDS:
        return train_all_folds(options, sys.argv[1:])
    return train_one_stage(options)


def check_files(options: TrainOptions) -> None:
    """Checks that the options name a data set, and that all files they name exist.

    Raises:
      UserError: no data set is named, weights or a label patch are missing, or a preset is not one of the backbone.
    """
    if not options.data:
        raise UserError(
            "--data is missing: give the folder that python -m carclf.make_tfrecords wrote, such as --data=data/cars."
        )

    from_file = options.weights not in options_of(TrainOptions)["weights"].choices and not options.init_from
    row = find_backbone(options.backbone)
    if from_file and isinstance(row, HubBackbone):
        read_preset(Path(options.weights).expanduser(), row)
        from_file = False
    names = ["label_patch", "pseudo_labels"]
    if from_file:
        names.append("weights")
    for name in names:
        if (path := getattr(options, name)) and not copies.local_path(path).is_file():
            raise UserError(f"--{name}={path} is not there: give the path of an existing file.")


def train_stages(stages: str, arguments: Sequence[str]) -> int:
    """Trains each stage in its own process, until one fails; returns the exit code of that one, or 0.

    A process of its own gives each stage its own memory.

    Args:
      stages: a list as for `carclf.stage_lists.listed_stages`.
      arguments: the command line; everything in it but `--stages` overrides the options of every stage.

    Raises:
      UserError: one of the stages is known to fail; none was started.
    """
    given = stage_lists.without_stages(expand_flagfiles(arguments))
    commands: dict[str, list[str]] = {}
    for one in stage_lists.listed_stages(stages):
        command = [f"--flagfile={one.path}", *one.shared, *given]
        known = commands.setdefault(one.name, command)
        if known != command:  # by another schedule, with other options
            commands[f"{one.name} ({len(commands) + 1})"] = command
    planned: dict[str, TrainOptions] = {}
    for stage, command in commands.items():
        try:
            if options := parse_command_line(TrainOptions, command, description=DESCRIPTION):
                check_files(options)
                planned[stage] = options
        except UserError as error:
            raise UserError(f"Stage {stage}: {error}") from None
    if planned:
        refuse_idle(list(planned.values()), given=given_names(TrainOptions, arguments))
    check_chain(planned)
    return train_each("stage", commands)


def train_all_folds(options: TrainOptions, arguments: Sequence[str]) -> int:
    """Trains the stage once for each fold, in RUN/fold0 and so on, until one fails; returns its exit code, or 0.

    If the parent was trained in the same way, each fold starts from the parent's run of the same fold.

    Args:
      options: from the command line.
      arguments: the command line itself.

    Raises:
      UserError: the run's folder holds the run of a single fold.
    """
    place = _place(runs.run_place(options.run or "run", runs=options.runs))
    if storage.size_bytes(storage.join(place, runs.STAGE_FILE)) is not None:
        raise UserError(f"The folder {place} holds a run of one fold: choose another --run for all folds.")
    parent = _place(runs.run_place(options.init_from, runs=options.runs)) if options.init_from else ""
    has_folds = bool(parent) and any(map(runs.FOLD_FOLDER.fullmatch, storage.names_in(parent)))
    shared = expand_flagfiles(arguments)
    commands = {}
    for fold in load_manifest(options.data).folds:
        name = runs.fold_path(Path(), fold).name
        own = [f"--val_fold={fold}", f"--run={storage.join(place, name)}"]
        if has_folds:
            own.append(f"--init_from={storage.join(parent, name)}")
        if options.resume_from:
            lost = storage.join(_place(options.resume_from), name)
            own.append(f"--resume_from={lost if storage.is_folder(lost) else ''}")
        commands[str(fold)] = [*shared, *own]
    code = train_each("fold", commands)
    if not code and not options.find_lr:
        print(*advice.after_all_folds(copies.local_path(place, fetched=False), options.data), sep="\n")
    return code


def _place(path: str) -> str:
    """Returns a URL as it is, for the process that makes its own working copy; a local path with ~ expanded."""
    return path if storage.is_remote(path) else str(Path(path).expanduser())


def train_each(what: str, commands: Mapping[str, Sequence[str]]) -> int:
    """Runs each command in its own process, with its own memory, until one fails; returns its exit code, or 0.

    Args:
      what: 'stage' or 'fold'.
      commands: name of the stage or fold → the arguments of `python -m carclf.train`.
    """
    for number, (name, arguments) in enumerate(commands.items(), start=1):
        print(f"{what.capitalize()} {number} of {len(commands)}: {name}", flush=True)
        code = run_child([sys.executable, "-m", "carclf.train", *arguments], what=what)
        if code:
            print(
                f"The {what} {name} ended with exit code {code}: the {what}s after it were not started.",
                file=sys.stderr,
            )
            return code if code > 0 else 1
    return 0


def train_one_stage(options: TrainOptions) -> int:
    """Trains the stage that the options describe, unless it is already finished, and returns 0.

    Raises:
      Preempted: SIGTERM has arrived; the message says how to resume.
      KeyboardInterrupt: as for `Preempted`.
    """
    place = runs.run_place(options.run or "run", runs=options.runs)
    in_a_store = storage.is_remote(place) and options.host == 0
    # Nobody else may write there from before it is fetched.
    with lease.holding(place, doing="training in", option="--run") if in_a_store else contextlib.nullcontext():
        return _train_in(runs.run_path(options.run or "run", runs=options.runs, whole=True), options)


def _train_in(directory: Path, options: TrainOptions) -> int:
    from carclf.runs.opening import describe_resume
    from carclf.training.hosts import folder_of_host

    if runs.fold_paths(directory):
        raise UserError(f"The folder {directory} holds a run for each fold: choose another --run for a single one.")
    if not options.find_lr and (directory / runs.METRICS_FILE).is_file() and not options.overwrite:
        score = runs.load_run(directory).score
        print(f"The run {directory} is finished ({score}): --overwrite trains it again.")
        return 0
    try:
        with (
            preemption.watching(lambda: describe_resume(directory)),
            folder_of_host(options, directory) as (mine, folder),
        ):
            train_run(mine, directory=folder)
    except (Preempted, KeyboardInterrupt) as error:
        name = preemption.cause() if isinstance(error, Preempted) else "Ctrl-C"
        raise type(error)(f"Stopped by {name}: {describe_resume(directory)}.") from None
    return 0


def train_run(options: TrainOptions, *, directory: Path) -> None:
    """Opens the run's folder, trains, and closes it with the scores of the best weights; `--find_lr` only measures."""
    from carclf.metrics import choose_metric
    from carclf.runs.opening import check_precision, open_run

    preemption.check()
    manifest = apply_label_patch(options.label_patch, load_manifest(options.data))
    manifest = apply_pseudo_labels(options.pseudo_labels, manifest, val_fold=options.val_fold)
    for line in label_notes(options, manifest):
        print(line)
    choose_metric(options.metric, manifest.form)  # refuses a wrong one now, before the device is chosen
    with open_run(directory, options=options, data=manifest) as opened:
        if opened.parent:
            print(describe_changes(opened.parent, options))
        if opened.warning:
            print(f"Warning: {opened.warning}", file=sys.stderr)
        device = select_device(
            options.device,
            precision=options.precision,
            cpu_devices=options.cpu_devices,
            hosts=Hosts(count=options.num_hosts, this=options.host, coordinator=options.coordinator),
            onednn=opened.onednn,
        )
        print(device.describe(), flush=True)
        check_precision(opened, device.precision)
        preemption.check()

        # Keras may be imported only from here on, after its backend was chosen.
        from carclf.training.stage import describe_plan, plan_stage
        from carclf.training.trainer import Trainer

        stage = plan_stage(opened.options, opened=opened, manifest=manifest, device=device)
        describe_plan(stage)
        trainer = Trainer(stage)
        if options.find_lr:
            find_learning_rate(trainer)
            return
        run = begin_run(stage, opened)
        preemption.check()
        fit = trainer.train(opened)
        preemption.check()
        finish_run(trainer, run=run, fit=fit)


def label_notes(options: TrainOptions, manifest: "Manifest") -> list[str]:
    """Returns a line about the label patch, and one or more about pseudo-labels."""
    lines = []
    if manifest.label_patch:
        lines.append(f"Labels: {len(manifest.label_patch.labels)} corrected by {options.label_patch}.")
    if pseudo := manifest.pseudo_labels:
        lines.append(f"Pseudo-labels: {len(pseudo.labels)} test photos are trained on, too ({options.pseudo_labels}).")
        if pseudo.copies:
            left_out = counted(pseudo.copies, "more is left out, a copy", "more are left out, copies")
            lines.append(f"Note: {left_out} of held-out photos (fold {options.val_fold}).")
        if pseudo.teacher_folds != (options.val_fold,):
            lines.append(
                f"Note: runs that predicted them have trained on photos of fold {options.val_fold}, so the validation "
                "accuracy may be somewhat too good."
            )
    return lines


def find_learning_rate(trainer: "Trainer") -> None:
    """Writes find_lr.csv and find_lr.png into the run's folder, and prints the rate that they suggest."""
    from carclf.report.learning_rates import write_learning_rates

    sweep = trainer.sweep_learning_rates()
    write_learning_rates(sweep.frame(), suggestion=sweep.suggestion(), directory=trainer.stage.directory)


def begin_run(stage: "Stage", opened: "OpenRun") -> runs.Run:
    """Writes augmentation.png and stage.json and returns the run; a resumed run is returned as it was started."""
    from carclf.report import augmentation
    from carclf.runs import opening
    from carclf.training.description import describe_stage

    opening.prepare_folder(opened)
    if opened.start is opening.Start.RESUME:
        return runs.load_run(opened.directory)
    options = stage.options
    settings = augmentation.DrawSettings(
        image_size=stage.phases[-1].image_size,
        fit=options.fit,
        rendering=Rendering(fill=options.fill, stretch=options.stretch),
        seed=options.seed,
    )
    picture = opened.directory / "augmentation.png"
    augmentation.draw_recipe(
        stage.manifest, folds=stage.train_folds, recipe=stage.recipe, settings=settings, path=picture
    )
    return opening.begin_run(opened.directory, describe_stage(stage), data=stage.manifest)


def finish_run(trainer: "Trainer", *, run: runs.Run, fit: "FitResult") -> None:
    """Evaluates the best weights, and writes the run's report and, last, its metrics.json."""
    from carclf.inference.dataset_predictions import predict_split
    from carclf.inference.evaluation import evaluate_predictions
    from carclf.recipe import parse_views
    from carclf.report.run_files import write_report
    from carclf.runs.closing import CLEAN, close_run, with_evaluation
    from carclf.training.callbacks import timing_table

    stage, options = trainer.stage, trainer.stage.options
    with stage.device.scope():
        predictions = predict_split(
            photo_classifier=trainer.model,
            framing=stage.framing,
            manifest=stage.manifest,
            split="train",
            folds=[options.val_fold],
            views=parse_views(CLEAN),
            batch_size=options.batch_size,
            seed=options.seed,
            jit=stage.device.jit,
        )
    evaluation = evaluate_predictions(predictions, stage.manifest, metric=stage.metric)
    preemption.check()
    run = with_evaluation(run, evaluation.to_dict(), views=CLEAN, fit=fit.metrics())
    page = write_report(run, evaluation=evaluation, manifest=stage.manifest, views=CLEAN, runs_folder=options.runs)
    preemption.check()
    close_run(run)
    print(timing_table(fit.history))
    kept = "best before the first epoch" if fit.best_epoch == 0 else f"best at epoch {fit.best_epoch}"
    kept = f"of the last {options.swa_epochs} averaged" if fit.best_epoch is None else kept
    if evaluation.headline():
        print(f"{evaluation.headline()} on {evaluation.photos} held-out photos.")
    print(f"Validation accuracy {evaluation.summary()}, {kept}.")
    print(f"Report: {page}")
    has_test_photos = stage.manifest.photos("test") > 0
    print(*advice.after_training(run.directory, options.data, has_test_photos=has_test_photos), sep="\n")


if __name__ == "__main__":
    run_command(main, TrainOptions, description=DESCRIPTION)
