"""The files that a trial leaves, and the reasons of its failure."""

import json
from pathlib import Path

import pytest

from carclf.errors import UserError
from carclf.train_options import TrainOptions
from carclf.tuning import trial
from carclf.tuning.trial import TrainTrial, TrialFailedError, TrialPrunedError


class Process:
    """Stays alive for a number of polls, and writes an epoch before each."""

    def __init__(self, history: Path, epochs: int) -> None:
        self.history, self.epochs, self.looks = history, epochs, 0

    def is_alive(self) -> bool:
        self.looks += 1
        rows = "".join(f"{epoch},0.5,0.{epoch}\n" for epoch in range(1, min(self.looks, self.epochs)))
        self.history.write_text(f"epoch,val_accuracy,val_score\n{rows}")
        return self.looks <= self.epochs

    def join(self, seconds: float) -> None:
        pass


@pytest.fixture
def process(tmp_path):
    return Process(tmp_path / "history.csv", epochs=4)


def test_every_epoch_is_reported_once(process):
    seen = []
    trial._follow(process, process.history, lambda *said: bool(seen.append(said)), column="val_score")
    assert seen == [(1, 0.1), (2, 0.2), (3, 0.3)]


@pytest.mark.parametrize("value", ["", "nan", "inf"])  # pandas writes NaN as an empty field
def test_a_trial_without_a_finite_metric_fails(process, value):
    process.history.write_text(f"epoch,val_score\n1,0.5\n2,{value}\n")
    with pytest.raises(TrialFailedError, match="val_score is not finite after epoch 2"):
        trial._epochs(process.history, "val_score")


def test_a_pruned_trial_ends_at_once_and_a_finished_one_counts(process):
    with pytest.raises(TrialPrunedError):
        trial._follow(process, process.history, lambda epoch, value: epoch == 2, column="val_score")
    assert process.looks == 3
    trial._follow(Process(process.history, epochs=0), process.history, lambda *said: True, column="val_score")


def test_a_refused_trial_fails_with_the_trainers_own_sentence(tmp_path):
    run = TrainTrial(TrainOptions(data=str(tmp_path / "none"), learning_rate=0.5), tmp_path / "trials")
    stale = tmp_path / "trials" / "trial-00007"
    stale.mkdir(parents=True)
    (stale / "history.csv").write_text("epoch,val_accuracy\n1,0.9\n")
    with pytest.raises(TrialFailedError, match=r"none.*\(exit code 2, see .*trial-00007/log.txt\)"):
        run(7, {"dropout": 0.1}, lambda epoch, accuracy: pytest.fail("nothing was trained"))
    assert [path.name for path in stale.iterdir()] == ["log.txt"]


def test_incompatible_values_fail_without_a_process(tmp_path):
    run = TrainTrial(TrainOptions(data="data", ema_momentum=0.9), tmp_path)
    with pytest.raises(TrialFailedError, match="--swa_epochs=2 is not possible"):
        run(0, {"swa_epochs": 2}, lambda epoch, accuracy: False)


@pytest.mark.parametrize(
    ("code", "log", "reason"),
    [
        (
            2,
            "Epoch 1\nError: The device ran out of memory: lower it.\n\nbye\n",
            "The device ran out of memory: lower it",
        ),
        (1, "Traceback\nKeyError: 'loss'\n", "KeyError: 'loss'"),
        (-9, "Epoch 1\n", "the trainer was killed by signal 9, most likely because memory ran out"),
        (3, "", ""),
    ],
)
def test_reasons(tmp_path, code, log, reason):
    (tmp_path / "log.txt").write_text(log)
    assert trial._reason(code, tmp_path / "log.txt").startswith(f"{reason} (")


def test_only_figures_are_kept(tmp_path):
    for name in ("stage.json", "history.csv", "metrics.json", "log.txt", "best.weights.h5", "report.html"):
        (tmp_path / name).write_text(json.dumps(name))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-1.npz").write_text("")
    trial._drop_weights(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"stage.json", "history.csv", "metrics.json", "log.txt"}


def test_a_full_disk_is_no_fault_of_a_trial(tmp_path):
    (tmp_path / "log.txt").write_text(
        "Error: a.png could not be written (No space left on device): free some space there.\n"
    )
    failure = trial._failure(2, tmp_path / "log.txt")
    assert isinstance(failure, UserError)
    assert "The search stops: a.png could not be written (No space left on device)" in str(failure)
    (tmp_path / "log.txt").write_text("Error: --weights=x is not there.\n")
    assert isinstance(trial._failure(2, tmp_path / "log.txt"), TrialFailedError)
