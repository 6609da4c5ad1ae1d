"""Values that are refused, and the values that the error asks for instead."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from texts import refused

from carclf import api
from carclf.averaging.methods import parse_alphas
from carclf.command import expand_flagfiles, parse_command_line
from carclf.convert.by_name import check_pattern
from carclf.convert.labels import name_classes
from carclf.convert.options import ConvertOptions, check_encoding, parse_split
from carclf.explore import ExploreOptions
from carclf.export import ExportOptions
from carclf.flags import Options, refuse_below_a_file, require_flags
from carclf.forms import Form
from carclf.forms.recognition import check_form
from carclf.framing import parse_image_size
from carclf.inference.decisions import check_decision, fit_decision, wanted_decision
from carclf.inference.ensemble import parse_run_weights
from carclf.metrics import find_metric
from carclf.metrics.table import check_metric, choose_metric
from carclf.model.backbones import check_image_sizes, find_backbone
from carclf.model.class_weights import check_class_weights, parse_class_weights
from carclf.model.classifier import build_classifier, set_trainable
from carclf.model.heads import find_head
from carclf.model.losses import build_loss
from carclf.model.optimizers import build_optimizer, check_amsgrad, scaled_learning_rate
from carclf.model.schedules import build_schedule
from carclf.model.separable import choose_method
from carclf.model.unfreezing import learning_factors, parse_unfreeze
from carclf.pack import PackOptions
from carclf.planning.budget import parse_budget
from carclf.planning.planner import given_options
from carclf.predict import PredictOptions
from carclf.probing.extractors import parse_extractors
from carclf.recipe import parse_recipe, parse_views
from carclf.recipe.chain import check_feature_views
from carclf.runs.parent import check_batch
from carclf.soup import SoupOptions
from carclf.storage import backend_of
from carclf.train import check_files
from carclf.train_options import TrainOptions, parse_profile_steps
from carclf.tune import TuneOptions
from carclf.tuning.outcome import check_output
from carclf.tuning.space import parse_space


class Case(NamedTuple):
    """A value that is refused by an error whose text begins so, and the one that this text asks for."""

    text: str
    take: Callable[..., Any]
    refused: Any
    told: Any


def given(options: type[Options], *always: str) -> Callable[[str], Any]:
    """Returns a function that takes flags, separated by spaces, as the command does."""
    return lambda flags: parse_command_line(options, [*always, *flags.split()], description="")


TRAIN = given(TrainOptions, "--data=d")
CONVERT = given(ConvertOptions)
PREDICT = given(PredictOptions, "--run=r")
TUNE = given(TuneOptions, "--data=d", "--output=o.flags", "--trials=1")
EXPLORE = given(ExploreOptions, "--data=d")
NAMES, COUNTS = ("car", "van"), (4, 4)
LABEL = Form(kind="label", header=("Id", "class"), answer_columns=("class",))
COLUMNS = Form(kind="probabilities", header=("Id", "car", "van"), answer_columns=("car", "van"), column_classes=NAMES)
RISING = {"learning_rate": 1e-3, "steps_per_epoch": 5, "epochs": 4}


def schedule(changes: dict[str, Any]) -> None:
    build_schedule(**{"name": "cosine", **RISING, **changes})


def space(text: str) -> None:
    parse_space(text, base=TrainOptions(), where="space.txt")


def searched(text: str) -> None:
    (TUNE if text.startswith("--") else space)(text)


def planned(flags: str) -> None:
    arguments = ["--plan", "--budget=1h", "--data=d", *flags.split()]
    given_options(arguments, parse_command_line(TrainOptions, arguments, description=""))


def batch(flags: tuple[int, int, bool]) -> None:
    batch_size, steps, mixes = flags
    photos = 24
    check_batch(
        batch_size=batch_size, replicas=2, mixes=mixes, steps=steps or photos // batch_size, train_photos=photos
    )


@functools.cache
def small() -> keras.Model:
    return build_classifier(backbone="tiny", weights="none", class_count=2, image_size=(32, 32))


def unfreeze(how: dict[str, Any]) -> None:
    set_trainable(small(), **{"unfreeze": "gradual(2)", "train_batch_norm": False, **how})


def learning(decay: float) -> None:
    learning_factors(small(), unfreeze="all", step_at=int, lr_decay_by_block=decay)


def classifier(changes: dict[str, Any]) -> None:
    build_classifier(**{"backbone": "tiny", "weights": "none", "class_count": 2, "image_size": (32, 32), **changes})


def offsets(photos: int, folds: int) -> None:
    probabilities = np.full((photos, 2), 0.5)
    labels = np.arange(photos) % 2
    fit_decision("offsets", probabilities, labels, metric=find_metric("macro_f1"), folds=folds)


def decided(asked: tuple[str, str]) -> None:
    decision, metric = asked
    if decision:
        wanted_decision(decision, metric=find_metric(metric), form=LABEL)


CASES = [
    # Recipes and views
    Case("recipe/grammar.py: … has an unmatched parenthesis", parse_recipe, "rotate(10", "rotate(10)"),
    Case("recipe/grammar.py: … is not an operation", parse_recipe, "flip,rotate(10)", "flip|rotate(10)"),
    Case("recipe/grammar.py: … has a bare argument", parse_recipe, "erase(low=0.1,0.3)", "erase(low=0.1,high=0.3)"),
    Case("recipe/grammar.py: … has an empty part", parse_recipe, "flip||vflip", "flip|vflip"),
    Case("recipe/grammar.py: there is no … …… known are", parse_recipe, "rotat(10)", "rotate(10)"),
    Case("recipe/operation.py: … has … arguments", parse_recipe, "rotate(1,2,3)", "rotate(1,p=1)"),
    Case("recipe/operation.py: … has an unknown argument", parse_recipe, "rotate(1,angle=3)", "rotate(degrees=1,p=1)"),
    Case("recipe/operation.py: … gives … twice", parse_recipe, "rotate(10,degrees=3)", "rotate(10,p=1)"),
    Case("recipe/operation.py: … lacks", parse_recipe, "rotate", "rotate(degrees=1,p=1)"),
    Case("recipe/operation.py: … has an empty argument", parse_recipe, "rotate(10,)", "rotate(10,p=1)"),
    Case("recipe/operation.py: … has …=…, which must be", parse_recipe, "rotate(200)", "rotate(180)"),
    Case("recipe/chain.py: recipe … erases twice", parse_recipe, "erase|cutout(0.2)", "cutout(0.2)"),
    Case("recipe/chain.py: … has arguments", parse_recipe, "notebook(3)", "notebook"),
    Case("recipe/chain.py: … cannot be drawn", parse_recipe, "crop(0.9,0.5)", "crop(low=0.5,high=0.9,p=1)"),
    Case("recipe/chain.py: --feature_views", lambda r: check_feature_views(2, augment=r), "mixup", "flip"),
    Case("recipe/views.py: view … appears twice", parse_views, "random(2)|random(2)", "random(2)*2"),
    Case("recipe/views.py: … has two sizes", parse_views, "size(32)+size(48)", "size(32)|size(48)"),
    Case("recipe/views.py: … needs a weight", parse_views, "flip*0", "flip*0.5"),
    Case("recipe/views.py: … follows another view", parse_views, "flip+random(2)", "random(2)+flip"),
    Case("recipe/views.py: … is not a random view", parse_views, "random(ten)", "random(10, flip)"),
    Case("recipe/views.py: … asks for", parse_views, "random(0)", "random(1)"),
    Case("recipe/views.py: … mixes photos", parse_views, "random(2, flip|mixup)", "random(2, flip)"),
    # Sizes, networks and how they learn
    Case("framing.py: --image_size=… does not grow", parse_image_size, "512-224", "224-512"),
    Case("framing.py: --image_size=… is not a size", parse_image_size, "big", "384x512"),
    Case("framing.py: --image_size=… is out of range", parse_image_size, "7", "8"),
    Case("model/backbones.py: There is no backbone", find_backbone, "efficientnet_b9", "efficientnet_b0"),
    Case("model/backbones.py: … needs images", lambda s: check_image_sizes(s, backbone="xception"), "32", "71"),
    Case("model/hub_families.py: There is no family", find_backbone, "hub:dino", "hub:dinov2_base"),
    Case("model/heads.py: There is no head", find_head, "notebok", "notebook"),
    Case("model/losses.py: There is no loss", build_loss, "focl", "focal"),
    Case("model/losses.py: --focal_gamma", lambda gamma: build_loss("focal", focal_gamma=gamma), -1.0, 2.0),
    Case("model/schedules.py: There is no schedule", lambda n: schedule({"name": n}), "cosin", "cosine"),
    Case("model/optimizers.py: There is no optimizer", lambda n: build_optimizer(n, schedule=1.0), "adma", "adam"),
    Case("model/optimizers.py: --… is …: give a number of at least 0",
         lambda v: build_optimizer("adam", schedule=1.0, clip_norm=v), -1.0, 0.0),
    Case("model/optimizers.py: --ema_momentum", lambda v: build_optimizer("adam", schedule=1.0, ema_momentum=v),
         1.0, 0.999),
    Case("model/optimizers.py: The optimizer … has no AMSGrad", lambda o: check_amsgrad(True, optimizer=o),
         "nadam", "adam"),
    Case("model/optimizers.py: --accumulation_steps is",
         lambda n: build_optimizer("adam", schedule=1.0, accumulation_steps=n), 0, 1),
    Case("model/optimizers.py: --accumulation_steps=…",
         lambda n: build_optimizer("adam", schedule=1.0, accumulation_steps=2, replicas=n), 2, 1),
    Case("model/optimizers.py: --… is …: give a number of photos",
         lambda n: scaled_learning_rate(0.1, batch_size=n, reference_batch_size=8, optimizer="adam"), 0, 1),
    Case("model/class_weights.py: --class_weights=balanced",
         lambda text: parse_class_weights(text, NAMES, counts=(4, 0)), "balanced", "none"),
    Case("model/class_weights.py: --class_weights names the class",
         lambda text: parse_class_weights(text, NAMES, counts=COUNTS), "cart:2", "car:2"),
    Case("model/class_weights.py: --class_weights gives every class",
         lambda text: parse_class_weights(text, NAMES, counts=COUNTS), "car:0,van:0", "car:1,van:0"),
    Case("model/class_weights.py: --class_weights names … twice", check_class_weights, "car:1,car:2", "car:1"),
    Case("model/class_weights.py: --class_weights has", check_class_weights, "balance", "balanced"),
    Case("model/class_weights.py: --class_weights gives … the weight", check_class_weights, "car:-1", "car:0"),
    Case("model/unfreezing.py: --unfreeze is", lambda text: parse_unfreeze(text, find_backbone("tiny")),
         "half", "gradual(2)"),
    Case("model/unfreezing.py: --lr_decay_by_block", learning, 0.0, 1.0),
    Case("model/classifier.py: --unfreeze=…", unfreeze, {"train_batch_norm": True}, {}),
    Case("model/classifier.py: --unfreeze=… is none", unfreeze, {"unfreeze": "0.001"}, {"unfreeze": "head"}),
    Case("model/classifier.py: A classifier needs", classifier, {"class_count": 1}, {}),
    Case("model/classifier.py: Dropout is", classifier, {"dropout": 1.0}, {"dropout": 0.0}),
    Case("model/separable.py: --render=separable can only",
         lambda how: choose_method(how[0], not_axis_aligned=how[1]), ("separable", ["rotate"]), ("separable", [])),
    Case("runs/parent.py: --batch_size=…", batch, (6, 0, True), (4, 0, True)),
    Case("runs/parent.py: The … training photos do not fill", batch, (32, 0, False), (24, 0, False)),
    Case("runs/parent.py: --steps=…", batch, (8, 4, False), (8, 3, False)),
    # Options of train, and between them
    Case("train_options.py: --profile_steps", parse_profile_steps, "20,10", "10,20"),
    Case("train_options.py: --budget is missing", TRAIN, "--plan", "--plan --budget=9h"),
    Case("train_options.py: --budget=… is not possible", TRAIN, "--budget=9h", "--plan --budget=9h"),
    Case("train_options.py: --swa_epochs=… is not possible: --epochs", TRAIN, "--epochs=2 --swa_epochs=3",
         "--epochs=2 --swa_epochs=2"),
    Case("train_options.py: --swa_epochs=… is not possible: --ema_momentum", TRAIN, "--ema_momentum=0.9 --swa_epochs=2",
         "--swa_epochs=2"),
    Case("train_options.py: --head_start", TRAIN, "--head_start=regression",
         "--head_start=regression --unfreeze=head --keep_features"),
    Case("train_options.py: --head_start=… is not possible: --augment mixes", TRAIN,
         "--head_start=regression --unfreeze=head --augment=mixup", "--head_start=regression --unfreeze=head"),
    Case("train_options.py: --head_start=… is not possible: it does not work", TRAIN,
         "--head_start=regression --unfreeze=head --augment_validation", "--head_start=regression --unfreeze=head"),
    Case("train_options.py: --head_start=… is not possible: it needs a single --image_size", TRAIN,
         "--head_start=regression --unfreeze=head --image_size=64-96",
         "--head_start=regression --unfreeze=head --image_size=96"),
    Case("train_options.py: --head_start=… is not possible: it needs a single host", TRAIN,
         "--head_start=regression --unfreeze=head --num_hosts=2 --coordinator=a:1",
         "--head_start=regression --unfreeze=head"),
    Case("train_options.py: --feature_views=… is not possible: it needs --unfreeze", TRAIN,
         "--feature_views=2 --augment=flip --unfreeze=all", "--feature_views=2 --augment=flip --unfreeze=head"),
    Case("train_options.py: --feature_views=… is not possible: it does not work with", TRAIN,
         "--feature_views=2 --augment=flip --unfreeze=head --augment_validation",
         "--feature_views=2 --augment=flip --unfreeze=head"),
    Case("train_options.py: --feature_views=… is not possible: it needs a single --image_size", TRAIN,
         "--feature_views=2 --augment=flip --unfreeze=head --image_size=64-96",
         "--feature_views=2 --augment=flip --unfreeze=head --image_size=96"),
    Case("train_options.py: --host", TRAIN, "--host=1", "--host=1 --num_hosts=2 --coordinator=a:1"),
    Case("train_options.py: --num_hosts=… is not possible: --coordinator", TRAIN, "--num_hosts=2",
         "--num_hosts=2 --coordinator=a:1"),
    Case("train_options.py: --num_hosts=… is not possible: it needs a single --image_size", TRAIN,
         "--num_hosts=2 --coordinator=a:1 --image_size=64-96", "--num_hosts=2 --coordinator=a:1 --image_size=96"),
    Case("train_options.py: --…=… is not possible: it needs a single host", TRAIN,
         "--num_hosts=2 --coordinator=a:1 --find_lr", "--find_lr"),
    Case("train_options.py: --resume_from=… is not possible: the run", TRAIN, "--resume_from=lost --overwrite",
         "--resume_from=lost"),
    Case("train_options.py: --resume_from=… is not possible: it needs a single stage", TRAIN,
         "--resume_from=lost --stages=demo_1", "--resume_from=lost --stage=demo_1"),
    Case("train.py: --data is missing", check_files, TrainOptions(), TrainOptions(data="data/cars")),
    Case("planning/budget.py: --budget=…", parse_budget, "soon", "1h30m"),
    Case("planning/planner.py: --…=… is not possible", planned, "--epochs=3", ""),
    Case("planning/planner.py: --val_fold", planned, "--val_fold=all", "--val_fold=1"),
    Case("planning/planner.py: --image_size", planned, "--image_size=64-96", "--image_size=96"),
    # Options of the other commands
    Case("flags.py: --…=… is not possible: … is a file, and a folder",
         lambda folder: refuse_below_a_file("output", folder), f"{__file__}/probe", f"{Path(__file__).parent}/probe"),
    Case("flags.py: --…=… is not possible: it takes a path", TRAIN, "--cache=s3://b/c", "--cache=/tmp/c"),
    Case("flags.py: --… is missing", lambda options: require_flags(options, "data"), TrainOptions(),
         TrainOptions(data="d")),
    Case("convert/options.py: --… writes nothing", CONVERT, "--input=p --dry_run --runner=beam",
         "--input=p --dry_run"),
    Case("convert/options.py: --beam_options", CONVERT, "--input=p --output=d --beam_options=x",
         "--input=p --output=d --beam_options=x --runner=beam"),
    Case("convert/options.py: --… is a URL", CONVERT, "--input=s3://b/p --output=d --runner=beam",
         "--input=s3://b/p --output=d"),
    Case("convert/options.py: --… is missing", CONVERT, "--input=p", "--input=p --output=d"),
    Case("convert/options.py: --output=…", CONVERT, "--input=p --output=p", "--input=p --output=p/data"),
    Case("convert/options.py: --sample and --test_csv", CONVERT, "--input=p --output=d --sample=s --test_csv=s",
         "--input=p --output=d --sample=s"),
    Case("convert/options.py: --labels and", CONVERT, "--input=p --output=d --labels=l --label_pattern=(x)",
         "--input=p --output=d --label_pattern=(x)"),
    Case("convert/options.py: --group_column and", CONVERT,
         "--input=p --output=d --group_column=g --split=first_files:0.05", "--input=p --output=d --group_column=g"),
    Case("convert/options.py: --keep_folds and", CONVERT,
         "--input=p --output=d --keep_folds=k --split=first_files:0.05", "--input=p --output=d --keep_folds=k"),
    Case("convert/options.py: --keep_folds=…", CONVERT, "--input=p --output=d --keep_folds=d",
         "--input=p --output=d2 --keep_folds=d"),
    Case("convert/options.py: --zip_encoding", check_encoding, "cp8666", "cp866"),
    Case("convert/options.py: --split", parse_split, "first_files:5", "first_files:0.05"),
    Case("convert/by_name.py: --label_pattern=… is not a regular", check_pattern, "(cat", "(cat)"),
    Case("convert/by_name.py: --label_pattern=… has no group", check_pattern, r"cat\.\d+", r"(cat|dog)\.\d+"),
    Case("convert/labels.py: …, …: give as many names", lambda names: name_classes(["0", "1"], names), "a", "a,b"),
    Case("convert/labels.py: …; not among the names", lambda names: name_classes(["car", "van"], names), "car,bus",
         "van,car"),
    Case("convert/labels.py: --classes=… names a class twice", lambda names: name_classes(["car", "van"], names),
         "car,car", "car,van"),
    Case("export.py: --output", given(ExportOptions, "--run=r"), "--output=m.onnx", "--output=m"),
    Case("explore.py: --…=… is not possible: it is for the page", EXPLORE,
         "--show=1.jpg --augment=flip", "--show=1.jpg"),
    Case("explore.py: --…=… is not possible: it is for the page", EXPLORE,
         "--workers=2 --augment=flip", "--workers=2"),
    Case("explore.py: --output", EXPLORE, "--output=eda.png", "--output=eda.html"),
    Case("pack.py: --competition", given(PackOptions, "--output=o"), "--competition=cars/", "--competition=cars"),
    Case("soup.py: --alphas", given(SoupOptions, "--run=r", "--data=d", "--output=o"), "--alphas=0,1",
         "--alphas=0,1 --method=wise"),
    Case("predict.py: --…=… is not possible: --photo ", PREDICT, "--photo=a.jpg --data=d", "--photo=a.jpg"),
    Case("predict.py: --run_weights=… is not possible: --photo ", PREDICT, "--photo=a.jpg --run_weights=fitted",
         "--photo=a.jpg --run_weights=1"),
    Case("predict.py: --…=… is not possible: --photos ", PREDICT, "--photos=p --output=s.csv --compare=c",
         "--photos=p --output=s.csv"),
    Case("predict.py: --split", PREDICT, "--photos=p --output=s.csv --split=val", "--photos=p --output=s.csv"),
    Case("predict.py: --run_weights=… is not possible: --photos ", PREDICT,
         "--photos=p --output=s.csv --run_weights=fitted", "--photos=p --output=s.csv --run_weights=1"),
    Case("predict.py: --pseudo_labels", PREDICT, "--data=d --output=s.csv --split=val --pseudo_labels=l.csv",
         "--data=d --output=s.csv --pseudo_labels=l.csv"),
    Case("predict.py: --uncertain", PREDICT, "--data=d --output=s.csv --uncertain=u.jpg",
         "--data=d --output=s.csv --uncertain=u.csv"),
    Case("predict.py: --probabilities", PREDICT, "--data=d --output=s.csv --probabilities=p.txt",
         "--data=d --output=s.csv --probabilities=p.parquet"),
    Case("tune.py: --val_fold", TUNE, "--val_fold=all", "--val_fold=0"),
    Case("tune.py: --runs", TUNE, "--runs=s3://b/runs", "--runs=runs"),
    Case("tune.py: --num_hosts", TUNE, "--num_hosts=2 --coordinator=a:1", "--num_hosts=1"),
    Case("command.py: There is no option", TRAIN, "--epoch=3", "--epochs=3"),
    Case("command.py: …. See --help", TRAIN, "--epochs=many", "--epochs=3"),
    Case("command.py: Unexpected argument", TRAIN, "epochs=3", "--epochs=3"),
    Case("command.py: There is no stage", lambda name: expand_flagfiles([f"--stage={name}"]), "demo_11", "demo_1"),
    Case("command.py: There is no flag file", expand_flagfiles, ["--flagfile=demo_1.flags"], ["--stage=demo_1"]),
    Case("probing/extractors.py: --backbones=… names", parse_extractors, "tiny,tiny", "tiny"),
    Case("probing/extractors.py: The weights file", parse_extractors, "tiny=gone.h5", f"tiny={__file__}"),
    Case("averaging/methods.py: ", parse_alphas, "0,2", "0,0.25,0.5,0.75,1"),
    Case("storage/kinds.py: nothing is read", backend_of, "memry://cars", "memory://cars"),
    # Searches
    Case("tuning/space.py: … is given twice", space, "dropout linear 0.1 0.5\ndropout choice 0.3",
         "dropout linear 0.1 0.5"),
    Case("tuning/space.py: … names no parameter", space, "# nothing", "optimizer choice adam adamw"),
    Case("tuning/space.py: … follows", space, "dropout 0.1 0.5", "dropout linear 0.1 0.5"),
    Case("tuning/space.py: … has no choices", space, "optimizer choice", "optimizer choice adam adamw"),
    Case("tuning/space.py: … … needs two numbers", space, "learning_rate log 1e-5", "learning_rate log 1e-5 1e-2"),
    Case("tuning/space.py: … … goes from", space, "learning_rate log 1e-2 1e-5", "learning_rate log 1e-5 1e-2"),
    Case("tuning/space.py: there is no option", space, "dropuot linear 0.1 0.5", "dropout linear 0.1 0.5"),
    Case("tuning/space.py: … takes", space, "epochs choice few", "epochs choice 3"),
    # Answers
    Case("metrics/table.py: --metric=… is not a metric", check_metric, "map@0", "map@5"),
    Case("metrics/table.py: --metric=… scores", lambda name: choose_metric(name, LABEL), "log_loss", "macro_f1"),
    Case("forms/recognition.py: --form=… is not a form", check_form, "rankin(5)", "ranking(5)"),
    Case("inference/decisions.py: --decision=… is not possible", check_decision, "guess", "offsets"),
    Case("inference/decisions.py: --decision=… is for", decided, ("offsets", "accuracy"),
         ("offsets", "balanced_accuracy")),
    Case("inference/decisions.py: --decision=offsets needs", lambda how: offsets(*how), (199, 1), (199, 5)),
    Case("inference/ensemble.py: --run_weights", lambda text: parse_run_weights(text, count=2), "0.5", "0.5,0.3"),
    Case("model/schedules.py: The schedule", schedule, {"warmup_epochs": 4}, {"warmup_epochs": 1}),
    Case("model/schedules.py: The schedule", schedule, {"learning_rate": 0.0}, {"learning_rate": 0.1}),
    Case("model/schedules.py: The schedule", schedule, {"epochs": 0}, {"epochs": 1}),
    Case("model/schedules.py: The schedule", schedule, {"decay": 1.5}, {"decay": 1.0}),
    Case("model/schedules.py: The schedule", schedule, {"name": "one_cycle", "warmup_epochs": 1},
         {"name": "one_cycle"}),
    Case("tuning/space.py: … is the same in every trial", searched, "val_fold choice 0 1", "--val_fold=1"),
    Case("tuning/space.py: … does not change", searched, "render choice auto gather", "--render=gather"),
    Case("tuning/outcome.py: --output=… must end", lambda name: check_output(Path(name)), "best.txt", "best.flags"),
    # The Python interface
    Case("api.py: plateau follows",
         lambda name: api.build_schedule(name, **RISING), "plateau", "cosine"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.text}-{case.refused}")
def test_what_the_error_asks_for_is_taken(case):
    with refused(case.text):
        case.take(case.refused)
    case.take(case.told)
