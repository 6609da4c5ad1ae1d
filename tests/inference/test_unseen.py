"""Photos that are in no data set are answered for in the sample's form: every Id, whatever state its photo is in."""

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from carclf import device, predict, runs
from carclf.data.manifest import load_manifest
from carclf.data.photos import read_photos
from carclf.errors import UserError
from carclf.forms import read_sample
from carclf.inference import photo_stream, programs, unseen_job
from carclf.inference.photo_list import list_photos
from carclf.inference.unseen import time_line
from carclf.predict import PredictOptions
from tests.conftest import write_dataset
from tests.inference.made_runs import colour_classifier, make_run

CPU = device.Device(kind="cpu", backend="tensorflow", replicas=1, precision="float32", jit=False)
PHOTOS = 5


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Returns a folder with a data set, two runs, and its test photos as files below hidden/."""
    home = tmp_path_factory.mktemp("home")
    manifest = write_dataset(home / "data", photos_a_fold=24, test_photos=PHOTOS)
    make_run(home / "runs" / "one", manifest)
    make_run(home / "runs" / "two", manifest, seed=2)
    (home / "hidden" / "deep").mkdir(parents=True)
    for row, raw in read_photos(manifest, split="test", rows=range(PHOTOS)).items():
        (home / "hidden" / "deep" / f"test{row:03d}.jpg").write_bytes(raw)
    return home


@pytest.fixture
def answer(home, tmp_path, monkeypatch, capsys):
    """Returns a function that predicts and returns (submission, probabilities [N, 3], (stdout, stderr))."""
    monkeypatch.setattr(device, "select_device", lambda *_, **__: CPU)
    monkeypatch.setattr(programs, "build_photo_classifier", colour_classifier)

    def go(*, header="Id,Category", cells="0", ids=None, **changes):
        sample = tmp_path / "sample.csv"
        names = [f"test{row:03d}.jpg" for row in (4, 3, 2, 1, 0)] if ids is None else ids
        sample.write_text("\n".join([header, *(f"{name},{cells}" for name in names)]) + "\n")
        options = {
            "photos": str(home / "hidden"), "sample": str(sample), "runs": str(home / "runs"), "run": "one",
            "output": str(tmp_path / "s.csv"), "probabilities": str(tmp_path / "p.csv"), "batch_size": 2,
        }  # fmt: skip
        assert predict.main(PredictOptions(**(options | changes))) == 0
        read = [pd.read_csv(tmp_path / name, dtype=str, keep_default_na=False) for name in ("s.csv", "p.csv")]
        return read[0], read[1].iloc[:, 1:4].astype(float).to_numpy(), capsys.readouterr()

    return go


def test_the_answers_are_those_of_the_same_photos_in_a_data_set(answer, home, tmp_path):
    submission, probabilities, _ = answer()
    stored, same, _ = answer(photos="", data=str(home / "data"))
    assert submission["Id"].tolist() == [f"test{row:03d}.jpg" for row in (4, 3, 2, 1, 0)]
    pd.testing.assert_frame_equal(submission, stored)
    np.testing.assert_allclose(probabilities, same, atol=1e-5)


def test_an_ensemble_and_its_views_are_averaged_as_in_a_data_set(answer, home):
    how = {"run": "one,two", "run_weights": "0.25,0.75", "tta": "clean|flip"}
    _, probabilities, _ = answer(**how)
    _, same, _ = answer(photos="", data=str(home / "data"), **how)
    np.testing.assert_allclose(probabilities, same, atol=1e-5)


def test_without_a_sample_every_photo_is_answered_for(answer, home):
    submission, _, _ = answer(sample="")
    assert submission["Id"].tolist() == [f"test{row:03d}.jpg" for row in range(PHOTOS)]


def test_photos_in_a_zip_are_read_in_place(answer, home, tmp_path):
    with zipfile.ZipFile(tmp_path / "hidden.zip", "w") as archive:
        for path in sorted((home / "hidden").rglob("*.jpg")):
            archive.write(path, f"test/{path.name}")
    _, probabilities, _ = answer(photos=str(tmp_path / "hidden.zip"))
    _, same, _ = answer()
    np.testing.assert_array_equal(probabilities, same)


def test_a_photo_that_is_left_out_for_its_name_is_noted(home, tmp_path):
    raw = next((home / "hidden").rglob("*.jpg")).read_bytes()
    with zipfile.ZipFile(tmp_path / "hidden.zip", "w") as archive:
        archive.writestr("test/a.jpg", raw)
        archive.writestr("test/b\nc.jpg", raw)
    photos = list_photos(str(tmp_path / "hidden.zip"), sample=None, spool=str(tmp_path))
    assert photos.ids == ["a.jpg"]
    (note,) = photos.notes
    assert note.startswith("Photos left out for their names: 1 (first: test/b")
    assert note.endswith("c.jpg: control characters in the name).")
    assert "\n" not in note


def test_ids_may_lack_the_extension(answer):
    submission, _, _ = answer(ids=["test002", "test000"])
    whole, _, _ = answer()
    assert submission["Category"].tolist() == whole["Category"].iloc[[2, 4]].tolist()


@pytest.fixture
def damaged(home, tmp_path):
    """Returns a folder with one whole photo, one that is cut off, and none for a third Id."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    raw = (home / "hidden" / "deep" / "test000.jpg").read_bytes()
    (folder / "whole.jpg").write_bytes(raw)
    (folder / "cut.jpg").write_bytes(raw[: len(raw) // 2])
    return folder


IDS = ["cut.jpg", "gone.jpg", "whole.jpg"]


def test_an_id_without_a_readable_photo_is_answered_with_the_prior(answer, damaged, home):
    manifest = load_manifest(str(home / "data"))
    _, probabilities, said = answer(photos=str(damaged), ids=IDS, header="Id,0,5,10", cells="0,0,0")
    counts = np.array([entry.count for entry in manifest.classes])
    for row in (0, 1):
        np.testing.assert_allclose(probabilities[row], counts / counts.sum(), atol=1e-6)
    assert "Warning: 2 of 3 photos cannot be read; their answers are the frequency of each class" in said.err
    assert "cut.jpg: " in said.err
    assert "gone.jpg: no photo has this Id" in said.err
    _, whole, _ = answer(photos=str(damaged), ids=["whole.jpg"])
    np.testing.assert_allclose(probabilities[2], whole[0], atol=1e-6)


def test_the_prior_is_answered_as_it_is_where_other_photos_are_calibrated(answer, damaged, home, monkeypatch):
    known = unseen_job._known

    def unevenly(*arguments):
        labels, _, form = known(*arguments)
        return labels, np.array([80.0, 15.0, 5.0]), form

    monkeypatch.setattr(unseen_job, "_known", unevenly)
    asked = {"photos": str(damaged), "ids": IDS, "header": "Id,0,5,10", "cells": "0,0,0", "data": str(home / "data")}
    submission, probabilities, said = answer(**asked)
    assert "Calibrated probabilities" in said.out
    submitted = submission.iloc[:, 1:].astype(float).to_numpy()
    np.testing.assert_allclose(submitted[:2], [[0.8, 0.15, 0.05]] * 2, atol=1e-6)
    assert np.abs(submitted[2] - probabilities[2]).max() > 1e-3


def test_a_bad_photo_may_end_the_work(answer, damaged, tmp_path):
    with pytest.raises(UserError, match=r"^2 of 3 photos cannot be read \(first: cut.jpg: .*--on_bad=prior"):
        answer(photos=str(damaged), ids=IDS, on_bad="fail")
    assert not (tmp_path / "s.csv").exists()


def test_answers_without_any_photo_are_refused(answer, damaged, tmp_path):
    with pytest.raises(
        UserError, match=r"^1 of 1 photos cannot be read \(first: cut.jpg: .*give other photos with --photos=FOLDER"
    ):
        answer(photos=str(damaged), ids=["cut.jpg"])
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ids": ["a.jpg", "b.jpg"]}, r"None of the 2 Ids in .*sample.csv \(first: a.jpg\) names one of the 5 photos"),
        ({"photos": "nowhere"}, "There is nothing at --photos=nowhere"),
        ({"decision": "temperature", "header": "Id,0,5,10", "cells": "0,0,0"}, "--data=DIR"),
        ({"header": "Id,0,5,11", "cells": "0,0,0"}, "11"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_predicted(answer, monkeypatch, changes, text):
    monkeypatch.setattr(device, "select_device", lambda *_, **__: pytest.fail("a device was chosen"))
    with pytest.raises(UserError, match=text):
        answer(**changes)


@pytest.mark.parametrize("option", ["output", "probabilities"])
@pytest.mark.parametrize("source", ["photos", "data"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_predicted(
    answer, home, tmp_path, monkeypatch, option, source
):
    monkeypatch.setattr(programs, "build_photo_classifier", None)
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    what = {"photos": "", "data": str(home / "data")} if source == "data" else {}
    with pytest.raises(UserError, match=r"s\.csv could not be written \(.*\): free some space, or choose another file"):
        answer(**what, **{option: str(tmp_path / "file" / "s.csv")})
    with pytest.raises(UserError, match=r"folder\.csv is a folder: name a file in it"):
        answer(**what, **{option: str(tmp_path / "folder.csv")})


def test_a_folder_without_photos_is_refused(answer, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"There is no photo in --photos=.*none: give the folder or the zip"):
        answer(photos=str(tmp_path / "none"))


def test_calibration_needs_the_data_set_and_says_so(answer, home):
    asked = {"header": "Id,0,5,10", "cells": "0,0,0"}
    _, _, said = answer(**asked)
    assert "Not fitted: calibrated probabilities, since it is fitted on held-out photos" in said.out
    _, _, said = answer(**asked, data=str(home / "data"))
    assert "Calibrated probabilities" in said.out


def test_a_run_of_an_older_version_needs_the_data_set(answer, home, tmp_path):
    directory = tmp_path / "older"
    make_run(directory, load_manifest(str(home / "data")))
    stage = json.loads((directory / runs.STAGE_FILE).read_text())
    del stage["data"]["class_labels"], stage["content_sha256"]
    (directory / runs.STAGE_FILE).write_text(json.dumps(stage))
    with pytest.raises(UserError, match=r"does not say how the competition writes its labels.*--data=DIR"):
        answer(run=str(directory))
    submission, _, _ = answer(run=str(directory), data=str(home / "data"))
    assert len(submission) == PHOTOS


def paths_of(folder, files, ids):
    """Returns what `list_photos` finds for each Id: the path of a file, or None."""
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"")
    sample = read_sample("\n".join(["Id,Category", *(f"{name},0" for name in ids)]).encode(), shown="sample.csv")
    found = list_photos(str(folder), sample=sample, spool="")
    return [entry and entry.path for entry in found._entries]


@pytest.mark.parametrize(
    ("files", "ids", "expected"),
    [
        (["train/a/1.jpg", "test/1.jpg"], ["1"], ["test/1.jpg"]),
        (["train/1.jpg", "images/1.jpg"], ["1.jpg"], ["images/1.jpg"]),
        (["train/a/1.jpg", "test/2.jpg"], ["1", "2"], [None, "test/2.jpg"]),
        (["train/a/1.JPG", "test/2.jpg"], ["1.jpg", "2"], [None, "test/2.jpg"]),
        (["train/a/1.jpg", "test/2.jpg"], ["train/a/1.jpg", "2"], ["train/a/1.jpg", "test/2.jpg"]),
        (["val/1.jpg", "test/2.jpg"], ["1", "2"], ["val/1.jpg", "test/2.jpg"]),
        (["train/a/1.jpg", "train/annotations/1.png"], ["1.jpg"], ["train/a/1.jpg"]),
        (["test/1.jpg", "test/annotations/1.png"], ["1"], ["test/1.jpg"]),
    ],
)
def test_a_training_photo_is_never_taken_for_the_photo_of_an_id(tmp_path, files, ids, expected):
    assert paths_of(tmp_path, files, ids) == expected


def test_an_id_of_several_photos_is_settled_by_the_folder_that_the_error_names(tmp_path):
    files = ["comp/test_a/1.jpg", "comp/test_b/1.jpg"]
    with pytest.raises(UserError, match=r"sample.csv names 1 and there are .* alone, such as --photos=") as caught:
        paths_of(tmp_path, files, ["1"])
    advised = str(caught.value).rpartition("--photos=")[2].removesuffix(".")
    assert paths_of(Path(advised), [], ["1"]) == ["1.jpg"]
    with zipfile.ZipFile(tmp_path / "comp.zip", "w") as archive:
        for path in files:
            archive.writestr(path, b"")
    sample = read_sample(b"Id,Category\n1,0\n", shown="sample.csv")
    with pytest.raises(UserError, match=r": unpack them, and give the folder .* with --photos=FOLDER[.]$"):
        list_photos(str(tmp_path / "comp.zip"), sample=sample, spool=str(tmp_path))


def test_few_photos_are_in_memory_at_once(home, monkeypatch):
    held = dict.fromkeys(("now", "most"), 0)

    @dataclasses.dataclass
    class Counting:
        class_names = ("0", "5", "10")

        def prepare(self, raw):
            held["now"] += 1
            held["most"] = max(held.values())
            return {}

        def predict_prepared(self, photos):
            held["now"] -= len(photos)
            return np.full((len(photos), 3), 1 / 3)

    pace = photo_stream.Pace()
    photos = list_photos(str(home / "hidden"), sample=None, spool="")
    many = dataclasses.replace(photos, ids=[str(n) for n in range(100)], _entries=list(photos._entries) * 20)
    probabilities, unread = photo_stream.predict_list(Counting(), many, batch_size=4, pace=pace)
    assert not unread
    assert np.isfinite(probabilities).all()
    assert held["most"] <= 3 * 4
    assert (pace.photos, pace.first_photos) == (100, 4)
    assert 0 < pace.first_seconds < pace.seconds


def test_the_time_of_many_photos_is_estimated_without_that_of_compiling():
    pace = photo_stream.Pace()
    pace.add(32, seconds=30.0)
    assert time_line(pace) == "Predicted 32 photos in 30 s: 938 ms each, with compiling. 10,000 would take 2 h 35 min."
    pace.add(32, seconds=30.32)
    pace.add(8, seconds=30.4)
    assert time_line(pace) == (
        "Predicted 72 photos in 30 s: 30 s for the first batch, with compiling, then 10 ms each. "
        "10,000 would take 2 min."
    )
    assert pace.expected_seconds(72 + 1000) == pytest.approx(40.4)


@pytest.mark.parametrize("other", [{"compare": "old.csv"}, {"split": "val"}, {"run_weights": "fitted"}, {"photo": "a"}])
def test_options_of_a_data_set_are_refused(other):
    with pytest.raises(UserError, match=f"--{next(iter(other))}"):
        PredictOptions(run="one", photos="hidden", **other)
