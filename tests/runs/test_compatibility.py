"""A data set and two runs that carclf wrote before 0.1.0 can still be read, resumed and used for prediction.

written_before_0_1.zip contains what commit 84db9c3 wrote with FLAGS:
  data/                 20 photos to train on, 20 to validate on, 10 to predict
  runs/finished         two steps per epoch
  runs/interrupted      four steps per epoch, stopped at step 5 of 12
  identity.weights.h5   the initial weights of both
  expected/             what the same commit predicted with runs/finished, and how it completed runs/interrupted

It trained on TensorFlow. JAX resumes it, too, but dropout draws other numbers there.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WRITTEN = Path(__file__).with_name("written_before_0_1.zip")
COMMANDS = ROOT / "tests" / "training" / "commands_in_one_process.py"
FLAGS = [
    "--data=data", "--device=cpu", "--backbone=tiny", "--weights=identity.weights.h5", "--image_size=32x32", "--seed=7",
    "--head_width=8", "--augment=flip", "--cache=none", "--batch_size=5", "--epochs=3", "--optimizer=sgd",
    "--learning_rate=0.05", "--unfreeze=head",
]  # fmt: skip
FIGURES = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns the unpacked files, after predicting with and evaluating the finished run, and resuming the other."""
    folder = tmp_path_factory.mktemp("written")
    with zipfile.ZipFile(WRITTEN) as archive:
        archive.extractall(folder)
    commands = [
        ["predict", "--run=finished", "--data=data", "--output=sub.csv", "--probabilities=prob.csv", "--device=cpu"],
        ["evaluate", "--run=finished", "--data=data", "--device=cpu"],
        ["train", *FLAGS, "--run=interrupted", "--steps=4", "--save_every=1"],
    ]
    answer = subprocess.run(
        [sys.executable, str(COMMANDS), json.dumps(commands)], capture_output=True, text=True, cwd=folder, timeout=300
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (folder / "said.txt").write_text(answer.stdout, encoding="utf-8")
    return folder


def archived(name: str) -> bytes:
    with zipfile.ZipFile(WRITTEN) as archive:
        return archive.read(name)


def metrics_of(content: bytes) -> dict[str, float]:
    metrics = json.loads(content)
    return {name: metrics[name] for name in ("val_accuracy", "val_loss", "val_photos", "best_epoch", "epochs")}


def test_it_predicts_the_same_probabilities(folder):
    found, expected = (pd.read_csv(path / "prob.csv", dtype={"Id": str}) for path in (folder, folder / "expected"))
    assert found["Id"].tolist() == expected["Id"].tolist()
    classes = [str(label) for label in range(10)]
    np.testing.assert_allclose(found[classes], expected[classes], atol=1e-5, rtol=0)
    assert (folder / "sub.csv").read_bytes() == (folder / "expected/sub.csv").read_bytes()


def test_evaluating_it_gives_the_figures_it_ended_with(folder):
    found = metrics_of((folder / "runs/finished/metrics.json").read_bytes())
    assert found == pytest.approx(metrics_of(archived("runs/finished/metrics.json")), abs=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="dropout draws other numbers than TensorFlow's")
def test_its_checkpoint_is_resumed_to_the_end_it_would_have_had(folder):
    files = (folder / "runs/interrupted/history.csv", folder / "expected/resumed_history.csv")
    found, expected = (pd.read_csv(path)[FIGURES] for path in files)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    metrics = metrics_of((folder / "runs/interrupted/metrics.json").read_bytes())
    assert metrics == pytest.approx(metrics_of((folder / "expected/resumed_metrics.json").read_bytes()), abs=1e-5)


def test_it_is_not_trained_again_from_the_start(folder):
    assert "step 5 (epoch 2)" in (folder / "said.txt").read_text(encoding="utf-8")
    first_epoch = archived("runs/interrupted/history.csv").splitlines()[1]
    files = (folder / "runs/interrupted/history.csv", folder / "expected/resumed_history.csv")
    assert files[0].read_bytes().splitlines()[1] == first_epoch  # with its seconds
    found, expected = (pd.read_csv(path)[["epoch", "learning_rate"]] for path in files)
    pd.testing.assert_frame_equal(found, expected)
