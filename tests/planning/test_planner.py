"""From a command line to flag files that train: with timings that are given, so that a plan is always the same."""

import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from carclf import command, train
from carclf.errors import UserError
from carclf.planning import planner
from carclf.planning.candidates import SCRATCH, candidates
from carclf.planning.costs import PhotoCounts, from_dict
from carclf.planning.proposals import best_proposal
from carclf.planning.table import commands as commands_of
from carclf.planning.timing import Stopwatch
from carclf.predict import PredictOptions
from carclf.train_options import TrainOptions
from tests import commands
from tests.data.test_pseudo_labels import written
from tests.planning.made_timings import PRETRAINED_TIMINGS, SCRATCH_TIMINGS, timing, timings_of


@pytest.fixture
def plan(dataset, tmp_path, monkeypatch, capsys):
    """Returns a function that plans with given timings, in an empty folder, and returns what was printed."""
    monkeypatch.chdir(tmp_path)

    def go(*flags: str, timings=SCRATCH_TIMINGS, budget: str = "10m") -> str:
        monkeypatch.setattr(Stopwatch, "times", lambda self, candidates: timings)
        arguments = ["--plan", f"--budget={budget}", f"--data={dataset.directory}", *flags]
        monkeypatch.setattr(sys, "argv", ["carclf.train", *arguments])
        assert train.main(command.parse_command_line(TrainOptions, arguments, description="")) == 0
        return capsys.readouterr().out

    return go


@pytest.fixture
def stages_of(monkeypatch):
    """Returns a function that returns the options of the stages that a printed command would train, by name."""

    def read(printed: str) -> dict[str, TrainOptions]:
        (line,) = [line for line in printed.splitlines() if line.startswith("Train: ")]
        arguments = shlex.split(line)[4:]
        stages = {}
        monkeypatch.setattr(train, "train_each", lambda what, commands: stages.update(commands) or 0)
        monkeypatch.setattr(sys, "argv", ["carclf.train", *arguments])
        assert train.main(command.parse_command_line(TrainOptions, arguments, description="")) == 0
        return {name: command.parse_command_line(TrainOptions, flags, description="") for name, flags in stages.items()}

    return read


def test_the_printed_command_trains_the_stages_that_were_written(plan, stages_of, tmp_path):
    printed = plan("--weights=none", "--dropout=0.3", "--val_fold=1")
    stages = stages_of(printed)
    written = json.loads((tmp_path / "plans" / "plan.json").read_text())
    assert [options.run for options in stages.values()] == [stage["run"] for stage in written["stages"]]
    assert from_dict(written["timings"]) == SCRATCH_TIMINGS
    parent = ""
    for options in stages.values():
        if options.val_fold != 1 and not options.init_from:
            parent = ""  # the next fold begins
        assert options.init_from == parent
        assert (options.backbone, options.weights, options.dropout, options.patience) == ("tiny", "none", 0.3, 0)
        parent = options.run
    assert next(iter(stages.values())).val_fold == 1


def test_heads_come_before_every_layer_and_a_larger_size_learns_more_slowly(plan, stages_of):
    small = timings_of(*(one for one in PRETRAINED_TIMINGS.stages if one.candidate.image_size != "160"))
    stages = list(stages_of(plan(timings=small, budget="30m")).values())
    assert [options.unfreeze for options in stages[:2]] == ["head", "all"]
    assert {options.backbone for options in stages} == {"efficientnet_lite0"}
    grown = [options for options in stages if options.unfreeze == "all"]
    base = command.parse_command_line(TrainOptions, ["--stage=mobilenet_v2_224_all"], description="")
    rates = {options.learning_rate for options in grown}
    assert rates <= {base.learning_rate, base.learning_rate / 2}


def test_a_grown_stage_starts_from_the_smaller_one_with_half_its_rate(plan, stages_of):
    # At 128 px an epoch is so dear that only the last few fit.
    timings = timings_of(
        timing(SCRATCH, 48, seconds=0.01, batch=4), timing(SCRATCH, 128, seconds=1.0, once=60.0, batch=4)
    )
    stages = list(stages_of(plan(timings=timings, budget="4m")).values())
    assert [options.image_size for options in stages] == ["48", "128"]
    assert stages[1].init_from == stages[0].run
    assert stages[1].learning_rate == pytest.approx(stages[0].learning_rate / 2)


def test_the_printed_prediction_takes_the_last_run_of_each_fold(plan, stages_of):
    printed = plan(timings=PRETRAINED_TIMINGS, budget="9h")
    (line,) = [line for line in printed.splitlines() if line.startswith("Then: ")]
    options = command.parse_command_line(PredictOptions, shlex.split(line)[4:], description="")
    stages = stages_of(printed)
    children = {stage.init_from for stage in stages.values()}
    last = [f"runs/{stage.run}" for stage in stages.values() if stage.run not in children]
    assert options.run.split(",") == last
    assert len(last) == 3  # as many as the data set has folds
    assert options.tta == "clean|flip|zoom(1.1)"


def test_labels_reach_the_stages_and_their_photos_are_counted(plan, stages_of, dataset, tmp_path, monkeypatch):
    counted = []
    monkeypatch.setattr(planner, "propose", lambda timings, photos, *rest, **named: counted.append(photos) or found())
    (tmp_path / "patch.csv").write_text("id,class\ntrain000.jpg,class 1\n")
    written(tmp_path / "pseudo.csv", dataset)  # 3 photos

    def found():
        return best_proposal(SCRATCH_TIMINGS, counted[-1], budget_seconds=600, folds=1)

    stages = stages_of(plan("--weights=none", "--label_patch=patch.csv", "--pseudo_labels=pseudo.csv"))
    assert {options.label_patch for options in stages.values()} == {"patch.csv"}
    assert {options.pseudo_labels for options in stages.values()} == {"pseudo.csv"}
    plan("--weights=none")
    assert counted == [PhotoCounts(train=16 + 3, val=8, predicted=5), PhotoCounts(train=16, val=8, predicted=5)]


def test_an_option_that_does_not_fit_the_epochs_of_a_planned_stage_is_refused_before_it_is_written(plan, tmp_path):
    small = timings_of(timing(SCRATCH, 48, seconds=0.2, once=20.0, batch=4))
    with pytest.raises(UserError, match="--swa_epochs=9 is not possible: --epochs=4 is less"):
        plan("--weights=none", "--swa_epochs=9", timings=small, budget="58s")
    assert not (tmp_path / "plans").exists()


def test_the_same_timings_give_the_same_files_and_other_options_other_runs(plan, tmp_path):
    plan()
    files = {path.name: path.read_text() for path in (tmp_path / "plans").iterdir()}
    plan()
    assert {path.name: path.read_text() for path in (tmp_path / "plans").iterdir()} == files
    plan("--seed=7")
    before, after = files["plan.json"], (tmp_path / "plans" / "plan.json").read_text()
    runs = [{stage["run"] for stage in json.loads(text)["stages"]} for text in (before, after)]
    assert not runs[0] & runs[1]


def test_the_table_says_what_each_stage_takes_and_what_to_expect(plan, tmp_path):
    printed = plan(budget="2h")
    assert "of 120; 10% stay free" in printed
    assert "Expected error: " in printed
    assert "no promise" in printed or "it may differ" in printed
    written = json.loads((tmp_path / "plans" / "plan.json").read_text())
    total = sum(stage["seconds"] for stage in written["stages"]) + written["prediction_seconds"]
    assert total <= 0.9 * written["budget_seconds"] + 1
    assert written["effect"]["low"] <= written["effect"]["ratio"] <= written["effect"]["high"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--budget=30s"], r"--budget=30s is too short for anything that was timed here: give at least --budget=1m\."),
        (["--epochs=3"], "--epochs=3 is not possible: --plan chooses it"),
        (["--stage=demo_1"], "--run=demo_1 is not possible: --plan chooses it"),
        (["--val_fold=all"], "--val_fold=all is not possible: --plan chooses the folds"),
        (["--val_fold=9"], "--val_fold=9 is not a fold of"),
        (["--image_size=64-128"], "--image_size=64-128 is not possible: --plan chooses how sizes grow: give one"),
        (["--backbone=tiny", "--image_size=8"], "tiny needs images of at least 16x16 pixels"),
        (["--batch_size=64"], "The 16 training photos do not fill one batch of 64"),
        (["--backbone=efficentnet"], "did you mean"),
        (["--label_patch=taken/patch.csv"], "line 2: the data set has no training photo 'photo': remove the line"),
        (["--plan_output=taken"], "taken/plan.flags exists and was not written by --plan"),
    ],
)
def test_refusals(plan, tmp_path, flags, sentence):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "plan.flags").write_text("--stages=mine\n")
    (tmp_path / "taken" / "patch.csv").write_text("id,class\nphoto,class 1\n")
    with pytest.raises(UserError, match=sentence):
        plan(*flags)
    assert not (tmp_path / "plans").exists()
    assert (tmp_path / "taken" / "plan.flags").read_text() == "--stages=mine\n"


def test_the_advice_on_a_small_budget_works(plan):
    with pytest.raises(UserError) as caught:
        plan(budget="10s")
    advised = str(caught.value).rpartition("--budget=")[2].rstrip(".")
    assert "Train: " in plan(budget=advised)


def test_the_data_set_is_named_if_it_is_missing():
    with pytest.raises(UserError, match="--data is missing"):
        planner_main(["--plan", "--budget=9h"])


def planner_main(arguments: list[str]) -> int:
    return train.main(command.parse_command_line(TrainOptions, arguments, description=""))


@pytest.mark.slow
def test_a_plan_is_timed_trained_and_predicted_by_the_printed_commands(dataset, tmp_path):
    flags = ("--weights=none", "--image_size=32", "--batch_size=4", "--device=cpu")
    plan = commands.open_door(
        "carclf.train", "--plan", "--budget=10m", f"--data={dataset.directory}", *flags, folder=tmp_path, seconds=900
    )
    train, predict = (
        line.partition(": ")[2] for line in plan.stdout.splitlines() if line.startswith(("Train", "Then"))
    )
    written = json.loads((tmp_path / "plans" / "plan.json").read_text())
    (timed,) = written["timings"]["stages"]
    assert timed["once_seconds"] > timed["compile_seconds"] >= 0
    short = ("--epochs=1", "--steps=1", "--device=cpu")
    commands.open_door(*shlex.split(train)[2:], *short, folder=tmp_path, seconds=900)
    assert all((tmp_path / "runs" / stage["run"] / "metrics.json").is_file() for stage in written["stages"])
    commands.open_door(*shlex.split(predict)[2:], "--device=cpu", folder=tmp_path, seconds=900)
    assert (tmp_path / "submission.csv").is_file()


def test_enough_photos_are_timed_for_whole_batches(dataset, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(planner, "sample_of", lambda *_, train_photos, **__: taken.append(train_photos))
    monkeypatch.setattr(Stopwatch, "times", lambda self, candidates: SCRATCH_TIMINGS)
    for batch_size in (8, 256):
        given = {"backbone": "efficientnet_lite0", "weights": "imagenet", "image_size": "64"}
        found = candidates(given | {"batch_size": str(batch_size)}, train_photos=1000)
        planner.time_here(found, given, dataset, options=TrainOptions(device="cpu"), budget_seconds=60.0)
    assert taken == [planner.SLOW_PHOTOS[0], 512]


def test_where_no_chain_was_timed_that_is_said(plan):
    with pytest.raises(UserError, match="Nothing can be planned, since no chain of stages was timed as a whole"):
        plan("--weights=none", timings=timings_of())
    assert "Train: " in plan("--weights=none", "--image_size=48")


def test_the_runs_of_a_store_are_named_by_their_urls():
    stage = SimpleNamespace(views="clean")
    last = commands_of(stage, Path("chain.flags"), ["a", "b"], runs="s3://b/runs", data="d", has_test_photos=True)
    assert "--run=s3://b/runs/a,s3://b/runs/b" in last[1]
    here = commands_of(stage, Path("chain.flags"), ["a"], runs="runs", data="d", has_test_photos=True)
    assert "--run=runs/a " in here[1]
