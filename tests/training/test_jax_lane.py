"""Keras on JAX gives the same results as on TensorFlow: on eight devices, on two hosts, killed and resumed."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from carclf import device, runs, train
from carclf.data.batches import HostSlice
from carclf.data.pipeline import training_batches, validation_batches
from carclf.framing import Framing
from carclf.inference.dataset_predictions import Predictions, predict_runs
from carclf.recipe import parse_recipe, parse_views
from carclf.report import augmentation, run_files
from carclf.train_options import TrainOptions
from carclf.training import checkpointing

ROOT = Path(__file__).parents[2]
DOORS = Path(__file__).with_name("commands_in_one_process.py")
CPU = device.Device(kind="cpu", backend="tensorflow", replicas=1, precision="float32", jit=False)
SMALL = {
    "backbone": "tiny", "weights": "none", "image_size": "32", "batch_size": 16, "epochs": 5, "steps": 1, "patience": 0,
    "dropout": 0.0, "augment": "flip|shift(0.1)|cutmix", "train_batch_norm": True, "render": "separable",
}  # fmt: skip
# An epoch is a step, so that the history holds the loss of each and the validation of the weights after it. Only
# dropout is drawn by the backend.
HISTORY = ["loss", "accuracy", "val_loss", "val_accuracy"]
# What XLA compiles for tests runs once: optimising it takes longer.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def flags(**options: object) -> list[str]:
    return [
        f"--{'' if value else 'no'}{name}" if isinstance(value, bool) else f"--{name}={value}"
        for name, value in options.items()
    ]


def start(*commands: list[str], folder: Path, backend: str = "jax") -> subprocess.Popen[str]:
    environment = {"KERAS_BACKEND": backend, "XLA_FLAGS": QUICK, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, str(DOORS), json.dumps(commands)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=os.environ | environment,
    )  # fmt: skip


def said_by(process: subprocess.Popen[str], *, code: int = 0) -> str:
    said = process.communicate(timeout=900)[0]
    assert process.returncode == code, said
    return said


def predicted_here(run: Path, dataset, *, views: str) -> Predictions:
    """Predicts the fold that the run held out, on TensorFlow."""
    loaded = [runs.load_run(run)]
    (predictions,) = predict_runs(
        loaded, manifest=dataset, split="train", folds=[0], views=parse_views(views), batch_size=8, jit=False
    )
    return predictions


def history(folder: Path, run: str) -> np.ndarray:
    return pd.read_csv(folder / run / runs.HISTORY_FILE)[HISTORY].to_numpy(float)


def train_here(options: dict[str, object]) -> None:
    """Trains on TensorFlow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "select_device", lambda *_, **__: CPU)
        patch.setattr(augmentation, "draw_recipe", lambda *_, **__: None)
        for name in ("draw_history", "draw_confusion", "write_page"):
            patch.setattr(run_files, name, lambda *_, **__: None)
        tf.config.run_functions_eagerly(True)  # running a step takes less time than tracing it
        try:
            train.main(TrainOptions(**options))
        finally:
            tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def lanes(dataset, tmp_path_factory):
    """Returns a folder with the runs `first` and, trained from it, `tf` on TensorFlow and `jax` on JAX."""
    folder = tmp_path_factory.mktemp("runs")
    shared = SMALL | {"data": dataset.directory, "runs": str(folder)}
    train_here(shared | {"run": "first", "epochs": 1})
    train_here(shared | {"run": "tf", "init_from": "first"})
    jax = flags(**shared, run="jax", init_from="first", device="cpu", cpu_devices=8)
    of_run = flags(runs=folder, run="tf", data=dataset.directory, device="cpu", batch_size=3)
    view = flags(tta="flip", output=folder / "jax.csv", probabilities=folder / "probabilities.csv", split="val")
    before = json.loads((folder / "tf" / runs.METRICS_FILE).read_text())
    said = said_by(start(["train", *jax], ["evaluate", *of_run], ["predict", *of_run, *view], folder=folder))
    return folder, before, said


pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`")


def test_eight_devices_take_the_steps_that_tensorflow_takes(lanes):
    folder, _, said = lanes
    assert "Device: 8 CPUs, Keras on jax, float32" in said
    assert "16 photos per epoch (2 per device)" in said
    ours, theirs = history(folder, "jax"), history(folder, "tf")
    assert len(set(theirs[:, 0])) == 5
    np.testing.assert_allclose(ours[:, 0], theirs[:, 0], atol=1e-3)
    np.testing.assert_allclose(ours[:, 2], theirs[:, 2], atol=1e-4)


def test_weights_of_tensorflow_evaluate_alike_on_jax(lanes):
    """Eight devices cannot share batches of 3, so these are padded to 8."""
    folder, before, _ = lanes
    after = json.loads((folder / "tf" / runs.METRICS_FILE).read_text())
    assert after["val_accuracy"] == before["val_accuracy"]
    assert after["val_loss"] == pytest.approx(before["val_loss"], abs=1e-4)


def test_predictions_of_a_view_agree(lanes, dataset):
    folder, _, _ = lanes
    on_jax = pd.read_csv(folder / "probabilities.csv").iloc[:, 1:4].to_numpy(float)
    here = predicted_here(folder / "tf", dataset, views="flip")
    np.testing.assert_allclose(on_jax, here.probabilities, atol=1e-4)


def test_weights_of_jax_load_on_tensorflow(lanes, dataset):
    folder, _, _ = lanes
    metrics = json.loads((folder / "jax" / runs.METRICS_FILE).read_text())
    here = predicted_here(folder / "jax", dataset, views="")
    labels = dataset.read_ids("train").iloc[here.rows]["label"].to_numpy(int)
    loss = -np.log(here.probabilities[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(metrics["val_loss"], abs=1e-4)


@pytest.mark.parametrize(("asked", "devices", "filled"), [(32, 1, 32), (3, 8, 8), (8, 8, 8), (9, 8, 16)])
def test_a_batch_is_filled_up_to_a_multiple_of_the_devices(asked, devices, filled):
    assert dataclasses.replace(CPU, replicas=devices).padded_batch_size(asked) == filled


# --- several hosts


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_decode_one_batch_between_them(dataset, hosts):
    shared = {"manifest": dataset, "framing": Framing(image_size=(32, 32)), "batch_size": 12}
    mixing = {"recipe": parse_recipe("rotate(9)|cutmix"), "epochs": 1, "seed": 5, "folds": [1, 2]}

    def batches(host_slice: HostSlice) -> list[list[np.ndarray]]:
        training = training_batches(**shared, **mixing, host_slice=host_slice)
        validation = validation_batches(**shared, folds=[0], recipe=parse_recipe(""), host_slice=host_slice)
        return [[np.asarray(a) for a in tf.nest.flatten(batch)] for batch in [*training, *validation]]

    whole, parts = batches(HostSlice()), [batches(HostSlice(host, hosts)) for host in range(hosts)]
    assert len(whole) == 2
    for number, batch in enumerate(whole):
        for index, array in enumerate(batch):
            joined = np.concatenate([part[number][index] for part in parts])
            np.testing.assert_array_equal(joined, array)


@pytest.mark.slow
def test_two_hosts_take_the_steps_that_one_takes(lanes, dataset, tmp_path):
    """Host 1 runs in its own folder and leaves nothing in it; both hosts are killed and resume together."""
    folder, _, _ = lanes
    shared = SMALL | {"data": dataset.directory, "runs": str(folder), "init_from": "first", "device": "cpu"}
    together = shared | {"run": "two", "cpu_devices": 2, "num_hosts": 2, "coordinator": f"127.0.0.1:{free_port()}"}
    hosts = [start(["train", *flags(**together, host=host)], folder=tmp_path) for host in (0, 1)]
    try:
        said = [said_by(host) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
            host.communicate()
    assert "Device: 4 CPUs of 2 hosts, Keras on jax" in said[0]
    assert "Epoch" not in said[1]
    np.testing.assert_allclose(history(folder, "two"), history(folder, "jax"), atol=1e-4)
    assert {path.name for path in (folder / "two").iterdir()} >= {runs.BEST_WEIGHTS, runs.METRICS_FILE}
    assert list(tmp_path.iterdir()) == []


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


# --- killed


@pytest.mark.slow
def test_a_run_that_is_killed_on_jax_ends_as_if_it_had_not_been(dataset, tmp_path):
    options = SMALL | {
        "data": dataset.directory, "runs": str(tmp_path), "device": "cpu", "cpu_devices": 2, "batch_size": 4,
        "steps": 3, "epochs": 3, "dropout": 0.3, "ema_momentum": 0.9, "save_every": 2,
    }  # fmt: skip
    said_by(start(["train", *flags(**options, run="golden")], folder=tmp_path))
    killed = start(["train", *flags(**options, run="killed")], folder=tmp_path)
    checkpoints = tmp_path / "killed" / runs.CHECKPOINTS_FOLDER
    while killed.poll() is None and not list(checkpoints.glob("step-00000004.json")):
        time.sleep(0.002)
    killed.kill()
    said_by(killed, code=-signal.SIGKILL)
    assert not (tmp_path / "killed" / runs.METRICS_FILE).exists()
    assert "Resuming from step" in said_by(start(["train", *flags(**options, run="killed")], folder=tmp_path))
    np.testing.assert_array_equal(history(tmp_path, "killed"), history(tmp_path, "golden"))
    with (
        h5py.File(tmp_path / "killed" / runs.LAST_WEIGHTS) as ours,
        h5py.File(tmp_path / "golden" / runs.LAST_WEIGHTS) as theirs,
    ):
        names: list[str] = []
        theirs.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert len(names) > 20
        for name in names:
            np.testing.assert_array_equal(ours[name][()], theirs[name][()], err_msg=name)


class Stopped(BaseException):
    """Stands for the end of a machine."""


def stop_after_three(self: checkpointing.CheckpointSaver, batch: int, logs: object = None) -> None:
    self.save()
    if self.saved_step == 3:
        raise Stopped


@pytest.mark.slow
def test_a_run_that_tensorflow_has_begun_is_resumed_on_jax(lanes, dataset, monkeypatch):
    folder, _, _ = lanes
    options = SMALL | {"data": dataset.directory, "runs": str(folder), "run": "moved", "init_from": "first"}
    monkeypatch.setattr(checkpointing.CheckpointSaver, "on_train_batch_end", stop_after_three)
    with pytest.raises(Stopped):
        train_here(options)
    said = said_by(start(["train", *flags(**options, device="cpu", cpu_devices=8)], folder=folder))
    assert "Resuming from step 3 (epoch 3)" in said
    assert "device 1 cpu → 8 cpu, backend tensorflow → jax" in said
    ours, theirs = history(folder, "moved"), history(folder, "tf")
    np.testing.assert_array_equal(ours[:2], theirs[:2])
    np.testing.assert_allclose(ours[:, 0], theirs[:, 0], atol=1e-3)
    np.testing.assert_allclose(ours[:, 2], theirs[:, 2], atol=1e-4)
