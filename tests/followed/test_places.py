"""Files, folders and addresses that cannot be used, and what the error advises, done."""

import dataclasses
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from texts import refused

from carclf import api, lock
from carclf.command import expand_flagfiles, parse_command_line
from carclf.data.cache import open_cache
from carclf.data.index import sizes_for
from carclf.data.manifest import load_manifest
from carclf.errors import UserError
from carclf.exporting.folder import new_folder
from carclf.framing import Framing
from carclf.inference.decisions import LEAST_PHOTOS
from carclf.inference.held_out import calibrate_on
from carclf.inference.job import _ids
from carclf.inference.submission import check_ids, check_writable
from carclf.make_tfrecords import main as convert
from carclf.model.backbones import find_backbone
from carclf.model.hub import check_hub_image_size
from carclf.model.hub_preset import CONFIG_FILE, WEIGHTS_FILE, Preset, read_preset
from carclf.planning.writing import _check_ours
from carclf.recipe import parse_recipe, parse_views
from carclf.report.eda import _numbers
from carclf.report.photo_table import photo_table
from carclf.serve import exposure
from carclf.serving.server import bind
from carclf.stage_lists import listed_stages
from carclf.synthetic.dataset import check_output
from carclf.train_options import TrainOptions
from carclf.training.feature_plan import plan_features
from carclf.tuning.outcome import check_output as check_flags
from carclf.tuning.storage import check_sqlite, read_url
from tests.convert.inputs import ConvertOptions, class_folders, drawn, write_files
from tests.shown_commands import parse_shown
from tests.tuning.formula import opened


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_lines_of_flag_files_are_options_and_files_do_not_name_themselves(tmp_path):
    (tmp_path / "base.flags").write_text("--epochs=3\nbatch size\n")
    with refused("command.py: Line … of the flag file"):
        expand_flagfiles(["--flagfile=base.flags"])
    (tmp_path / "base.flags").write_text("--epochs=3\n# batch size\n--flagfile=base.flags\n")
    with refused("command.py: The flag file … includes itself"):
        expand_flagfiles(["--flagfile=base.flags"])
    (tmp_path / "base.flags").write_text("--epochs=3\n# batch size\n")
    assert expand_flagfiles(["--flagfile=base.flags"]) == ["--epochs=3"]
    (tmp_path / "all.flags").write_text("--stages=base.flags,all.flags\n")
    with refused("stage_lists.py: "):
        listed_stages("all.flags")
    (tmp_path / "all.flags").write_text("--stages=base.flags\n")
    assert [stage.path.name for stage in listed_stages("all.flags")] == ["base.flags"]


def test_a_data_set_is_made_by_the_command_that_is_printed(tmp_path):
    with refused("data/manifest.py: There is no folder"):
        load_manifest("my data")
    write_files(tmp_path / "PHOTOS", class_folders(6))
    with refused("data/manifest.py: … is not a data set"):
        load_manifest("PHOTOS")
    for text, folder in (("my data", "my data"), ("PHOTOS", "DATA")):
        with pytest.raises(Exception, match=r"carclf\.make_tfrecords") as caught:
            load_manifest(text)
        command = f"python -m{str(caught.value).rpartition('python -m')[2]}"
        convert(dataclasses.replace(parse_shown(command), workers=1, folds=2))
        assert load_manifest(folder).photos("train") == 6
    (tmp_path / "DATA" / "dataset.json").unlink()  # as a conversion leaves it that did not finish
    convert(ConvertOptions(input="PHOTOS", output="DATA", folds=2, workers=1))
    assert load_manifest("DATA").photos("train") == 6


def test_an_option_with_a_space_is_printed_as_a_shell_takes_it(tmp_path):
    write_files(tmp_path / "my photos", class_folders(6))
    with pytest.raises(UserError, match="give another, such as") as caught:
        ConvertOptions(input="my photos", output="my photos")
    advised = shlex.split(str(caught.value).partition("such as ")[2].removesuffix("."))
    assert advised == ["--output=my photos/data"]
    convert(parse_command_line(ConvertOptions, ["--input=my photos", "--workers=1", *advised], description=""))
    assert load_manifest("my photos/data").photos("train") == 6
    write_files(tmp_path / "my cars", {f"{kind}/new/{n}.jpg": drawn(n) for n, kind in enumerate(["red", "blue"] * 2)})
    with pytest.raises(UserError, match="if its folders are the classes") as caught:
        convert(ConvertOptions(input="my cars/red", output="out", workers=1))
    advised = shlex.split(re.search(r"give ('.*') if its", str(caught.value))[1])
    convert(parse_command_line(ConvertOptions, [*advised, "--output=out", "--workers=1", "--folds=2"], description=""))
    assert load_manifest("out").class_names == ("blue", "red")


def test_outputs_are_files_or_folders_that_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with refused("inference/submission.py: … is a folder"):
        check_writable(tmp_path)
    with refused("inference/submission.py: … could not be written"):
        check_writable(Path("file/s.csv"))
    check_writable(tmp_path / "s.csv")
    with refused("synthetic/dataset.py: --output=… is a file"):
        check_output(Path("file"), description={})
    with refused("synthetic/dataset.py: --output=… is not empty"):
        check_output(tmp_path, description={})
    assert not check_output(tmp_path / "new", description={})
    with refused("planning/writing.py: "):
        _check_ours(tmp_path / "file")
    _check_ours(tmp_path / "plan.flags")
    with refused("tuning/outcome.py: --output=… exists"):
        (tmp_path / "mine.flags").write_text("--epochs=3\n")
        check_flags(Path("mine.flags"))
    check_flags(Path("best.flags"))
    read = [tmp_path.resolve() / "best.flags"]
    with refused("tuning/outcome.py: --output=… is a flag file"):
        check_flags(Path("best.flags"), read=read)
    check_flags(Path("best2.flags"), read=read)


def test_a_folder_is_locked_where_it_can_be_made(tmp_path):
    (tmp_path / "file").touch()
    with refused("lock.py: The folder … cannot be made"), lock.holding(Path("file/run"), doing="", option="--run"):
        pass
    with lock.holding(Path("run"), doing="training in", option="--run"):
        with refused("lock.py: …"), lock.holding(Path("run"), doing="training in", option="--run"):
            pass
        with lock.holding(Path("other"), doing="training in", option="--run"):
            pass


def test_decoded_photos_are_kept_in_another_folder_or_in_memory(dataset, tmp_path):
    (tmp_path / "file").touch()
    how = {"manifest": dataset, "wanted": np.arange(4), "sizes": sizes_for(dataset, framing=Framing((32, 32)))}
    with refused("data/cache.py: "):
        open_cache("file/cache", **how)
    for where in ("cache", "ram"):
        assert open_cache(where, **how)


def test_an_export_goes_into_another_folder(tmp_path):
    (tmp_path / "file").touch()
    with refused("exporting/folder.py: … could not be written"), new_folder(Path("file/out")):
        pass
    with new_folder(Path("out")):
        pass
    assert (tmp_path / "out").is_dir()


def test_other_photos_than_the_missing_test_photos_are_predicted(dataset):
    without = dataclasses.replace(dataset, shards=tuple(s for s in dataset.shards if s.split == "train"))
    with refused("inference/job.py: "):
        _ids(without, folds=None)
    assert len(_ids(without, folds=[0])) == 8
    assert len(_ids(dataset, folds=None)) == 5


def test_a_size_is_one_that_patches_fill():
    row, preset = find_backbone("hub:vit"), Preset({"patch_size": 16}, (1.0,) * 3, (0.0,) * 3)
    with refused("model/hub.py: … takes sides"):
        check_hub_image_size(row, preset, (100, 100))
    check_hub_image_size(row, preset, (96, 96))


def test_a_temperature_takes_more_photos():
    labels = np.arange(LEAST_PHOTOS) % 2
    probabilities = np.eye(2)[labels] * 0.8 + 0.1
    with refused("inference/held_out.py: … calibrates"):
        calibrate_on(probabilities[1:], labels[1:], asked_by="--uncertain")
    assert calibrate_on(probabilities, labels, asked_by="--uncertain").temperature > 0


def test_a_server_takes_another_port():
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        with refused("serving/server.py: "):
            bind("127.0.0.1", taken.getsockname()[1])
        bind("127.0.0.1", 0).close()
    assert "use --host=127.0.0.1" in exposure("0.0.0.0")
    assert exposure("127.0.0.1") == ""


def test_a_study_is_that_of_its_settings_or_another(tmp_path):
    identity = {"data": "d", "space": [], "epochs": 3}
    with refused("tuning/storage.py: The storage … cannot be used"):
        opened("study.db", identity=identity)
    opened("sqlite:///study.db", identity=identity)
    with refused("tuning/study.py: "):
        opened("sqlite:///study.db", identity=identity | {"data": "e"})
    opened("sqlite:///study.db", identity=identity)
    with refused("tuning/storage.py: The storage … has an @"):
        opened("postgresql://ann:p@ss@host/cars", identity=identity)
    assert read_url("postgresql://ann:p%40ss@host/cars") == "postgresql://ann:p%40ss@host/cars"
    with refused("tuning/storage.py: The storage … has a ?"):
        opened("sqlite:///what?.db", identity=identity)
    opened("sqlite:///what%3F.db", identity=identity)
    assert Path("what?.db").is_file()
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\0" + bytes(100))
    with refused("tuning/storage.py: The storage … is damaged"):
        check_sqlite("sqlite:///damaged.db")
    check_sqlite("sqlite:///study.db")
    check_sqlite("sqlite:///new.db")


def test_a_preset_is_given_by_its_own_folder(tmp_path):
    row, folder = find_backbone("hub:vit_base"), tmp_path / "preset"
    config = {"class_name": "ViTBackbone", "config": {"num_layers": 2}}
    with refused("model/hub_preset.py: There is no folder"):
        read_preset(folder, row)
    folder.mkdir()
    with refused("model/hub_preset.py: … is not a preset of KerasHub"):
        read_preset(folder, row)
    for text, content in (
        ("model/hub_preset.py: … is a preset of Transformers", config | {"model_type": "vit"}),
        ("model/hub_preset.py: The preset … holds a", config | {"class_name": "DINOV2Backbone"}),
        ("model/hub_preset.py: The preset … has no", config),
    ):
        (folder / CONFIG_FILE).write_text(json.dumps(content))
        with refused(text):
            read_preset(folder, row)
    (folder / WEIGHTS_FILE).touch()
    assert read_preset(folder, row).arguments == {"num_layers": 2}
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"class_name": "DINOV2Backbone"}))
    with pytest.raises(Exception, match=r"use --backbone=hub:dinov2\.$"):
        read_preset(folder, row)
    assert read_preset(folder, find_backbone("hub:dinov2")).arguments == {"num_layers": 2}


def test_photos_are_shown_by_an_id_of_the_data_set(dataset):
    photos = photo_table(dataset)
    with refused("report/eda.py: "):
        _numbers(["x.jpg"], photos, dataset)
    assert _numbers([photos["id"].iloc[0], "test000.jpg"], photos, dataset) == [0, 24]


def test_mixing_draws_an_even_batch():
    how = {"seed": 1, "epoch": 0, "image_size": (8, 8)}
    with refused("recipe/chain.py: recipe … mixes"):
        parse_recipe("mixup").draw(row=np.arange(3), extent=np.ones((3, 2)), **how)
    assert len(parse_recipe("mixup").draw(row=np.arange(4), extent=np.ones((4, 2)), **how).mix) == 4


def test_a_head_trains_on_photos_as_advised():
    head = TrainOptions(unfreeze="head", augment="flip")
    assert plan_features(head, recipe=parse_recipe("flip"))
    photos = dataclasses.replace(head, keep_features=False, feature_views=0)
    assert plan_features(photos, recipe=parse_recipe("flip")) is None


def test_two_photos_have_two_ids():
    with refused("inference/submission.py: Two photos"):
        check_ids(["1", "1"], order=None)
    check_ids(["1", "2"], order=None)


RECIPE = {"recipe": "flip", "image_size": 32, "batch_size": 4}


@pytest.mark.parametrize(
    ("text", "call", "wrong", "told"),
    [
        ("api.py: batch_size is …, more", "training_batches", {"batch_size": 25}, {}),
        ("api.py: … mixes pairs", "training_batches", {"recipe": "mixup", "batch_size": 5}, {"recipe": "mixup"}),
        ("arguments.py: ", "training_batches", {"label_smoothing": 1.0}, {"label_smoothing": 0.0}),
        ("arguments.py: ", "training_batches", {"initial_epoch": -1}, {"initial_epoch": 0}),
        ("arguments.py: ", "training_batches", {"batch_size": 0}, {"batch_size": 1}),
        ("arguments.py: ", "training_batches", {"image_size": 7}, {"image_size": (8, 4096)}),
        ("arguments.py: ", "training_batches", {"fit": "fill"}, {"fit": "crop"}),
        ("api.py: view is", "view_batches", {"view": "clean|flip"}, {"view": parse_views("clean|flip")[1]}),
        ("api.py: folds are", "view_batches", {"folds": [0]}, {"folds": [0], "split": "train"}),
        ("api.py: folds are", "view_batches", {"folds": [0]}, {}),
        ("arguments.py: ", "view_batches", {"split": "val"}, {"split": "train"}),
    ],
)
def test_functions_take_what_their_errors_ask_for(text, call, wrong, told, dataset):
    function, always = getattr(api, call), RECIPE if call == "training_batches" else {"image_size": 32}
    with refused(text):
        function(dataset, **always | wrong)
    function(dataset, **always | told)


def test_predictors_take_what_their_errors_ask_for():
    with refused("arguments.py: "):
        api.load_run("a", batch_size=0)
    with refused("arguments.py: "):
        api.load_run("a", tta_mean="mode")
    with refused("api.py: load_run names"):
        api.load_run()
    with refused("runs/run.py: There is no run folder"):
        api.load_run("a", tta_mean="logits", batch_size=1)
