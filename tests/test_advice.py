"""Every "Next:" line is a command that works as printed, on the data set that it is printed for."""

import dataclasses
import inspect
import re
import shlex
from pathlib import Path

import keras.applications
import pytest

from carclf import advice
from carclf.advice import ON_GPU, ON_TPU, PACKAGED_HEAD, SMALL, after_conversion, after_search, after_training
from carclf.command import parse_command_line
from carclf.convert.summary import summary
from carclf.model.backbones import BACKBONES
from carclf.recipe import parse_recipe
from carclf.runs.parent import check_batch
from carclf.train_options import TrainOptions
from tests.commands import open_door
from tests.convert.inputs import class_folders, converted, drawn, write_files
from tests.shown_commands import parse_shown


def next_line(said: str) -> list[str]:
    (line,) = [line for line in said.splitlines() if line.startswith("Next: ")]
    return shlex.split(line.removeprefix("Next: "))


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Returns a function that sets whether there is an accelerator, and which weights Keras has downloaded."""

    def made(
        *, accelerator: bool, tpu: bool = False, gpus: int = 1, weights: tuple[str, ...] = (), package: bool = False
    ) -> None:
        module = "carclf" if package else "a_module_that_nobody_has"
        for name in ("PACKAGED", "PACKAGED_HEAD"):
            monkeypatch.setattr(advice, name, dataclasses.replace(getattr(advice, name), weights_module=module))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(advice.glob, "glob", lambda pattern: ["x"] * (gpus if accelerator and not tpu else 0))
        monkeypatch.setattr(advice, "tpu_present", lambda: tpu)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        for name in weights:
            path = tmp_path / "keras" / "models" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return made


@pytest.mark.parametrize(
    ("accelerator", "tpu", "photos", "stage", "own"),
    [
        (False, False, 900, SMALL, "best"),
        (False, False, 2_000, SMALL, "lite0_224_head"),
        (True, False, 40_000, ON_GPU, "best"),
        (True, True, 900, ON_TPU, "best"),
    ],
)
def test_the_stage_fits_photos_device_and_weights(machine, accelerator, tpu, photos, stage, own):
    machine(accelerator=accelerator, tpu=tpu)
    first, better, packaged = after_conversion("data", train_photos=photos)
    assert first == "Next: python -m carclf.train --stage=scratch_96 --data=data"
    assert better.startswith(f"Better, but it first fetches {stage.megabytes} MB of ImageNet weights: python -m ")
    machine(accelerator=accelerator, tpu=tpu, weights=(stage.weights_file,))
    (only,) = after_conversion("data", train_photos=photos)
    assert only == f"Next: python -m carclf.train --stage={stage.name} --data=data"
    assert better.endswith(only.removeprefix("Next: "))
    assert packaged.startswith("Without that download: ")
    assert packaged.endswith(f", then python -m carclf.train --stage={own} --data=data")


def test_weights_that_pip_installed_come_before_a_network_from_scratch(machine):
    machine(accelerator=False, package=True)
    assert after_conversion("data", train_photos=900) == ["Next: python -m carclf.train --stage=best --data=data"]
    assert after_conversion("data", train_photos=9) == [
        "Next: python -m carclf.train --stage=best --data=data --batch_size=9"
    ]
    assert after_conversion("data", train_photos=2_000) == [
        "Next: python -m carclf.train --stage=lite0_224_head --data=data"
    ]
    machine(accelerator=True, package=True)
    first, better = after_conversion("data", train_photos=900)
    assert first.endswith("--stage=best --data=data")
    assert "--stage=best_gpu" in better
    machine(accelerator=False, package=True, weights=(SMALL.weights_file,))
    assert "mobilenet_v2_224_head" in after_conversion("data", train_photos=900)[0]


def test_the_module_of_the_packaged_weights_is_that_of_the_backbone():
    options = parse_command_line(TrainOptions, [f"--stage={PACKAGED_HEAD.name}", "--data=d"], description="")
    package = BACKBONES[options.backbone].weights_package
    assert package.replace("-", "_") == PACKAGED_HEAD.weights_module


def test_few_photos_take_a_batch_that_they_fill(machine):
    machine(accelerator=False, weights=(SMALL.weights_file,))
    assert after_conversion("data", train_photos=31)[0].endswith(" --batch_size=31")
    assert "batch_size" not in after_conversion("data", train_photos=32)[0]


def test_one_photo_is_held_out_and_leaves_nothing_to_train_on(tmp_path):
    said = "Nothing is left to train on, since all training photos are in fold 0, which a stage holds out: convert more"
    write_files(tmp_path / "photos", {"train/a/0.jpg": drawn(0), "train/b/1.jpg": drawn(0)})
    lines = summary(converted(tmp_path / "photos", tmp_path / "one")).splitlines()
    assert lines[-1] == f"{said} photos."
    write_files(tmp_path / "photos", {"train/a/2.jpg": drawn(2), "train/b/3.jpg": drawn(3)})
    more = summary(converted(tmp_path / "photos", tmp_path / "more")).splitlines()
    assert not any(line.startswith("Nothing") for line in more)
    assert any(re.search(r"--stage=.* --batch_size=[1-3]$", line) for line in more)


FAMILIES = {  # by the beginning of the row's name: the module whose function fetches
    "efficientnet_b": "efficientnet", "efficientnet_v2": "efficientnet_v2", "convnext": "convnext",
    "xception": "xception", "mobilenet_v2": "mobilenet_v2", "resnet50_v2": "resnet",
}  # fmt: skip


def test_every_download_of_keras_has_its_file():
    for row in BACKBONES.values():
        assert bool(row.keras_file) == (row.has_imagenet_weights and not row.weights_package)


@pytest.mark.parametrize(
    "name",
    [row.name for row in BACKBONES.values() if row.keras_file and row.name.startswith(("efficientnet", "convnext"))],
)
def test_a_file_of_a_family_begins_with_the_name_that_keras_gives_the_network(name):
    builder = getattr(keras.applications, BACKBONES[name].builder.split(":")[1])
    assert BACKBONES[name].keras_file == f"{inspect.signature(builder).parameters['name'].default}_notop.h5"


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "efficientnet_b0", "efficientnet_v2_b0", "convnext_tiny", "xception", "resnet50_v2"]
)
def test_the_weights_file_is_the_one_that_keras_would_fetch(name, monkeypatch):
    asked = []

    def get_file(name, *args, **kwargs):
        asked.append(name)
        raise ConnectionError

    row = BACKBONES[name]
    module = next(module for beginning, module in FAMILIES.items() if name.startswith(beginning))
    monkeypatch.setattr(f"keras.src.applications.{module}.file_utils.get_file", get_file)
    with pytest.raises(ConnectionError):
        getattr(keras.applications, row.builder.split(":")[1])(include_top=False, input_shape=(224, 224, 3))
    assert asked == [row.keras_file]


def test_a_suggested_stage_has_the_weights_that_it_names():
    for stage in (SMALL, ON_GPU, ON_TPU):
        schedule = parse_command_line(TrainOptions, [f"--stage={stage.name}"], description="").stages
        for name in schedule.split(",") if schedule else [stage.name]:
            options = parse_command_line(TrainOptions, [f"--stage={name}"], description="")
            assert BACKBONES[options.backbone].keras_file == stage.weights_file


@pytest.mark.parametrize(
    ("gpus", "tpu", "photos", "added"),
    [
        (1, False, 31, ["--batch_size=31"]),
        (2, False, 31, ["--batch_size=30"]),
        (2, False, 32, []),
        (3, False, 900, ["--batch_size=30"]),
        (4, False, 3, None),
        (0, True, 64, []),
        (0, True, 40, ["--batch_size=40"]),  # the second stage has batches of 64
        (0, True, 13, ["--batch_size=8"]),
        (0, True, 7, None),
    ],
)
def test_the_batch_is_one_that_the_photos_fill_and_the_devices_share(machine, gpus, tpu, photos, added):
    stage = ON_TPU if tpu else ON_GPU
    machine(accelerator=True, tpu=tpu, gpus=gpus, weights=(stage.weights_file, SMALL.weights_file))
    (line,) = after_conversion("data", train_photos=photos)
    if added is None:
        assert line.endswith(f" --stage={SMALL.name} --data=data --batch_size={photos} --device=cpu")
        return
    assert line.split(" --data=data")[1].split() == added
    schedule = parse_command_line(TrainOptions, [f"--stage={stage.name}"], description="").stages
    for name in schedule.split(","):
        options = parse_command_line(TrainOptions, [f"--stage={name}", *added], description="")
        mixes = parse_recipe(options.augment).mixes
        check_batch(
            batch_size=options.batch_size, replicas=8 if tpu else gpus, mixes=mixes,
            steps=photos // options.batch_size, train_photos=photos,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("hidden", "files", "present"),
    [("0", ["x"], 1), ("-1", ["x"], 0), ("", ["x"], 0), ("0", [], 0), ("0,2", ["x"] * 4, 2)],
)
def test_a_gpu_is_present_unless_it_is_hidden(monkeypatch, hidden, files, present):
    monkeypatch.setattr(advice, "tpu_present", lambda: False)
    monkeypatch.setattr(advice.glob, "glob", lambda pattern: files)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert advice.accelerator_count() == present
    assert advice.accelerator_present() == bool(present)


def test_names_are_quoted_and_a_bare_run_is_a_path():
    lines = after_training(Path("run 1"), "my data", has_test_photos=True)
    assert lines[0] == "Next: python -m carclf.predict '--run=./run 1' '--data=my data'"
    assert parse_shown(lines[0].removeprefix("Next: ")).run == "./run 1"
    (line,) = after_search(Path("a b.flags"), "data")
    assert shlex.split(line)[4] == "--flagfile=a b.flags"


def test_what_is_printed_from_class_folders_to_single_photos_works(tmp_path):
    write_files(tmp_path / "photos", class_folders(12))
    arguments = ["--input=photos", "--output=data", "--folds=3"]
    machine = {"KERAS_HOME": str(tmp_path / "keras")}

    def answer(words: list[str]) -> str:
        assert words[:2] == ["python", "-m"]
        return open_door(words[2], *words[3:], folder=tmp_path, environment=machine).stdout

    said = answer(["python", "-m", "carclf.make_tfrecords", *arguments])
    trained = answer(next_line(said))
    assert "Report: runs/scratch_96/report.html" in answer(next_line(trained))
    held_out, any_photo = (shlex.split(line.split(": ", 1)[1]) for line in trained.splitlines()[-2:])
    answer(held_out)
    assert (tmp_path / "runs/scratch_96/val.csv").read_text().count("\n") == 1 + 4
    assert "0.jpg" in answer([word.replace("FILE", "photos/0/0.jpg") for word in any_photo])
