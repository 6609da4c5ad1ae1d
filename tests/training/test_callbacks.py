import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from carclf.errors import UserError
from carclf.metrics import find_metric
from carclf.training import callbacks
from carclf.training.checkpointing import Position


def logs(accuracy: float, cross_entropy: float) -> dict[str, float]:
    return {
        "accuracy": accuracy, "cross_entropy": cross_entropy, "loss": 9.0,
        "val_accuracy": accuracy, "val_cross_entropy": cross_entropy, "val_loss": 9.0,
    }  # fmt: skip


def small_model(value: float) -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.full((1, 1), value)])
    return model


def test_best_weights_follow_accuracy_then_cross_entropy(tmp_path):
    model = small_model(0)
    best = callbacks.BestWeights(model, tmp_path / "best.weights.h5")
    scores = [(0.5, 1.0), (0.7, 0.9), (0.6, 0.1), (0.7, 0.8), (0.7, 0.85)]
    for epoch, (accuracy, cross_entropy) in enumerate(scores):
        model.set_weights([np.full((1, 1), epoch)])
        best.on_epoch_end(epoch, logs(accuracy, cross_entropy))
    assert (best.best_epoch, best.best_score) == (4, 0.7)
    loaded = small_model(-1)
    loaded.load_weights(tmp_path / "best.weights.h5")
    assert loaded.get_weights()[0].item() == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.weights.h5", "best.weights.h5.sha256"]


@pytest.mark.parametrize(
    ("name", "values", "best"), [("log_loss", [1.0, 0.4, 0.6], (2, 0.4)), ("qwk", [-0.1, 0.2, 0.3], (3, 0.3))]
)
def test_best_weights_and_patience_follow_the_metric(tmp_path, name, values, best):
    metric = find_metric(name)
    kept = callbacks.BestWeights(small_model(0), tmp_path / "best.weights.h5", metric=metric)
    stopping = callbacks.StopWithoutProgress(patience=1, metric=metric)
    stopping.set_model(SimpleNamespace(stop_training=False))
    for epoch, value in enumerate(values):
        figures = logs(1.0 - 0.1 * epoch, 1.0) | {f"val_{metric.log}": value}  # the accuracy falls
        kept.on_epoch_end(epoch, figures)
        stopping.on_epoch_end(epoch, figures)
    assert (kept.best_epoch, kept.best_score) == best
    assert stopping.model.stop_training is (name == "log_loss")
    again = callbacks.BestWeights(small_model(0), tmp_path / "best.weights.h5", metric=metric)
    again.restore(json.loads(json.dumps(kept.state())))
    assert (again.best_epoch, again.best_score) == best


def test_figures_that_are_not_finite_are_better_than_no_weights(tmp_path):
    kept = callbacks.BestWeights(small_model(0), tmp_path / "best.weights.h5", metric=find_metric("log_loss"))
    kept.on_epoch_end(0, logs(0.5, float("nan")))
    assert kept.best_epoch == 1
    kept.on_epoch_end(1, logs(0.4, 9.0))
    assert (kept.best_epoch, kept.best_score) == (2, 9.0)


def test_the_history_of_another_metric_has_its_score(tmp_path):
    history = callbacks.HistoryFile(tmp_path / "history.csv", metric=find_metric("qwk"))
    history.on_epoch_end(0, logs(0.5, 1.0) | {"score": 0.1, "val_score": 0.2})
    frame = pd.read_csv(tmp_path / "history.csv")
    assert list(frame.columns) == [*callbacks.HISTORY_COLUMNS, "score", "val_score"]
    assert frame.loc[0, ["score", "val_score", "val_accuracy"]].tolist() == [0.1, 0.2, 0.5]


def test_the_best_weights_of_smaller_images_give_way_to_the_first_of_larger_ones(tmp_path):
    small = callbacks.BestWeights(small_model(1), tmp_path / "best.weights.h5")
    small.on_epoch_end(0, logs(0.9, 0.1))
    small.on_epoch_end(1, logs(0.8, 0.1))
    for first_epoch, accuracy, best in ((2, 0.5, (3, 0.5)), (0, 0.5, (1, 0.9))):  # best of another size, of the same
        larger = callbacks.BestWeights(small_model(2), tmp_path / "best.weights.h5", first_epoch=first_epoch)
        larger.restore(small.state())
        assert larger.best_epoch == 1  # its file exists
        larger.on_epoch_end(2, logs(accuracy, 1.0))
        assert (larger.best_epoch, larger.best_score) == best
    fresh = callbacks.BestWeights(small_model(3), tmp_path / "best.weights.h5", first_epoch=2)
    fresh.restore(small.state())
    again = callbacks.BestWeights(small_model(3), tmp_path / "best.weights.h5", first_epoch=2)
    again.restore(fresh.state())  # saved before the first epoch of the larger images has ended
    again.on_epoch_end(2, logs(0.1, 2.0))
    assert again.best_epoch == 3


def test_a_failed_save_keeps_the_old_weights(tmp_path, monkeypatch):
    path = tmp_path / "best.weights.h5"
    callbacks.save_weights(small_model(1), path)
    old = path.read_bytes()

    def full(self, content):
        with open(self, "wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        callbacks.save_weights(small_model(2), path)
    assert path.read_bytes() == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.weights.h5", "best.weights.h5.sha256"]


@pytest.mark.parametrize(
    ("loss", "pseudo", "photos"),
    [
        (float("nan"), [], "the training photos in rows 24, 7"),
        (float("inf"), [3], "the training photos in rows 24, 7 and the test photos in rows 3"),
    ],
)
def test_a_loss_that_is_no_number_names_the_step_and_the_rows(loss, pseudo, photos):
    def rows_of_step(step: int) -> dict[str, list[int]]:
        return {"train": [step, 7], "test": pseudo}

    position = Position(steps_per_epoch=10)
    position.move(23)
    guard = callbacks.StopOnNonFiniteLoss(position=position, rows_of_step=rows_of_step)
    position.on_epoch_begin(2)
    position.on_train_batch_end(0)
    guard.on_train_batch_end(0, {"loss": 1.0})
    position.on_train_batch_end(1)
    said = rf"epoch 3, step 5 \(step 25 of the run\), on a batch of {photos}: lower"
    with pytest.raises(UserError, match=said):
        guard.on_train_batch_end(1, {"loss": loss})


def test_patience_counts_epochs_without_a_higher_accuracy():
    stopping = callbacks.StopWithoutProgress(patience=2)
    model = small_model(0)
    model.stop_training = False
    stopping.set_model(model)
    for epoch, accuracy in enumerate([0.5, 0.4, 0.6, 0.6]):
        stopping.on_epoch_end(epoch, {"val_accuracy": accuracy})
    assert not model.stop_training
    again = callbacks.StopWithoutProgress(patience=2)
    again.set_model(model)
    again.restore(stopping.state())
    again.on_epoch_end(4, {"val_accuracy": 0.6})
    assert model.stop_training


def test_patience_takes_any_figure_for_better_than_one_that_is_not_finite():
    stopping = callbacks.StopWithoutProgress(patience=2, metric=find_metric("log_loss"))
    stopping.set_model(SimpleNamespace(stop_training=False))
    stopping.begin({"val_cross_entropy": float("nan")})
    for epoch, entropy in enumerate([0.9, 0.8, 0.85]):
        stopping.on_epoch_end(epoch, {"val_cross_entropy": entropy})
    assert not stopping.model.stop_training
    assert stopping.state() == {"best": -0.8, "waited": 1}
    stopping.restore({"best": float("nan"), "waited": 1})  # saved after such a start
    stopping.on_epoch_end(3, {"val_cross_entropy": 0.9})
    assert not stopping.model.stop_training


def test_timing_and_history(tmp_path, monkeypatch):
    clock = iter([0.0, 4.0, 5.0, 10.0, 14.0, 16.0])
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: next(clock))
    input_clock = SimpleNamespace(seconds=1.0)
    timing = callbacks.TimingCallback(
        images_per_epoch=200, learning_rate_at=lambda epoch: 0.1 * 0.5**epoch, input_clock=input_clock
    )
    history = callbacks.HistoryFile(tmp_path / "history.csv")
    for epoch in range(2):
        results = logs(0.5, 1.5)
        timing.on_epoch_begin(epoch)
        input_clock.seconds += 0.5 * epoch
        timing.on_train_batch_end(9)
        timing.on_epoch_end(epoch, results)
        history.on_epoch_end(epoch, results)
    assert timing.seconds == [5.0, 6.0]
    assert timing.total_seconds == 11.0
    frame = pd.read_csv(tmp_path / "history.csv")
    assert list(frame.columns) == list(callbacks.HISTORY_COLUMNS)
    assert frame.to_dict("list") == {
        "epoch": [1, 2], "loss": [1.5, 1.5], "accuracy": [0.5, 0.5], "val_loss": [1.5, 1.5], "val_accuracy": [0.5, 0.5],
        "learning_rate": [0.1, 0.05], "seconds": [5.0, 6.0], "images_per_second": [50.0, 50.0],
        "waiting_fraction": [0.0, 0.125],
    }  # fmt: skip


def test_an_epoch_that_was_interrupted_counts_the_wait_of_all_its_parts(monkeypatch):
    now, input_clock = iter([0.0, 4.0, 6.0, 100.0, 104.0, 106.0, 107.0]), SimpleNamespace(seconds=3.0)
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: next(now))

    def timing() -> callbacks.TimingCallback:
        return callbacks.TimingCallback(
            images_per_epoch=100, learning_rate_at=lambda epoch: 0.1, input_clock=input_clock
        )

    killed, resumed, results = timing(), timing(), logs(0.5, 1.5)
    killed.on_epoch_begin(0)
    input_clock.seconds += 2.0
    killed.on_train_batch_end(0)
    state = json.loads(json.dumps(killed.state()))
    assert state == {"seconds": [], "running": 6.0, "waited": 2.0}
    input_clock.seconds = 0.5  # of the new process, which has read ahead
    resumed.restore(state)
    resumed.on_epoch_begin(0)
    input_clock.seconds += 1.0
    resumed.on_train_batch_end(1)
    resumed.on_epoch_end(0, results)
    assert (results["seconds"], results["images_per_second"], results["waiting_fraction"]) == (12.0, 10.0, 0.3)
    assert resumed.state() == {"seconds": [12.0], "running": 1.0, "waited": 0.0}
