"""A submission in each form, from the command's options to the file; what is fitted, compared and refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from carclf import device, predict
from carclf.data.manifest import MANIFEST_FILE, load_manifest, to_json
from carclf.errors import UserError
from carclf.forms import Form
from carclf.inference import programs
from carclf.predict import PredictOptions
from tests.conftest import write_dataset
from tests.inference.made_runs import colour_classifier, make_run

CPU = device.Device(kind="cpu", backend="tensorflow", replicas=1, precision="float32", jit=False)
CLASSES = ("0", "5", "10")
IDS = [f"test{row:03d}.jpg" for row in (4, 3, 2, 1, 0)]
COLUMNS = Form("probabilities", ("Id", "10", "0", "5", "Usage"), ("10", "0", "5"), column_classes=("10", "0", "5"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Returns a folder with a data set, 24 photos a fold, and two runs that held out the same and another fold."""
    home = tmp_path_factory.mktemp("home")
    manifest = write_dataset(home / "data", photos_a_fold=24)
    make_run(home / "runs" / "one", manifest)
    make_run(home / "runs" / "other", manifest, seed=2, val_fold=1)
    return home


@pytest.fixture
def answer(home, tmp_path, monkeypatch, capsys):
    """Returns a function that predicts and returns (submission, probabilities, what was printed)."""
    monkeypatch.setattr(device, "select_device", lambda *_, **__: CPU)
    monkeypatch.setattr(programs, "build_photo_classifier", colour_classifier)

    def go(**changes):
        options = {
            "data": str(home / "data"), "runs": str(home / "runs"), "run": "one", "output": str(tmp_path / "s.csv"),
            "probabilities": str(tmp_path / "p.csv"), "batch_size": 8,
        }  # fmt: skip
        assert predict.main(PredictOptions(**(options | changes))) == 0
        read = [pd.read_csv(tmp_path / name, dtype=str, keep_default_na=False) for name in ("s.csv", "p.csv")]
        values = read[1].iloc[:, 1:4].astype(float).to_numpy()
        return read[0], values, capsys.readouterr().out

    return go


@pytest.fixture
def asks_for(home):
    """Returns a function that gives the data set a sample and a form, until the test ends."""
    paths = [home / "data" / name for name in (MANIFEST_FILE, "sample-submission.csv")]
    before = [path.read_bytes() for path in paths]

    def change(*, header: str, cells: str, form: Form | None = None) -> Path:
        paths[1].write_text("\n".join([header, *(f"{name},{cells}" for name in IDS)]) + "\n")
        paths[0].write_bytes(to_json(dataclasses.replace(load_manifest(str(home / "data")), form=form)))
        return paths[1]

    yield change
    for path, content in zip(paths, before, strict=True):
        path.write_bytes(content)


def test_labels_are_the_likeliest_classes(answer):
    submission, probabilities, said = answer()
    assert submission["Id"].tolist() == IDS
    assert submission["Category"].tolist() == [CLASSES[k] for k in probabilities.argmax(axis=1)]
    assert "Submission" in said
    assert "held-out" not in said


@pytest.mark.parametrize("stored", [COLUMNS, None])
def test_probabilities_are_written_in_the_samples_columns_and_calibrated(answer, asks_for, stored):
    asks_for(header="Id,10,0,5,Usage", cells="0.3,0.3,0.4,Public", form=stored)
    submission, probabilities, said = answer()
    assert list(submission.columns) == list(COLUMNS.header)
    assert submission["Usage"].tolist() == ["Public"] * 5
    values = submission[list(CLASSES)].astype(float).to_numpy()
    np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(values.argmax(axis=1), probabilities.argmax(axis=1))
    assert "Calibrated probabilities (temperature " in said
    assert "on 24 held-out photos" in said
    assert not np.allclose(values, probabilities, atol=1e-3)
    assert "5 rows of probabilities, 3 columns, 1 views" in said


def test_without_a_decision_the_probabilities_are_those_of_the_runs(answer, asks_for):
    asks_for(header="Id,10,0,5,Usage", cells="0.3,0.3,0.4,Public", form=COLUMNS)
    submission, probabilities, said = answer(decision="plain")
    np.testing.assert_allclose(submission[list(CLASSES)].astype(float), probabilities, atol=1e-6)
    assert "held-out" not in said


def test_runs_that_held_out_different_folds_are_not_calibrated_and_that_is_said(answer, asks_for):
    asks_for(header="Id,10,0,5,Usage", cells="0.3,0.3,0.4,Public", form=COLUMNS)
    _, _, said = answer(run="one,other")
    assert "Not fitted: calibrated probabilities. The run " in said


def test_a_ranking_holds_the_likeliest_labels(answer, asks_for):
    asks_for(header="Id,Category", cells="0 5", form=None)
    submission, probabilities, said = answer()
    order = np.argsort(-probabilities, axis=1)[:, :2]
    assert submission["Category"].tolist() == [" ".join(CLASSES[k] for k in row) for row in order]
    assert "ranking(2), the column Category" in said
    submission, _, _ = answer(form="ranking(3)")
    assert {len(cell.split()) for cell in submission["Category"]} == {3}


def test_thresholds_decide_on_grades(answer):
    _, _, said = answer(metric="qwk")
    assert "Thresholds on the expected grade" in said
    with pytest.raises(UserError, match="--decision=thresholds is for labels that are scored by qwk"):
        answer(decision="thresholds")


def test_a_sample_beside_the_data_set_says_another_form(answer, asks_for, tmp_path):
    (tmp_path / "sample.csv").write_text("\n".join(["image,0,5,10", *(f"{name},0,0,1" for name in IDS)]))
    submission, _, _ = answer(sample=str(tmp_path / "sample.csv"))
    assert list(submission.columns) == ["image", "0", "5", "10"]


def test_held_out_photos_are_written_in_the_data_sets_form(answer, asks_for):
    asks_for(header="Id,10,0,5,Usage", cells="0.3,0.3,0.4,Public", form=COLUMNS)
    submission, _, _ = answer(split="val")
    assert (list(submission.columns), len(submission)) == (["Id", "10", "0", "5"], 24)


def test_probabilities_are_compared_with_older_ones(answer, asks_for, tmp_path):
    asks_for(header="Id,10,0,5,Usage", cells="0.3,0.3,0.4,Public", form=COLUMNS)
    submission, _, _ = answer(decision="plain")
    submission.assign(**dict.fromkeys(CLASSES, "0")).assign(**{"5": "1"}).to_csv(tmp_path / "old.csv", index=False)
    _, _, said = answer(decision="plain", compare=str(tmp_path / "old.csv"))
    changed = sum(submission[list(CLASSES)].astype(float).idxmax(axis=1) != "5")
    assert f"{changed} of 5 photos changed" in said
    moved = 1 - submission["5"].astype(float).mean()
    assert f"The answers differ by {moved:.4f} on average" in said


@pytest.mark.parametrize(
    ("header", "cells", "changes", "text"),
    [
        ("Id,10,0", "0.5,0.5", {}, "has columns for 2 of the 3 classes, none for 5"),
        ("Id,Category", "7", {}, r"has '7' in the column Category, which is none of the 3 classes \(0, 5, 10\)"),
        ("Id,Category", "0", {"form": "probability"}, "probability is for two classes, but there are 3"),
        ("Id,Category", "0", {"positive": "5"}, "--positive=5 is for the form probability"),
        ("Id,Category", "0", {"metric": "log_loss"}, "--metric=log_loss scores probabilities"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_before_anything_is_predicted(
    answer, asks_for, monkeypatch, header, cells, changes, text
):
    asks_for(header=header, cells=cells)
    monkeypatch.setattr(device, "select_device", lambda *_, **__: pytest.fail("it began"))
    with pytest.raises(UserError, match=text):
        answer(**changes)


def test_the_least_certain_answers_are_listed_first_with_their_photos(answer, home, tmp_path):
    submission, probabilities, said = answer(uncertain=str(tmp_path / "u.csv"))
    table = pd.read_csv(tmp_path / "u.csv", dtype={"class": str, "second": str})
    assert list(table.columns) == ["Id", "class", "second", "margin", "held_out", "right"]
    assert table["margin"].is_monotonic_increasing
    written = submission.set_index("Id")["Category"]
    names = dict(zip(CLASSES, load_manifest(str(home / "data")).class_names, strict=True))
    answered = dict(zip(table["Id"], table["class"], strict=True))
    assert answered == {name: names[label] for name, label in written.items()}
    ranked = dict(zip(submission["Id"], np.argsort(-probabilities, axis=1), strict=True))
    assert table["second"].tolist() == [names[CLASSES[ranked[name][1]]] for name in table["Id"]]
    assert (tmp_path / "u.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert f"Uncertain: {tmp_path / 'u.csv'}, {tmp_path / 'u.jpg'} (about " in said
    assert " of 5 answers are likely wrong, half of these among the first " in said


def test_confidences_are_calibrated_on_photos_that_the_runs_held_out(answer, tmp_path):
    with pytest.raises(UserError, match=r"held out fold 0 and .* fold 1, so no photos are new to both"):
        answer(run="one,other", uncertain=str(tmp_path / "u.csv"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "both"),
    [
        ({"compare": "./s.csv"}, "--compare and --output"),
        ({"sample": "s.csv"}, "--sample and --output"),
        ({"output": "data/sample-submission.csv"}, "the data set's own sample submission and --output"),
        ({"probabilities": "out/../s.csv"}, "--output and --probabilities"),
        ({"pseudo_labels": "s.csv"}, "--output and --pseudo_labels"),
        ({"pseudo_labels": "link.csv"}, "--output and --pseudo_labels"),
        ({"pseudo_labels": "s", "output": "s.json"}, "--output and the JSON file beside --pseudo_labels"),
        ({"uncertain": "s.csv"}, "--output and --uncertain"),
        ({"uncertain": "s.csv", "output": "s.jpg"}, "--output and the picture beside --uncertain"),
        ({"compare": "s.changes.csv"}, "--compare and the list of --compare beside --output"),
        ({"compare": "old.csv", "probabilities": "s.changes.csv"}, "--probabilities and the list of --compare"),
        ({"compare": "s3://a/s.csv", "output": "s3://a/s.csv"}, "--compare and --output"),
        ({"photos": "s.csv"}, "--photos and --output"),
    ],
)
def test_a_file_is_never_written_over_another_one_or_one_that_is_read(home, tmp_path, monkeypatch, changes, both):
    monkeypatch.chdir(tmp_path)
    for name in ("data", "runs"):
        Path(name).symlink_to(home / name)
    Path("s.csv").write_text("mine")
    Path("link.csv").symlink_to("s.csv")
    options = {"data": "data", "runs": "runs", "run": "one", "output": "s.csv"} | changes
    before = [(home / "data" / "sample-submission.csv").read_bytes(), b"mine"]
    with pytest.raises(UserError, match=rf"would be both {both}.*: give each a file of its own[.]"):
        predict.main(PredictOptions(**options))
    assert [Path(name).read_bytes() for name in ("data/sample-submission.csv", "s.csv")] == before
    own = {"output": "new.csv", "probabilities": "p.csv"}
    predict.check_outputs(PredictOptions(**(options | own)))


def test_the_form_is_refused_where_photos_are_only_shown():
    for name, value in (("positive", "5"), ("form", "probability")):
        with pytest.raises(UserError, match=f"--{name}={value} is not possible: --photo predicts without a data set"):
            PredictOptions(photo="a.jpg", run="one", **{name: value})
    with pytest.raises(UserError, match="--form=cells is not a form"):
        PredictOptions(run="one", data="data", form="cells")


@pytest.mark.parametrize(
    ("name", "value"), [("data", "d"), ("output", "a.csv"), ("split", "val"), ("metric", "qwk"), ("compare", "b.csv")]
)
def test_a_single_photo_takes_nothing_that_belongs_to_a_data_set(name, value):
    assert PredictOptions(photo="a.jpg", run="one", top=5).top == 5
    with pytest.raises(UserError, match=f"--{name}={value} is not possible: --photo predicts without a data set, and"):
        PredictOptions(photo="a.jpg", run="one", **{name: value})


def test_a_data_set_without_test_photos_says_what_else_can_be_predicted(answer, tmp_path):
    manifest = write_dataset(tmp_path / "data", photos_a_fold=3, test_photos=0)
    make_run(tmp_path / "run", manifest)
    with pytest.raises(UserError, match=r"has no test photos: .* --photos=FOLDER, or .* --split=val\.$"):
        answer(data=manifest.directory, run=str(tmp_path / "run"))
