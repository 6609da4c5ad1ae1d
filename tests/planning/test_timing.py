"""Timings come from the commands; what is too slow or fails is left out with its reason."""

import os
import signal

import pytest

from carclf import preemption, runs
from carclf.errors import Preempted, UserError
from carclf.planning import timing
from carclf.planning.candidates import SCRATCH, Candidate
from carclf.planning.sampling import TimingSample
from carclf.planning.timing import Stopwatch

CANDIDATES = [Candidate("tiny", "none", size, SCRATCH, 8) for size in ("32", "48", "64")]
HISTORY = "epoch,seconds,images_per_second\n1,9.0,4.0\n2,3.0,8.0\n3,3.0,8.0\n"


@pytest.fixture
def commands(monkeypatch):
    """Returns what each command was, and lets a test say how those of an image size end; others train and predict."""
    ends: dict[str, tuple[int, str]] = {}
    started: list[list[str]] = []
    limits: list[float | None] = []
    clock = [0.0]

    def run_child(command, *, what, output, limit_seconds):
        module, arguments = command[2], command[3:]
        started.append([module, *arguments])
        if module == "carclf.train":
            limits.append(limit_seconds)
        given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments if "=" in argument)
        code, text = ends.get(given.get("image_size", module), (0, "Device: 1 CPU."))
        output.write_text(f"{text}\n")
        clock[0] += (limit_seconds or 0) + 1 if code == -signal.SIGKILL else 20
        if module == "carclf.train" and not code:
            folder = output.parent / output.stem
            folder.mkdir()
            (folder / runs.HISTORY_FILE).write_text(HISTORY)
            checkpoints = folder / runs.CHECKPOINTS_FOLDER
            checkpoints.mkdir()
            for step, seconds in (("step-00000006", 100), ("step-00000009", 104)):
                (checkpoints / f"{step}.json").touch()
                os.utime(checkpoints / f"{step}.json", (seconds, seconds))
        return code

    monkeypatch.setattr(timing, "run_child", run_child)
    monkeypatch.setattr(timing.time, "monotonic", lambda: clock[0])
    return started, ends, limits


def stopwatch(folder, *, limit: float = 1000.0, **given: str) -> Stopwatch:
    sample = TimingSample("data", train_photos=24, val_photos=6)
    return Stopwatch(sample, {"augment": "none", "val_fold": "2", **given}, folder, limit)


def test_each_candidate_trains_the_sample_for_a_few_epochs(commands, tmp_path):
    started, _, _ = commands
    timings = stopwatch(tmp_path).times(CANDIDATES)
    assert timings.device == "Device: 1 CPU."
    assert [one.candidate for one in timings.stages] == CANDIDATES
    # Training takes all 3 s of an epoch, and the checkpoints are 4 s apart.
    assert [(one.pause_seconds, one.once_seconds) for one in timings.stages] == [(1, 20 - 3 * 4)] * 3
    assert [words[0] for words in started] == [
        "carclf.planning.starting", "carclf.train", "carclf.predict", "carclf.train", "carclf.train",
    ]  # fmt: skip
    for words in (words for words in started if words[0] == "carclf.train"):
        assert {"--stage=scratch_96", "--epochs=3", "--data=data", "--augment=none", "--val_fold=2"} <= set(words)
    assert timings.prediction.start_seconds == 20


def test_what_a_sample_cannot_take_is_left_out_of_its_training(commands, tmp_path):
    started, _, _ = commands
    given = {
        "label_patch": "patch.csv", "pseudo_labels": "pseudo.csv", "class_weights": "balanced", "warmup_epochs": "3",
        "swa_epochs": "4", "profile_steps": "1,2", "cache": "decoded", "dropout": "0.3",
    }  # fmt: skip
    stopwatch(tmp_path, **given).times(CANDIDATES[:1])
    (words,) = (words for words in started if words[0] == "carclf.train")
    named = {word.partition("=")[0].removeprefix("--"): word.partition("=")[2] for word in words}
    assert named.keys() & given.keys() == {"cache", "dropout"}
    assert (named["cache"], named["dropout"]) == (str(tmp_path / "cache"), "0.3")
    started.clear()
    (tmp_path / "again").mkdir()
    stopwatch(tmp_path / "again", cache="ram").times(CANDIDATES[:1])
    assert "--cache=ram" in started[1]


def test_a_size_that_is_too_slow_leaves_out_larger_ones(commands, tmp_path, capsys):
    _, ends, limits = commands
    ends["48"] = (-signal.SIGKILL, "")
    timings = stopwatch(tmp_path).times(CANDIDATES)
    assert limits == [None, 1000]  # the first says how small a budget can be, however slow it is
    assert [one.candidate.image_size for one in timings.stages] == ["32"]
    said = capsys.readouterr().out
    assert "48 px: too slow for this budget, 1001 s for 3 short epochs." in said
    assert "64 px is left out: the timings have taken enough of the budget." in said


def test_a_size_that_fails_leaves_out_larger_ones(commands, tmp_path, capsys):
    _, ends, _ = commands
    ends["48"] = (2, "Error: The device is out of memory: lower --batch_size.")
    assert [one.candidate.image_size for one in stopwatch(tmp_path).times(CANDIDATES).stages] == ["32"]
    said = capsys.readouterr().out
    assert "48 px: The device is out of memory: lower --batch_size." in said
    assert "64 px is left out: a smaller size was too slow or failed." in said


def test_timings_end_when_they_have_taken_enough(commands, tmp_path):
    assert [one.candidate.image_size for one in stopwatch(tmp_path, limit=30).times(CANDIDATES).stages] == ["32"]


def test_the_reason_is_told_if_nothing_can_be_timed(commands, tmp_path):
    _, ends, _ = commands
    ends |= dict.fromkeys(("32", "48", "64"), (2, "Error: --weights=b3.h5 is not there: give the path."))
    with pytest.raises(UserError, match=r"Nothing can be planned: --weights=b3.h5 is not there: give the path"):
        stopwatch(tmp_path).times(CANDIDATES)


@pytest.mark.parametrize("last", ["32", "48", "carclf.predict", "carclf.planning.starting"])
@pytest.mark.parametrize("code", [preemption.PREEMPTED, 1, -signal.SIGKILL, 0])
def test_a_candidate_that_is_told_to_stop_has_not_failed(commands, tmp_path, monkeypatch, last, code):
    started, ends, _ = commands
    ends[last] = (code, "Error: Stopped by SIGTERM: the run has no checkpoint yet.")
    run_child = timing.run_child

    def told(command, **how):
        ended = run_child(command, **how)
        if f"--image_size={last}" in command or last in command:
            os.kill(os.getpid(), signal.SIGTERM)
        return ended

    monkeypatch.setattr(timing, "run_child", told)
    with preemption.watching(lambda: "nothing was written"), pytest.raises(Preempted) as stopped:
        stopwatch(tmp_path).times(CANDIDATES)
    assert str(stopped.value) == "Stopped by SIGTERM: nothing was written."
    assert last in started[-1] or f"--image_size={last}" in started[-1]


def test_a_candidate_that_alone_is_told_to_stop_has_failed(commands, tmp_path, monkeypatch):
    _, ends, _ = commands
    ends["48"] = (preemption.PREEMPTED, "Error: Stopped by SIGTERM: the run has no checkpoint yet.")
    monkeypatch.setattr(timing.preemption, "check_soon", preemption.check)  # here the clock stands still
    assert [one.candidate.image_size for one in stopwatch(tmp_path).times(CANDIDATES).stages] == ["32"]


def test_a_device_that_is_not_there_is_told_first(commands, tmp_path):
    started, ends, _ = commands
    ends["carclf.planning.starting"] = (2, "Error: --device=gpu was asked for and TensorFlow sees no GPU.")
    with pytest.raises(UserError, match=r"^--device=gpu was asked for and TensorFlow sees no GPU\.$"):
        stopwatch(tmp_path).times(CANDIDATES)
    assert len(started) == 1


def test_tensorflow_that_does_not_start_is_told(commands, tmp_path):
    _, ends, _ = commands
    ends["carclf.planning.starting"] = (-11, "Segmentation fault")
    with pytest.raises(UserError, match=r"TensorFlow did not start \(exit code -11, 'Segmentation fault'\): see what"):
        stopwatch(tmp_path).times(CANDIDATES)


def test_timings_take_a_tenth_of_a_long_budget_and_two_minutes_of_a_short_one():
    assert timing.limit_seconds(9 * 3600) == 3240
    assert timing.limit_seconds(240) == 120
