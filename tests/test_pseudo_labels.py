"""`carclf.predict --pseudo_labels`: which test photos it writes, where they come from, and what is refused."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from carclf import device, hashed_json, predict, runs
from carclf.data.pseudo_labels import apply_pseudo_labels, provenance_file
from carclf.errors import UserError
from carclf.inference import programs
from carclf.inference.calibration import fit_temperature, tempered
from carclf.inference.dataset_predictions import Predictions, predict_runs
from carclf.inference.evaluation import labels_of
from carclf.predict import PredictOptions
from carclf.recipe import parse_views
from carclf.runs.weights_files import sha256_of
from tests.conftest import write_dataset
from tests.inference.made_runs import colour_classifier, make_run

CPU = device.Device(kind="cpu", backend="tensorflow", replicas=1, precision="float32", jit=False)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(device, "select_device", lambda *_, **__: CPU)
    monkeypatch.setattr(programs, "build_photo_classifier", colour_classifier)


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """A data set of two folds of 24 photos and 30 test photos."""
    return write_dataset(tmp_path_factory.mktemp("data") / "set", folds=2, photos_a_fold=24, test_photos=30)


@pytest.fixture
def options(larger, tmp_path):
    for name, seed in (("a", 1), ("b", 3)):
        make_run(tmp_path / name, larger, seed=seed)
    return PredictOptions(
        run="a",
        runs=str(tmp_path),
        data=larger.directory,
        output=str(tmp_path / "submission.csv"),
        pseudo_labels=str(tmp_path / "pseudo.csv"),
        pseudo_confidence=0.36,
    )


def predicted(name: str, options: PredictOptions, larger, *, split: str, folds=None) -> Predictions:
    """Returns the predictions of the run of that name."""
    (found,) = predict_runs(
        [runs.load_run(runs.run_path(name, runs=options.runs))], manifest=larger, split=split, folds=folds,
        views=parse_views("clean"), batch_size=32, jit=False,
    )  # fmt: skip
    return found


def test_the_sure_photos_are_written_with_their_calibrated_confidence(options, larger, capsys):
    assert predict.main(options) == 0
    said = capsys.readouterr().out
    held_out = predicted("a", options, larger, split="train", folds=[0])
    temperature = fit_temperature(held_out.probabilities, labels_of(held_out, larger))
    calibrated = tempered(predicted("a", options, larger, split="test").probabilities, temperature)
    written = pd.read_csv(options.pseudo_labels)
    rows = [int(name[4:7]) for name in written["id"]]
    assert 1 <= len(written) < 30
    assert written["confidence"].min() >= 0.36
    np.testing.assert_allclose(written["confidence"], calibrated[rows].max(axis=1), atol=1e-4)
    assert written["class"].tolist() == [f"class {label}" for label in calibrated[rows].argmax(axis=1)]
    assert f"Pseudo-labels: {options.pseudo_labels} ({len(written)} of 30 test photos; 0 more are disputed" in said


def test_they_say_where_they_come_from_and_can_be_trained_on(options, larger, tmp_path):
    predict.main(options)
    beside = json.loads(provenance_file(tmp_path / "pseudo.csv").read_text())
    run = runs.load_run(tmp_path / "a")
    assert beside["teachers"] == [
        {
            "run": str(tmp_path / "a"),
            "weights_sha256": sha256_of(run.best_weights),
            "data_fingerprint": larger.fingerprint,
            "val_fold": 0,
        }
    ]
    assert (beside["views"], beside["confidence"], beside["data_fingerprint"]) == ("clean", 0.36, larger.fingerprint)
    pseudo = apply_pseudo_labels(options.pseudo_labels, larger, val_fold=0).pseudo_labels
    assert len(pseudo.labels) == len(pd.read_csv(options.pseudo_labels))


def test_what_the_runs_dispute_is_left_out(options, larger, capsys):
    predict.main(dataclasses.replace(options, run="a,b", pseudo_confidence=0.01))
    each = [predicted(name, options, larger, split="test").probabilities.argmax(axis=1) for name in "ab"]
    agreed = {f"test{row:03d}.jpg" for row in np.flatnonzero(each[0] == each[1])}
    assert 0 < len(agreed) < 30
    assert set(pd.read_csv(options.pseudo_labels)["id"]) <= agreed
    assert f"{30 - len(agreed)} more are disputed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pseudo_confidence": 1.0}, r"No pseudo-labels were written to .*, since no test photo is sure \(0 of 30 "),
        ({"split": "val"}, r"--pseudo_labels=.* is not possible: only test photos get pseudo-labels"),
        ({"photos": "folder"}, r"--pseudo_labels=.* is not possible: --photos answers for photos of no data set"),
        ({"photo": "car.jpg"}, r"is not possible: --photo predicts without a data set"),
        ({"pseudo_confidence": 0.0}, r"--pseudo_confidence=0.0 is not possible"),
        ({"run": "a,other"}, "held out fold 0 and .* fold 1, so no photos are new to both"),
    ],
    ids=["sure", "split", "photos", "photo", "confidence", "folds"],
)
def test_what_is_refused_writes_no_pseudo_labels(options, larger, tmp_path, changes, message):
    make_run(tmp_path / "other", larger, val_fold=1)
    with pytest.raises(UserError, match=message):
        predict.main(dataclasses.replace(options, **changes))
    assert not (tmp_path / "pseudo.csv").exists()


def change_stage(directory, **data):
    path = directory / runs.STAGE_FILE
    content = json.loads(path.read_text())
    content.pop(hashed_json.HASH_KEY)
    content["data"] |= data
    hashed_json.write(path, content)


def test_runs_that_may_know_the_labels_are_refused(options, larger, tmp_path):
    make_run(tmp_path / "heir", larger, init_from="b")
    change_stage(tmp_path / "b", fingerprint="f" * 64)
    for name in ("b", "heir"):
        with pytest.raises(UserError, match=r"b was trained on the data set ffffffffffff, .* may have seen the labels"):
            predict.main(dataclasses.replace(options, run=name))
    change_stage(tmp_path / "a", pseudo_labels={"sha256": "0" * 64, "photos": 3})
    with pytest.raises(UserError, match=r"a has trained on pseudo-labels of these test photos, so its confidence"):
        predict.main(options)


def test_too_few_held_out_photos_are_refused(dataset, options, tmp_path):
    make_run(tmp_path / "few", dataset)
    few = dataclasses.replace(options, run="few", data=dataset.directory)
    with pytest.raises(UserError, match=r"needs 20 of them, but there are 8: train with larger folds"):
        predict.main(few)
    assert not (tmp_path / "submission.csv").exists()
