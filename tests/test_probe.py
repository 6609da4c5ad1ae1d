"""The command compares backbones, keeps their features, and makes a run that predicts what the best probe says."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from carclf import device, probe
from carclf.command import expand_flagfiles, parse_command_line
from carclf.convert.converter import convert
from carclf.convert.options import ConvertOptions
from carclf.data.manifest import load_manifest
from carclf.engines.choice import Engines
from carclf.errors import UserError
from carclf.probing import kept
from carclf.runs import load_members, load_run
from carclf.train_options import TrainOptions
from carclf.training import feature_files
from carclf.training.engine_model import EngineModel
from tests.convert.inputs import class_folders, write_files

CPU = device.Device(kind="cpu", backend="tensorflow", replicas=1, precision="float32", jit=False)


@pytest.fixture(scope="module")
def probed(dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("probe")
    options = probe.ProbeOptions(
        data=dataset.directory, output=str(output), backbones="tiny@32=none,tiny@48=none", device="cpu", val_fold=1
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "select_device", lambda *_, **__: CPU)
        probe.main(options)
    return options, output


def test_a_data_set_of_one_fold_is_converted_as_advised(tmp_path):
    options = ConvertOptions(
        input=str(write_files(tmp_path / "photos", class_folders(10))),
        output=str(tmp_path / "data"),
        folds=2,
        workers=1,
    )
    first = convert(options)
    shards = tuple(shard for shard in first.shards if shard.fold != 1)
    with pytest.raises(UserError, match=r"needs at least 2 folds and .* again with --folds=5 and --overwrite\.$"):
        probe.check_folds(probe.ProbeOptions(data="data", output="x"), dataclasses.replace(first, shards=shards))
    again = convert(dataclasses.replace(options, folds=5, overwrite=True))
    probe.check_folds(probe.ProbeOptions(data="data", output="x"), again)


def test_the_table_says_what_the_files_say(probed):
    _, output = probed
    found = json.loads((output / "probe.json").read_text())
    assert {tuple(row["names"]) for row in found["probes"]} == {("tiny@32",), ("tiny@48",)}
    scores = [row["score"] for row in found["probes"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.8  # the colour of a photo is its class, which even a random network sees
    page = (output / "probe.html").read_text()
    assert page.index(found["probes"][0]["names"][0]) < page.index(found["probes"][1]["names"][0])
    missed = pd.read_csv(output / "missed.csv")
    assert list(missed.columns) == ["id", "class", "predicted", "probability"]
    assert len(missed) == found["missed"]


def test_the_best_is_a_run_that_predicts_what_its_regression_says(probed, dataset):
    from carclf.inference.dataset_predictions import predict_held_out
    from carclf.recipe import parse_views

    options, output = probed
    run = load_run(output / "best")
    assert run.options.val_fold == 1
    (predictions,) = predict_held_out(
        load_members(str(output / "best"), runs="runs"), manifest=load_manifest(options.data), folds=[1],
        views=parse_views("clean"), batch_size=8, jit=False,
    )  # fmt: skip
    labels = dataset.read_ids("train").iloc[predictions.rows]["label"].to_numpy()
    accuracy = np.mean(predictions.probabilities.argmax(axis=1) == labels)
    log_loss = -np.log(predictions.probabilities[np.arange(len(labels)), labels]).mean()
    assert accuracy == run.metrics["val_accuracy"]
    assert log_loss == pytest.approx(run.metrics["val_loss"], abs=1e-3)


def test_the_flag_file_is_a_head_stage_of_the_best(probed):
    _, output = probed
    path = output / "best_head.flags"
    options = parse_command_line(TrainOptions, expand_flagfiles([f"--flagfile={path}"]), description="")
    best = load_run(output / "best").options
    assert (options.backbone, options.image_size, options.unfreeze) == (best.backbone, best.image_size, "head")
    assert (options.run, options.val_fold, options.overwrite, options.data) == ("best_head", 1, False, "")


def test_kept_features_are_not_computed_again_unless_something_else_is_asked(probed, monkeypatch, tmp_path):
    options, output = probed
    asked = []

    def compute(model, extractor, view, **_):
        asked.append((extractor.name, view))
        return kept.Notes(2.0, ("openvino",))

    monkeypatch.setattr(kept, "_compute", compute)
    manifest, folder = load_manifest(options.data), output / "features"
    extractor = probe_extractor()
    shared = {"manifest": manifest, "views": ["undrawn", "mirrored"], "batch_size": 8, "jit": False}
    shared["engines"] = Engines()
    first = kept.keep_features(extractor, fit="squash", directory=folder, **shared)
    assert (asked, [view.shape for view in first.views]) == ([], [(24, 192)] * 2)
    with pytest.raises(FileNotFoundError):
        kept.keep_features(extractor, fit="crop", directory=folder, **shared)
    assert asked == [("tiny@32", "undrawn"), ("tiny@32", "mirrored")]
    (next(folder.glob("tiny@32-*/mirrored.json"))).unlink()  # as after a kill before the notes
    again = kept.keep_features(extractor, fit="squash", directory=folder, **shared)
    assert asked[2:] == [("tiny@32", "mirrored")]
    assert again.engines == ("keras", "openvino")
    assert again.seconds == 2.0 + json.loads(next(folder.glob("tiny@32-*/undrawn.json")).read_text())["seconds"]
    arrays = next(folder.glob("tiny@32-*/undrawn.npy"))
    content = bytearray(arrays.read_bytes())
    content[-1] ^= 1
    arrays.unlink()  # it is mapped
    arrays.write_bytes(content)
    kept.keep_features(extractor, fit="squash", directory=folder, **shared)
    assert asked[3:] == [("tiny@32", "undrawn"), ("tiny@32", "mirrored")]


def keep(dataset, directory):
    return kept.keep_features(
        probe_extractor(), manifest=dataset, views=["undrawn", "mirrored"], fit="squash", batch_size=5, jit=False,
        engines=Engines(), directory=directory,
    )  # fmt: skip


def test_features_for_which_a_disk_has_no_room_are_kept_in_another_output(dataset, tmp_path, monkeypatch):
    full, other = tmp_path / "full" / "features", tmp_path / "other" / "features"

    def disk_usage(folder):
        return shutil._ntuple_diskusage(0, 0, 30_000 if tmp_path / "full" in folder.parents else 40_000)

    monkeypatch.setattr(feature_files.shutil, "disk_usage", disk_usage)
    monkeypatch.setattr(EngineModel, "__call__", lambda model, inputs: np.ones((len(inputs["canvas"]), model.width)))
    said = r"of 48 photos need 3.69e-05 GB and .* has 3e-05 GB free: make room, or choose another --output\.$"
    with pytest.raises(UserError, match=said):
        keep(dataset, full)
    assert [view.shape for view in keep(dataset, other).views] == [(24, 192)] * 2
    assert [view.shape for view in keep(dataset, other).views] == [(24, 192)] * 2  # no room is needed for what is there


def test_a_file_claims_no_room_before_its_features_are_computed(dataset, tmp_path, monkeypatch):
    claimed = []

    def compute(model, inputs):
        claimed.extend(path.stat().st_size for path in tmp_path.rglob(".*.npy"))
        return np.ones((len(inputs["canvas"]), model.width), np.float32)

    monkeypatch.setattr(EngineModel, "__call__", compute)
    (undrawn, _) = keep(dataset, tmp_path).views
    assert (undrawn == 1).all()
    batch_bytes, header = 5 * 192 * 4, 128
    assert all(size <= header + number % 5 * batch_bytes for number, size in enumerate(claimed))
    assert len(claimed) == 10


def probe_extractor():
    from carclf.probing.extractors import Extractor

    return Extractor("tiny", (32, 32), "none")


def test_what_cannot_be_probed_is_refused(dataset, tmp_path):
    with pytest.raises(UserError, match="--data is missing"):
        probe.ProbeOptions()
    with pytest.raises(UserError, match="--backbones=tinny: There is no backbone 'tinny': did you mean tiny"):
        probe.ProbeOptions(data=dataset.directory, backbones="tinny")
    with pytest.raises(UserError, match=r"--val_fold=7 is not a fold of .*, whose folds are 0 to 2"):
        probe.main(probe.ProbeOptions(data=dataset.directory, output=str(tmp_path), backbones="tiny", val_fold=7))


def test_a_folder_below_a_file_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    options = probe.ProbeOptions(data="nowhere", output=str(tmp_path / "file" / "probe"))
    with pytest.raises(UserError, match="file is a file, and a folder is needed there: choose another"):
        probe.main(options)
