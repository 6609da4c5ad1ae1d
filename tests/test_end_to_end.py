"""A whole competition: photos are drawn, converted, trained on in two stages, evaluated, predicted and submitted."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.commands import open_door, without_progress
from tests.conftest import write_dataset

ROOT = Path(__file__).parent.parent
SMALL = ("--backbone=tiny", "--weights=none", "--batch_size=8", "--device=cpu", "--augment=flip|shift(0.1)")


def run(*arguments: str, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    name, *rest = arguments[1:] if arguments[0] == "-m" else arguments
    return open_door(name, *rest, folder=folder, code=code)


def read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Returns a folder in which a whole competition was run, with the output of every command."""
    folder = tmp_path_factory.mktemp("home")
    run("-m", "carclf.sample", "--output=photos", "--photos=80", "--width=96", "--height=72", folder=folder)
    convert = (str(ROOT / "tools" / "make_tfrecords.py"), "--input=photos", "--output=data", "--folds=4")
    run(*convert, folder=folder)
    train = ("-m", "carclf.train", "--data=data", *SMALL, "--epochs=2")
    run(*train, "--run=first", "--image_size=32", folder=folder)
    run(*train, "--run=second", "--init_from=first", "--image_size=32x48", "--cpu_devices=2", folder=folder)
    return folder


def test_a_run_leaves_every_file_that_people_and_commands_read(home):
    names = {path.name for path in (home / "runs" / "second").iterdir()}
    assert names >= {
        "stage.json", "history.csv", "history.png", "augmentation.png", "confusion.png", "metrics.json", "report.html",
        "best.weights.h5", "last.weights.h5",
    }  # fmt: skip
    stage = json.loads((home / "runs" / "second" / "stage.json").read_text())
    assert stage["parent"]["stage"] == "first"
    assert stage["device"]["replicas"] == 2
    assert stage["data"]["fingerprint"] == json.loads((home / "data" / "dataset.json").read_text())["fingerprint"]
    metrics = json.loads((home / "runs" / "second" / "metrics.json").read_text())
    assert {"val_accuracy", "val_loss", "val_photos", "best_epoch", "train_seconds"} <= set(metrics)
    assert metrics["val_photos"] == 20


def test_evaluation_repeats_the_validation_of_the_training(home):
    trained = json.loads((home / "runs" / "second" / "metrics.json").read_text())
    history = read_csv(home / "runs" / "second" / "history.csv")
    answer = run("-m", "carclf.evaluate", "--run=second", "--data=data", "--batch_size=7", folder=home)
    evaluated = json.loads((home / "runs" / "second" / "metrics.json").read_text())
    assert evaluated["val_accuracy"] == trained["val_accuracy"]
    of_epochs = history.val_accuracy.astype(float)
    if best := trained["best_epoch"]:
        assert trained["val_accuracy"] == pytest.approx(of_epochs.max())
        assert trained["val_accuracy"] == pytest.approx(of_epochs[best - 1])
    else:  # neither epoch was better than the weights of the parent
        assert trained["val_accuracy"] >= of_epochs.max() - 1e-6
    assert evaluated["val_loss"] == pytest.approx(trained["val_loss"], abs=1e-5)
    assert "on 20 photos" in answer.stdout
    assert len(read_csv(home / "runs" / "second" / "label_patch.csv")) == round(20 * (1 - trained["val_accuracy"]))


@pytest.mark.parametrize("tta", ["clean", "clean|flip|zoom(1.1)", "random(3)"])
def test_a_submission_has_the_samples_ids_in_its_order(home, tta):
    run(
        "-m", "carclf.predict", "--run=second", "--data=data", f"--tta={tta}", "--output=out/submission.csv",
        "--probabilities=out/probabilities.csv", "--batch_size=6", folder=home,
    )  # fmt: skip
    submission, sample = read_csv(home / "out" / "submission.csv"), read_csv(home / "photos" / "sample-submission.csv")
    assert list(submission.columns) == ["Id", "Category"]
    assert submission["Id"].tolist() == sample["Id"].tolist()
    assert set(submission["Category"]) <= {str(k) for k in range(10)}
    probabilities = read_csv(home / "out" / "probabilities.csv").set_index("Id").loc[submission["Id"]]
    values = probabilities[[str(k) for k in range(10)]].astype(float).to_numpy()
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-5)
    assert submission["Category"].tolist() == [str(k) for k in values.argmax(axis=1)]


def test_an_ensemble_is_the_mean_of_its_runs(home):
    def probabilities(runs: str) -> np.ndarray:
        run(
            "-m", "carclf.predict", f"--run={runs}", "--data=data", "--output=out/s.csv", "--probabilities=out/p.csv",
            folder=home,
        )  # fmt: skip
        return read_csv(home / "out" / "p.csv").iloc[:, 1:11].astype(float).to_numpy()

    first, second, both = (probabilities(runs) for runs in ("first", "second", "first,second"))
    np.testing.assert_allclose(both, (first + second) / 2, atol=2e-7)


def test_weights_are_fitted_and_an_older_submission_is_compared_with(home):
    older = read_csv(home / "photos" / "sample-submission.csv").assign(Category="9")
    older.to_csv(home / "older.csv", index=False)
    answer = run(
        "-m", "carclf.predict", "--run=first,second", "--run_weights=fitted", "--data=data", "--compare=older.csv",
        "--tta=clean*2|flip", "--tta_mean=logits", "--output=out/new.csv", folder=home,
    )  # fmt: skip
    assert "fitted on 20 held-out photos" in answer.stdout
    newer, changes = read_csv(home / "out" / "new.csv"), read_csv(home / "out" / "new.changes.csv")
    assert f"Against older.csv, {len(changes)} of 20 photos changed" in answer.stdout
    assert set(changes["Id"]) == set(newer["Id"][newer["Category"] != "9"])
    assert (home / "out" / "new.changes.jpg").read_bytes().startswith(b"\xff\xd8")


def test_photos_are_predicted_without_a_data_set(home):
    (home / "some").mkdir()
    photo = next((home / "photos").rglob("*.jpg"))
    (home / "some" / "good.jpg").write_bytes(photo.read_bytes())
    (home / "some" / "broken.jpg").write_bytes(photo.read_bytes()[:500])
    answer = run("-m", "carclf.predict", "--run=first", "--photo=some", "--top=2", folder=home, code=2)
    (line,) = answer.stdout.splitlines()
    assert line.startswith("some/good.jpg   ")
    assert line.count("%") == 2
    said = [line for line in answer.stderr.splitlines() if line.startswith(("some/", "Error"))]
    assert said[0].startswith("some/broken.jpg cannot be read: ")
    assert said[1:] == ["Error: 1 of 2 files could not be read."]


def test_the_held_out_fold_can_be_predicted(home):
    run("-m", "carclf.predict", "--run=first", "--data=data", "--split=val", "--output=out/val.csv", folder=home)
    predicted, ids = read_csv(home / "out" / "val.csv"), read_csv(home / "data" / "ids-train.csv")
    held_out = ids[ids["fold"] == "0"]
    assert predicted["Id"].tolist() == held_out["id"].tolist()
    accuracy = np.mean(predicted["Category"].to_numpy() == held_out["class_name"].to_numpy())
    metrics = json.loads((home / "runs" / "first" / "metrics.json").read_text())
    assert accuracy == pytest.approx(metrics["val_accuracy"])


def test_the_same_seed_gives_the_same_run(home):
    train = ("-m", "carclf.train", "--data=data", *SMALL, "--epochs=2", "--run=again", "--image_size=32")
    run(*train, folder=home)
    first, again = (read_csv(home / "runs" / name / "history.csv") for name in ("first", "again"))
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
    pd.testing.assert_frame_equal(first[columns], again[columns])
    weights = [(home / "runs" / name / "best.weights.h5") for name in ("first", "again")]
    import h5py

    with h5py.File(weights[0]) as one, h5py.File(weights[1]) as other:
        names: list[str] = []
        one.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert len(names) > 10
        for name in names:
            np.testing.assert_array_equal(one[name][()], other[name][()])


def test_a_finished_run_started_again_says_so(home):
    before = (home / "runs" / "first" / "metrics.json").stat().st_mtime_ns
    answer = run("-m", "carclf.train", "--data=data", *SMALL, "--run=first", folder=home)
    assert "is finished" in answer.stdout
    assert (home / "runs" / "first" / "metrics.json").stat().st_mtime_ns == before


def refused(*arguments: str, folder: Path) -> str:
    answer = run(*arguments, folder=folder, code=2)
    assert "Traceback" not in answer.stderr
    lines = without_progress(answer.stderr)
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_a_missing_data_folder_and_a_folder_that_is_no_data_set_are_one_sentence(home, command):
    flags = (*SMALL, "--run=new") if command == "train" else ("--run=first",)
    assert "There is no folder nowhere" in refused("-m", f"carclf.{command}", "--data=nowhere", *flags, folder=home)
    assert "it has no dataset.json" in refused("-m", f"carclf.{command}", "--data=photos", *flags, folder=home)


def test_a_run_of_another_class_count_is_one_sentence(home):
    if not (home / "other").exists():
        write_dataset(home / "other")
    for command in ("evaluate", "predict"):
        said = refused("-m", f"carclf.{command}", "--run=first", "--data=other", folder=home)
        assert "10 classes" in said or "trained on the data set" in said
    said = refused("-m", "carclf.train", "--data=other", *SMALL, "--run=child", "--init_from=first", folder=home)
    assert "10 classes" in said


def test_a_missing_parent_names_the_command_that_makes_it(home):
    said = refused("-m", "carclf.train", "--stage=b3_512", "--data=data", folder=home)
    assert "python -m carclf.train --stage=b3_300_all --data=data" in said


def test_a_changed_sample_means_no_file(home):
    sample = read_csv(home / "photos" / "sample-submission.csv")
    sample.iloc[1:].to_csv(home / "short.csv", index=False)
    said = refused(
        "-m", "carclf.predict", "--run=first", "--data=data", "--sample=short.csv", "--output=none.csv", folder=home
    )
    assert "1 photo is not in the sample" in said
    assert not (home / "none.csv").exists()
