import re

import pytest
import tensorflow as tf

from carclf.errors import UserError
from carclf.train_options import TrainOptions, parse_profile_steps
from carclf.training.checkpointing import Position
from carclf.training.monitoring import ProfileSteps, ProgressBar, TensorBoardScalars

LOGS = {"accuracy": 0.5, "cross_entropy": 1.25, "loss": 9.0}
VALIDATED = {"val_accuracy": 0.25, "val_cross_entropy": 2.5, "val_loss": 9.0, "learning_rate": 0.5, "seconds": 3.0}


def run_epoch(monkeypatch, *, verbose: int, start_step: int = 0) -> None:
    """Runs epoch 3 of 7, with four steps of ten photos, at one second per step."""
    clock = iter(range(100))
    monkeypatch.setattr("carclf.training.monitoring.time.perf_counter", lambda: next(clock))
    position = Position(steps_per_epoch=4)
    position.move(2 * 4 + start_step)
    progress = ProgressBar(
        position=position, batch_size=10, epochs=7, learning_rate_at=lambda step: 0.5 if step < 11 else 0.25
    )
    progress.set_params({"verbose": verbose, "epochs": 3, "steps": 4})
    progress.on_train_begin()
    progress.on_epoch_begin(2)
    for batch in range(4 - start_step):
        position.step += 1
        progress.progbar.interval = 0  # draws every step
        progress.on_train_batch_end(batch, LOGS)
    progress.on_epoch_end(2, LOGS | VALIDATED | {"images_per_second": 8.0})


def test_the_bar_shows_rate_and_images_a_second(monkeypatch, capsys):
    run_epoch(monkeypatch, verbose=1)
    plain = re.sub(r"\x1b\[\d*m|\x08", "", capsys.readouterr().out)
    assert plain.startswith("Epoch 3/7\n")
    first, *_, fourth, end = [line for line in re.split(r"[\r\n]", plain) if "/4 " in line]
    assert first.rstrip().endswith("- loss: 1.2500 - accuracy: 0.5000 - lr: 0.5000")
    assert fourth.startswith("4/4 ")
    assert fourth.rstrip().endswith("- loss: 1.2500 - accuracy: 0.5000 - lr: 0.2500 - images/s: 10.0000")
    assert end.rstrip().endswith("- lr: 0.5000 - images/s: 8.0000 - val_loss: 2.5000 - val_accuracy: 0.2500")


def test_a_resumed_epoch_has_a_bar_of_what_is_left(monkeypatch, capsys):
    run_epoch(monkeypatch, verbose=1, start_step=1)
    out = capsys.readouterr().out
    assert "3/3" in out
    assert "/4" not in out


def test_without_a_terminal_an_epoch_is_a_plain_line(monkeypatch, capsys):
    run_epoch(monkeypatch, verbose=2)
    heading, line = capsys.readouterr().out.splitlines()
    assert heading == "Epoch 3/7"
    assert re.fullmatch(
        r"4/4 - \d+s - \S+/step - loss: 1.2500 - accuracy: 0.5000 - val_loss: 2.5000 - val_accuracy: 0.2500 - "
        r"lr: 0.5000 - images/s: 8.0000",
        line,
    )


def test_each_epoch_is_a_point_of_every_curve_of_tensorboard(tmp_path):
    row = {
        "loss": 1.5, "accuracy": 0.5, "val_loss": 2.5, "val_accuracy": 0.25, "learning_rate": 0.125,
        "images_per_second": 8.0, "waiting_fraction": None,
    }  # fmt: skip
    rows = iter([row, row | {"loss": 0.75}])
    board = TensorBoardScalars(tmp_path / "tensorboard", newest_row=lambda: next(rows))
    for epoch in range(2):
        board.on_epoch_end(epoch)
    points = {}
    for name in ("train", "validation"):
        (path,) = (tmp_path / "tensorboard" / name).iterdir()
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name in ("scalars", "")  # later points leave it out
                points[name, value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    assert points["train", "epoch_loss", 1] == 1.5
    assert points["train", "epoch_loss", 2] == 0.75
    assert points["validation", "epoch_loss", 2] == 2.5
    assert points["validation", "epoch_accuracy", 1] == 0.25
    assert points["train", "epoch_learning_rate", 2] == 0.125
    assert len(points) == 2 * (4 + 2)


@pytest.mark.parametrize(
    ("first", "last", "recorded"), [(2, 3, ["start", 2, 3, "stop"]), (4, 9, ["start", 4, 5, "stop"]), (6, 7, [])]
)
def test_a_profile_holds_the_steps_that_were_asked_for(tmp_path, monkeypatch, capsys, first, last, recorded):
    events = []
    monkeypatch.setattr("carclf.training.monitoring.keras.backend.backend", lambda: "tensorflow")
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda directory: events.append("start"))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: events.append("stop"))
    profile = ProfileSteps(tmp_path, first=first, last=last)
    for step in range(1, 6):
        profile.on_train_batch_begin(step)
        events.append(step)
        profile.on_train_batch_end(step)
    profile.on_train_end()
    if recorded:
        assert events[events.index("start") : events.index("stop") + 1] == recorded
        assert f"Profile of steps {recorded[1]} to {recorded[-2]}: {tmp_path}" in capsys.readouterr().out
    else:
        assert events == [1, 2, 3, 4, 5]


def test_profile_steps_are_two_numbers():
    assert parse_profile_steps("10,20") == (10, 20)
    assert parse_profile_steps("") is None
    for text in ("10", "20,10", "0,3", "a,b", "1,2,3"):
        with pytest.raises(UserError, match=f"--profile_steps={text} is not a pair of steps: write the first and"):
            TrainOptions(profile_steps=text)
