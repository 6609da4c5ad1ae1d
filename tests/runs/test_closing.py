import dataclasses
import json

import pytest

from carclf import hashed_json, runs
from carclf.runs.closing import close_run, with_evaluation
from carclf.runs.weights_files import sha256_of
from tests.inference.made_runs import make_run

EVALUATION = {"accuracy": 0.75, "log_loss": 0.5, "photos": 8, "per_class": [], "metric": "qwk", "score": 0.4}
FIT = {"best_epoch": 2, "epochs": 3, "train_seconds": 1.5}


@pytest.fixture
def run(dataset, tmp_path):
    made = make_run(tmp_path / "one", dataset)
    (made.directory / runs.METRICS_FILE).unlink()
    return dataclasses.replace(made, metrics=None)


def test_a_run_is_finished_once_it_is_closed(run):
    evaluated = with_evaluation(run, EVALUATION, views="clean", fit=FIT)
    assert runs.load_run(run.directory).metrics is None
    close_run(evaluated)
    metrics = json.loads((run.directory / runs.METRICS_FILE).read_text())
    figures = {"val_accuracy": 0.75, "val_loss": 0.5, "val_photos": 8, "evaluation": EVALUATION}
    figures |= {"metric": "qwk", "val_score": 0.4, "engines": ["keras"]}
    files = (runs.BEST_WEIGHTS, runs.HISTORY_FILE)
    hashes = {"files_sha256": {name: sha256_of(run.directory / name) for name in files}}
    assert evaluated.metrics == FIT | figures
    assert hashed_json.take_hash(metrics)
    assert metrics == FIT | figures | hashes


def test_a_run_says_what_it_reached(run):
    assert run.score == ""
    assert with_evaluation(run, EVALUATION, views="clean").score == "val_qwk 0.4000"
    assert dataclasses.replace(run, metrics={"val_accuracy": 0.75}).score == "val_accuracy 0.7500"  # of an older carclf


def test_what_several_views_reach_stands_beside_the_clean_view(run):
    evaluated = with_evaluation(run, EVALUATION, views="clean", fit=FIT)
    better = with_evaluation(evaluated, EVALUATION | {"accuracy": 1.0}, views="clean|flip")
    assert better.metrics["tta"] == {
        "views": "clean|flip",
        "engines": ["keras"],
        "evaluation": EVALUATION | {"accuracy": 1.0},
    }
    assert {name: value for name, value in better.metrics.items() if name != "tta"} == evaluated.metrics
    again = with_evaluation(better, EVALUATION | {"log_loss": 0.25}, views="clean")
    assert again.metrics["val_loss"] == 0.25
    assert (again.metrics["best_epoch"], again.metrics["tta"]) == (2, better.metrics["tta"])
