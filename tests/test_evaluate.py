"""What `evaluate` prints and stores for a metric other than the accuracy."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from carclf import device, evaluate, hashed_json, runs
from carclf.data.label_patch import read_label_patch
from carclf.data.manifest import load_manifest
from carclf.errors import UserError
from carclf.evaluate import EvaluateOptions
from carclf.inference import programs
from carclf.lock import holding
from carclf.metrics import find_metric
from carclf.report import run_files
from tests.conftest import write_dataset
from tests.inference.made_runs import colour_classifier, make_run
from tests.shown_commands import parse_shown

CPU = device.Device(kind="cpu", backend="tensorflow", replicas=1, precision="float32", jit=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Returns a folder with a data set, 24 photos a fold, and two runs that held out the same fold."""
    home = tmp_path_factory.mktemp("home")
    manifest = write_dataset(home / "data", photos_a_fold=24)
    for seed, name in enumerate(("one", "two"), start=1):
        make_run(home / "runs" / name, manifest, seed=seed)
    return home


@pytest.fixture
def said(home, monkeypatch, capsys):
    """Returns a function that evaluates and returns what was printed."""
    monkeypatch.setattr(device, "select_device", lambda *_, **__: CPU)
    monkeypatch.setattr(programs, "build_photo_classifier", colour_classifier)
    for name in ("draw_history", "draw_confusion", "mistake_pictures", "write_page"):
        monkeypatch.setattr(run_files, name, lambda *_, **__: None)

    def go(**changes) -> str:
        evaluate.main(EvaluateOptions(**({"data": str(home / "data"), "runs": str(home / "runs")} | changes)))
        return capsys.readouterr().out

    return go


def test_the_metric_comes_first_and_is_stored_with_its_value(said, home):
    lines = said(run="one", metric="qwk").splitlines()
    assert "Grades, from low to high: class 0, class 1, class 2." in "\n".join(lines)
    (first,) = [number for number, line in enumerate(lines) if line.startswith("Quadratic weighted kappa ")]
    assert lines[first].endswith(" of one in views clean, fold 0.")
    assert lines[first + 1].startswith("Accuracy of one in views clean, fold 0: ")
    metrics = json.loads((home / "runs" / "one" / runs.METRICS_FILE).read_text())
    assert (metrics["metric"], f"{metrics['val_score']:.4f}") == ("qwk", lines[first].split()[3])
    assert any(line.startswith("Thresholds on the expected grade") for line in lines)


def test_without_a_metric_nothing_is_said_of_one(said, home):
    answer = said(run="one")
    assert "\nAccuracy of one" in answer
    assert "kappa" not in answer
    assert "held-out photos" not in answer
    assert json.loads((home / "runs" / "one" / runs.METRICS_FILE).read_text())["metric"] == "accuracy"


def test_the_runs_of_an_ensemble_are_scored_by_the_metric(said):
    lines = said(run="one,two", run_weights="fitted", metric="log_loss").splitlines()
    scores = [float(line.split()[-1].rstrip(".")) for line in lines if line.startswith("Log loss of ")]
    (both,) = [float(line.split()[2]) for line in lines if " of one + two " in line and line.startswith("Log loss")]
    assert len(scores) == 2
    assert both <= min(scores) + 1e-3


def test_a_run_of_all_folds_that_has_no_hashes_gets_them_as_advised(said, home, capsys):
    directory = home / "runs" / "folds" / "fold0"
    make_run(directory, load_manifest(str(home / "data")))
    metrics = json.loads((directory / runs.METRICS_FILE).read_text())
    del metrics["content_sha256"], metrics["files_sha256"]
    (directory / runs.METRICS_FILE).write_text(json.dumps(metrics))
    (directory / f"{runs.BEST_WEIGHTS}.sha256").unlink()
    assert runs.load_run(directory).best_weights.is_file()
    notes = capsys.readouterr().err.splitlines()
    (command,) = {re.search(r"not noticed: (python .*) adds one[.]$", note)[1] for note in notes}
    assert len(notes) == 2
    said(run=parse_shown(command).run)
    metrics = json.loads((directory / runs.METRICS_FILE).read_text())
    assert metrics["content_sha256"]
    assert metrics["files_sha256"].keys() >= {runs.BEST_WEIGHTS}


@pytest.mark.parametrize("tta", ["clean", "clean|flip"])
def test_a_run_in_training_is_scored_and_stays_unfinished(said, home, tta):
    run = make_run(home / "runs" / "begun", load_manifest(str(home / "data")))
    (run.directory / runs.METRICS_FILE).unlink()
    before = {path.name: path.read_bytes() for path in run.directory.iterdir()}
    answer = said(run="begun", tta=tta)
    assert "\nAccuracy of begun in views " in answer
    assert f"The run {run.directory} is not finished, so nothing is written there" in answer
    assert {path.name: path.read_bytes() for path in run.directory.iterdir()} == before
    assert runs.load_run(run.directory).metrics is None


def test_a_run_that_was_begun_again_during_its_evaluation_stays_unfinished(said, home, monkeypatch):
    run = make_run(home / "runs" / "again", load_manifest(str(home / "data")))

    def summary(*_, **__) -> None:
        (run.directory / runs.METRICS_FILE).unlink()

    monkeypatch.setattr(evaluate, "print_summary", summary)
    assert "is not finished" in said(run="again")
    assert not (run.directory / runs.METRICS_FILE).exists()


def test_nothing_is_written_to_a_folder_that_another_process_holds(said, home):
    run = make_run(home / "runs" / "held", load_manifest(str(home / "data")))
    before = (run.directory / runs.METRICS_FILE).read_bytes()
    with (
        holding(run.directory, doing="training in", option="--run"),
        pytest.raises(UserError, match=f"is writing to {run.directory}: wait for its end or stop it"),
    ):
        said(run="held")
    assert (run.directory / runs.METRICS_FILE).read_bytes() == before
    assert "Report: " in said(run="held")
    assert not list(run.directory.glob(".*"))


def test_weights_without_a_hash_in_a_run_that_is_not_finished_get_one_at_its_end(home, capsys):
    run = make_run(home / "runs" / "old", load_manifest(str(home / "data")))
    for name in (runs.METRICS_FILE, f"{runs.BEST_WEIGHTS}.sha256"):
        (run.directory / name).unlink()
    assert runs.load_run(run.directory).best_weights.is_file()
    assert capsys.readouterr().err.endswith("is not noticed: training the run to its end adds one.\n")


def test_a_corrected_label_patch_is_one_to_train_with(said, home):
    answer = said(run="one")
    advised = re.search(
        r"correct its column class and train with --label_patch=(.*)[.] *$|--label_patch=(\S+)[.] ", answer
    )
    path = Path(next(filter(None, advised.groups())))
    patch = pd.read_csv(path, dtype=str)
    assert read_label_patch(path, load_manifest(str(home / "data"))).labels == {}
    patch.loc[0, "class"] = next(name for name in ("class 0", "class 1") if name != patch.loc[0, "class"])
    patch.to_csv(path, index=False)
    assert len(read_label_patch(path, load_manifest(str(home / "data"))).labels) == 1
    views = re.search(r"--tta='(.*?)', it also tells likely mislabels", answer)[1]
    assert "it also tells" not in said(run="one", tta=views)


def test_the_next_label_patch_keeps_the_corrections_that_photos_were_scored_by(said, home, tmp_path):
    manifest = load_manifest(str(home / "data"))
    own = manifest.read_ids("train")["class_name"]
    corrected = {row: "class 0" if own[row] != "class 0" else "class 1" for row in (0, 30, 60)}
    ids = manifest.read_ids("train")["id"]
    text = "".join(f"{ids[row]},{name}\n" for row, name in corrected.items())
    (tmp_path / "mine.csv").write_text(f"id,class\n{text}")
    answer = said(run="two", label_patch=str(tmp_path / "mine.csv"))
    assert "It keeps 3 earlier corrections: " in answer
    path = home / "runs" / "two" / "label_patch.csv"
    labels = read_label_patch(path, manifest).labels
    assert {row: manifest.class_names[label] for row, label in labels.items()} == corrected


def test_the_history_has_the_metric_that_was_trained_whatever_scores_the_evaluation(said, home, monkeypatch):
    run = make_run(home / "runs" / "followed", load_manifest(str(home / "data")), metric="macro_f1")
    stage = hashed_json.parse((run.directory / runs.STAGE_FILE).read_bytes())
    hashed_json.take_hash(stage)
    hashed_json.write(run.directory / runs.STAGE_FILE, stage | {"metric": "macro_f1"})
    drawn, pages = [], []
    monkeypatch.setattr(run_files, "draw_history", lambda *_, **given: drawn.append(given["metric"]))
    monkeypatch.setattr(run_files, "write_page", lambda **given: pages.append(given["run"].followed_metric))
    answer = said(run="followed", metric="log_loss")
    assert "Log loss " in answer
    assert (drawn, pages) == ([find_metric("macro_f1").title], ["macro_f1"])
