"""The search, from the command line to a stage that trains; what it refuses; how it survives a kill."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import psutil
import pytest

from carclf import tune
from carclf.command import parse_command_line
from carclf.data.manifest import load_manifest
from carclf.errors import UserError
from carclf.train_options import TrainOptions
from carclf.tune import TuneOptions
from carclf.tuning.outcome import WRITTEN_BY
from carclf.tuning.study import open_study
from tests.conftest import write_dataset

ROOT = Path(__file__).parent.parent
BASE = (
    "--backbone=tiny\n--weights=none\n--image_size=32\n--batch_size=4\n--device=cpu\n--augment=flip\n"
    "--render=separable\n--amsgrad\n"
)
SPACE = "learning_rate log 0.1x 10x\nhead_width linear 8 16\namsgrad choice false\n"
COMMAND = ("--flagfile=base.flags", "--data=data", "--output=stages/best.flags", "--space=cars.space")


@pytest.fixture
def home(tmp_path):
    """Returns a folder with a base, a search space and a data set."""
    (tmp_path / "base.flags").write_text(BASE)
    (tmp_path / "cars.space").write_text(SPACE)
    write_dataset(tmp_path / "data", photos_a_fold=4, test_photos=0)
    return tmp_path


def begin(folder: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "carclf.tune", *COMMAND, *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=environment
    )


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/runs/best_trials/study.db")
    try:
        return optuna.load_study(study_name="best", storage=storage).get_trials()
    finally:
        storage.engine.dispose()


def options_of(path: Path) -> TrainOptions:
    return parse_command_line(TrainOptions, [f"--flagfile={path}"], description="")


@pytest.mark.parametrize("name", ["what?", "a%20b", "c#d", "e{f}", "50 % é", "g@h:i"])
def test_the_study_is_a_file_in_the_folder_of_the_trials_whatever_its_name(tmp_path, name):
    study = open_study(
        "best", storage=tune._local_storage(tmp_path / name), pruner="median", epochs=1, identity={}, higher=True,
        heartbeat_seconds=30,
    )  # fmt: skip
    assert study.study_name == "best"
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.db")] == [f"{name}/study.db"]


def test_the_best_trial_is_written_as_a_stage_that_says_where_it_comes_from(home):
    with begin(home, "--trials=1", "--epochs=1") as process:
        answer, _ = process.communicate(timeout=300)
    assert process.returncode == 0, answer
    assert "Next: python -m carclf.train --flagfile=stages/best.flags --data=data" in answer
    (best,), path = trials_of(home), home / "stages" / "best.flags"
    fingerprint = load_manifest(str(home / "data")).fingerprint
    lines = path.read_text().splitlines()
    assert lines[:7] == [
        "# python -m carclf.train --flagfile=stages/best.flags --data=DIR",
        f"# Written by carclf.tune 0.1.0: trial 0 of the study best, val_accuracy {best.value:.4f} on fold 0.",
        "# The best of 1 trials: 1 completed, 0 pruned, 0 failed.",
        f"# Data set {fingerprint}.",
        "# Changes of --flagfile=base.flags.",
        "--flagfile=../base.flags",
        "--run=best",
    ]
    options = options_of(path)
    assert (options.backbone, options.epochs, options.run, options.amsgrad) == ("tiny", 1, "best", False)
    assert options.learning_rate == pytest.approx(best.params["learning_rate"], rel=1e-3)
    assert options.head_width == best.params["head_width"]
    assert best.intermediate_values.keys() == {1}
    trial = home / "runs" / "best_trials" / "trial-00000"
    assert {item.name for item in trial.iterdir()} == {"stage.json", "history.csv", "metrics.json", "log.txt"}


def test_a_stage_is_searched_where_some_of_its_options_change_nothing(home):
    idle = "--warmup_epochs=0\n--lr_decay=0.8\n--head_temperature=1\n--render=auto\n"
    (home / "base.flags").write_text(f"--flagfile={ROOT}/stages/best_base.flags\n{BASE}{idle}")
    with begin(home, "--trials=1", "--epochs=1", "--space=") as process:
        answer, _ = process.communicate(timeout=300)
    assert process.returncode == 0, answer
    (best,) = trials_of(home)
    assert {"learning_rate", "head_width"} < best.params.keys()
    assert "lr_decay" not in best.params
    written = options_of(home / "stages" / "best.flags")
    assert (written.schedule, written.lr_decay, written.head_temperature) == ("cosine", 0.8, 1.0)


def trainer_of(process: subprocess.Popen[str]) -> psutil.Process | None:
    children = psutil.Process(process.pid).children()
    return next((child for child in children if "spawn_main" in " ".join(child.cmdline())), None)


@pytest.mark.slow
def test_a_killed_search_takes_its_trainer_along_and_another_does_its_trial_again(home):
    flags = ("--trials=2", "--epochs=2", "--heartbeat_seconds=2")
    with begin(home, *flags) as victim:
        while (trainer := trainer_of(victim)) is None or not (
            home / "runs/best_trials/trial-00000/stage.json"
        ).exists():
            time.sleep(0.2)
        victim.send_signal(signal.SIGKILL)
        trainer.wait(timeout=120)
    time.sleep(7)
    with begin(home, *flags) as helper:
        answer, _ = helper.communicate(timeout=300)
    assert helper.returncode == 0, answer
    assert "2 trials: 2 completed" in answer
    trials = trials_of(home)
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert trials[1].params == trials[0].params
    train = [sys.executable, "-m", "carclf.train", "--flagfile=stages/best.flags", "--data=data"]
    subprocess.run(train, cwd=home, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=300)
    assert (home / "runs" / "best" / "metrics.json").is_file()


def run_main(*flags: str) -> None:
    tune.main(parse_command_line(TuneOptions, flags, description=""))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--output=x.flags", "--trials=3"), "--data is missing"),
        (("--data=data", "--trials=3"), "--output is missing"),
        (("--data=data", "--output=x.flags"), "--trials=0 is not possible: it must be at least 1"),
        (("--data=data", "--output=x.flags", "--trials=1", "--find_lr"), "--find_lr=True is not possible"),
        (("--data=data", "--output=x.flags", "--trials=1", "--plan", "--budget=1h"), "--plan=True is not possible"),
        (("--data=data", "--output=x.flags", "--trials=1", "--val_fold=all"), "--val_fold=all is not possible"),
        (("--data=data", "--output=x.txt", "--trials=1"), "--output=x.txt must end with .flags"),
        (("--data=data", "--output=base.flags", "--trials=1"), "exists and was not written by carclf.tune"),
        (("--data=none", "--output=x.flags", "--trials=1"), "none"),
        (("--data=data", "--output=x.flags", "--trails=1"), "There is no option --trails: did you mean --trials\\?"),
        (("--data=data", "--output=x.flags", "--trials=1", "--space=none"), "The file of --space none cannot be read"),
        (("--data=data", "--output=x.flags", "--trials=1", "--storage=x.db"), "The storage x.db cannot be used"),
    ],
)
def test_refusals(home, monkeypatch, flags, sentence):
    monkeypatch.chdir(home)
    with pytest.raises(UserError, match=sentence):
        run_main(*flags)
    assert (home / "base.flags").read_text() == BASE


@pytest.mark.parametrize("start", ["best.flags", "mine.flags"])
def test_a_search_never_writes_a_flag_file_that_it_starts_from(home, monkeypatch, start):
    monkeypatch.chdir(home)
    before = f"# {WRITTEN_BY} 0.1\n--flagfile=base.flags\n"
    (home / "best.flags").write_text(before)
    (home / "mine.flags").write_text("--flagfile=best.flags\n--dropout=0.3\n")
    flags = [f"--flagfile={start}", "--data=data", "--output=./best.flags", "--trials=1", "--space=none"]
    monkeypatch.setattr(sys, "argv", ["carclf.tune", *flags])
    with pytest.raises(UserError, match="is a flag file that this search starts from"):
        run_main(*flags)
    assert (home / "best.flags").read_text() == before
    with pytest.raises(UserError, match="The file of --space"):  # the next check
        run_main(*flags, "--output=best2.flags")


def test_without_optuna_the_extra_is_named(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "carclf.tuning.search", raising=False)
    with pytest.raises(UserError, match=r"Optuna, which is not installed: pip install -e \S+\[tune\]"):
        run_main("--data=data", "--output=x.flags", "--trials=1")


def test_the_base_is_found_among_the_arguments():
    arguments = ["--flagfile=a.flags", "--epochs=3", "--stage", "b0_112", "-flagfile", "b.flags"]
    assert tune.base_arguments(arguments) == ["--flagfile=a.flags", "--stage=b0_112", "--flagfile=b.flags"]


def test_a_flag_file_may_hold_options_of_the_search(home, monkeypatch):
    monkeypatch.chdir(home)
    (home / "search.flags").write_text("--flagfile=base.flags\n--trials=3\n--study=mine\n--epochs=2\n")
    arguments = ["--flagfile=search.flags", "--data=data", "--output=best.flags", "--dropout=0.3"]
    options = parse_command_line(TuneOptions, arguments, description="")
    study = optuna.create_study(study_name="mine", direction="maximize")
    distributions = {"learning_rate": optuna.distributions.FloatDistribution(1e-4, 1.0)}
    study.add_trial(optuna.create_trial(params={"learning_rate": 0.5}, distributions=distributions, value=0.75))
    result = tune._Result(
        Path("best.flags"), tune.trained_options(options), tune.base_flags(arguments), "f" * 8, "accuracy"
    )
    result.write(study)
    written = options_of(Path("best.flags"))
    shared = tune.trained_options(options)
    assert written == dataclasses.replace(shared, run="best", data="", learning_rate=0.5)
    assert "--trials" not in Path("best.flags").read_text()


def test_a_flag_file_of_a_stage_stays_the_beginning(home, monkeypatch):
    monkeypatch.chdir(home)
    begin = tune.base_flags(["--flagfile=base.flags", "--data=data", "--trials=3"])
    assert begin.arguments == ["--flagfile=base.flags"]
    assert (begin.options["backbone"], begin.options["epochs"]) == ("tiny", TrainOptions().epochs)


@pytest.mark.parametrize(
    ("output", "runs", "named"), [("file/best.flags", "runs", "output"), ("b.flags", "file", "runs")]
)
def test_a_folder_below_a_file_is_refused_before_the_first_trial(home, monkeypatch, output, runs, named):
    monkeypatch.chdir(home)
    monkeypatch.setattr("sys.argv", ["tune"])
    (home / "file").write_text("not a folder")
    options = TuneOptions(data="data", output=output, runs=runs, trials=1)
    with pytest.raises(UserError, match=f"--{named}=file is not possible: file is a file, and a folder is needed"):
        tune.main(options)
