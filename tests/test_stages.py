"""Every file in stages/ runs, in miniature, through the real command; chains find their parents."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from carclf import command, train
from carclf.errors import UserError
from carclf.runs import load_run
from carclf.train_options import TrainOptions
from tests import commands
from tests.inference.made_runs import make_run

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "stages").glob("*.flags"))


def options_of(path: Path) -> TrainOptions:
    return command.parse_command_line(TrainOptions, [f"--flagfile={path}"], description="")


BASES = {"base.flags", "best_base.flags", "finer_base.flags", "notebook_base.flags"}
# A stage names its run; stages share bases; all.flags and similar files run several stages.
STAGES = {path: options for path in FILES if (options := options_of(path)).run}
SCHEDULES = {path: options for path in FILES if (options := options_of(path)).stages}


def in_order(stages: dict[Path, TrainOptions]) -> list[Path]:
    """Returns the stages with parents before their children."""
    by_run, ordered = {options.run: path for path, options in stages.items()}, []

    def add(path: Path) -> None:
        if (parent := stages[path].init_from) and by_run[parent] not in ordered:
            add(by_run[parent])
        if path not in ordered:
            ordered.append(path)

    for path in stages:
        add(path)
    return ordered


def test_every_file_is_a_stage_a_schedule_or_the_base():
    assert {path.name for path in FILES} == {path.name for path in (*STAGES, *SCHEDULES)} | BASES


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_a_stage_is_called_what_its_run_is_called_and_begins_with_its_command(path):
    assert STAGES[path].run == path.stem
    first = path.read_text().splitlines()[0]
    assert first.startswith(f"# python -m carclf.train --flagfile=stages/{path.name} --data=")


@pytest.mark.parametrize("path", {**STAGES, **SCHEDULES}, ids=lambda path: path.stem)
def test_a_stage_says_what_carclf_measured_with_it(path):
    assert re.match(r"# (Measured: .*0\.\d{3}|Not measured[.:] )", path.read_text().splitlines()[1])


@pytest.mark.parametrize("path", SCHEDULES, ids=lambda path: path.stem)
def test_a_schedule_names_stages_that_exist_in_the_order_of_their_parents(path):
    names = SCHEDULES[path].stages.split(",")
    stages = [options_of(command.find_stage(name)) for name in names]
    for number, stage in enumerate(stages):
        assert not stage.init_from or stage.init_from in [earlier.run for earlier in stages[:number]]


@pytest.fixture
def started(monkeypatch):
    """Returns a function that trains with a command line, and returns the options of the stages started, by name."""

    def begin(*arguments: str) -> dict[str, TrainOptions]:
        stages = {}
        monkeypatch.setattr(train, "train_each", lambda what, commands: stages.update(commands) or 0)
        monkeypatch.setattr(train.sys, "argv", ["train", *arguments])
        assert train.main(command.parse_command_line(TrainOptions, arguments, description="")) == 0
        return {name: command.parse_command_line(TrainOptions, flags, description="") for name, flags in stages.items()}

    return begin


@pytest.fixture
def stage_files(tmp_path, monkeypatch):
    """Returns a function that writes stages with one line of flags each; changes to a folder without runs."""

    def write(**stages: str) -> None:
        for name, flags in stages.items():
            (tmp_path / f"{name}.flags").write_text("\n".join(flags.split(" ")))
        monkeypatch.setattr(command, "STAGE_FOLDERS", (tmp_path,))
        monkeypatch.chdir(tmp_path)

    return write


def test_a_schedule_gives_every_stage_what_the_command_line_says(started):
    stages = started(f"--flagfile={ROOT / 'stages' / 'all.flags'}", "--data=cars", "--epochs=3")
    assert list(stages) == ["b0_112", "b3_300_head", "b3_300_half", "b3_300_all", "b3_512"]
    assert {(options.data, options.epochs) for options in stages.values()} == {("cars", 3)}
    assert [options.run for options in stages.values()] == list(stages)


def test_the_stages_of_the_notebook_bring_their_own_data(started):
    stages = started(f"--flagfile={ROOT / 'stages' / 'notebook.flags'}")
    assert [options.data for options in stages.values()] == [
        f"data/notebook_{share}" for share in ("15", "05", "05", "05", "10")
    ]


def test_what_stops_a_later_stage_is_told_before_the_first(started):
    with pytest.raises(UserError, match="--data is missing"):
        started("--stages=notebook_b0_112,b3_512")
    with pytest.raises(UserError, match=r"There is no stage 'b3_521': did you mean b3_512\?"):
        started("--stages=b0_112,b3_521", "--data=cars")


def test_a_schedule_names_files_beside_it(started, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    tiny = "--backbone=tiny\n--weights=none\n"
    (folder / "one.flags").write_text(f"--run=one\n{tiny}")
    (folder / "two.flags").write_text(f"--run=two\n--init_from=one\n{tiny}")
    (folder / "both.flags").write_text("--stages=one.flags, two.flags\n")
    monkeypatch.chdir(tmp_path)
    for arguments in (["--flagfile=mine/both.flags"], ["--stages=mine/one.flags,mine/two.flags"]):
        stages = started(*arguments, "--data=cars")
        assert [(options.run, options.init_from) for options in stages.values()] == [("one", ""), ("two", "one")]
    with pytest.raises(UserError, match=r"There is no flag file 'mine/three\.flags': give the path"):
        started("--stages=mine/one.flags,mine/three.flags", "--data=cars")


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ("--backbone=efficentnet_b3", "did you mean efficientnet_b3"),
        ("--loss=cross_entrpy", "did you mean cross_entropy"),
        ("--optimizer=adan", "did you mean adam"),
        ("--schedule=cosin", "did you mean cosine"),
        ("--schedule=one_cycle --warmup_epochs=1", "one_cycle rises by itself"),
        ("--augment=flip|rotat(5)", "did you mean 'rotate'"),
        ("--unfreeze=hed", "--unfreeze is 'hed'"),
        ("--class_weights=balancd", "--class_weights has 'balancd'"),
        ("--image_size=big", "--image_size=big is not a size"),
        ("--backbone=xception --image_size=64", "xception needs images of at least 71x71"),
        ("--optimizer=sgd --amsgrad", "The optimizer sgd has no AMSGrad variant"),
        ("--unfreeze=head --feature_views=2 --augment=cutmix", "--augment=cutmix mixes photos"),
        ("--label_patch=patch.csv", "--label_patch=patch.csv is not there"),
        ("--weights=b3.h5", "--weights=b3.h5 is not there"),
        ("--init_from=frist", r"parent run runs/frist does not exist: did you mean first\?"),
        (
            "--init_from=other",
            "runs/other does not exist: train it with python -m carclf.train --run=runs/other",
        ),
        ("--init_from=second", "parent run runs/second does not exist: make it with"),
        ("--init_from=first --backbone=b3", "has --backbone=tiny and this stage --backbone=efficientnet_b3"),
        ("--init_from=first --backbone=tiny --head_width=9", "has --head_width=128 and this stage --head_width=9"),
    ],
)
def test_a_mistyped_option_of_a_later_stage_is_told_before_the_first(second, sentence, started, stage_files):
    stage_files(first="--run=first --backbone=tiny --weights=none", second=f"--run=second {second}")
    with pytest.raises(UserError, match=f"^Stage second: .*{sentence}"):
        started("--stages=first,second", "--data=cars")


def test_a_later_stage_starts_from_an_earlier_one_or_from_a_run_that_is_there(started, stage_files, dataset, tmp_path):
    make_run(tmp_path / "runs" / "there", dataset)
    tiny = "--backbone=tiny --weights=none"
    stage_files(
        first=f"--run=first {tiny}",
        second=f"--run=second {tiny} --init_from=first",
        third=f"--run=third {tiny} --init_from=there --head_width=8",
    )
    assert list(started("--stages=first,second,third", "--data=cars")) == ["first", "second", "third"]


def test_a_finished_run_counts_as_it_is_unless_it_is_trained_again(started, stage_files, dataset, tmp_path):
    make_run(tmp_path / "runs" / "first", dataset)  # its head is 8 wide, whatever the stage of that name says
    both = "--backbone=tiny --weights=none --head_width=9"
    stage_files(first=f"--run=first {both}", second=f"--run=second {both} --init_from=first")
    with pytest.raises(UserError, match="Stage second: The parent run runs/first has --head_width=8"):
        started("--stages=first,second", "--data=cars")
    assert list(started("--stages=first,second", "--data=cars", "--overwrite")) == ["first", "second"]


def test_a_schedule_in_a_list_is_the_stages_in_it(started, stage_files):
    tiny = "--backbone=tiny --weights=none"
    stage_files(
        head=f"--run=head {tiny} --unfreeze=head", whole=f"--run=whole {tiny} --init_from=head",
        both="--stages=head,whole --epochs=7 --seed=3", last=f"--run=last {tiny} --init_from=whole",
    )  # fmt: skip
    stages = started("--stages=both,last", "--data=cars", "--seed=5")
    assert list(stages) == ["head", "whole", "last"]
    assert [options.epochs for options in stages.values()] == [7, 7, TrainOptions.epochs]
    assert {options.seed for options in stages.values()} == {5}


def test_a_schedule_that_names_itself_starts_nothing(started, stage_files):
    stage_files(a="--stages=a.flags", b="--stages=c", c="--stages=b")
    for name, named in (("a", "a"), ("b", "c")):
        with pytest.raises(UserError, match=rf"The schedule .*{named}\.flags names itself: remove it from its"):
            started(f"--flagfile={name}.flags", "--data=cars")


def test_stages_have_folders_of_their_own(started, stage_files):
    tiny = "--backbone=tiny --weights=none"
    stage_files(one=f"--run=one {tiny}", two=f"--run=two {tiny}", three=tiny, four=tiny)
    said = "Stage {}: runs/{} is the folder of a stage before it, too: give each stage a --run of its own"
    for flags, last, folder in (
        (["--stages=one,two", "--run=mine", "--overwrite"], "two", "mine"), (["--stages=three,four"], "four", "run")
    ):  # fmt: skip
        with pytest.raises(UserError, match=said.format(last, folder)):
            started(*flags, "--data=cars")
    assert list(started("--stages=one,two,three", "--data=cars")) == ["one", "two", "three"]


def test_an_option_for_all_stages_counts_if_it_changes_one_of_them(started, stage_files):
    tiny = "--backbone=tiny --weights=none"
    stage_files(head=f"--run=head {tiny} --unfreeze=head", whole=f"--run=whole {tiny} --init_from=head")
    both = ("--stages=head,whole", "--data=cars")
    assert list(started(*both, "--train_batch_norm", "--engine=openvino")) == ["head", "whole"]
    with pytest.raises(
        UserError, match=r"^--focal_gamma=1\.0 is not possible: it changes nothing without --loss=focal"
    ):
        started(*both, "--focal_gamma=1")
    with pytest.raises(
        UserError, match=r"^--engine=openvino is not possible: it changes nothing without kept features"
    ):
        started(*both, "--engine=openvino", "--nokeep_features")


def chain_of(name: str) -> dict[Path, TrainOptions]:
    """Returns a stage and its ancestors."""
    by_run, chain = {options.run: path for path, options in STAGES.items()}, {}
    while name:
        chain[by_run[name]] = STAGES[by_run[name]]
        name = STAGES[by_run[name]].init_from
    return chain


# The longest chain covers what chains need; running all of them takes minutes.
@pytest.mark.parametrize(
    ("stages", "how"),
    [(chain_of("b3_512_tpu"), "eagerly"), pytest.param(STAGES, "traced", marks=pytest.mark.slow)],
    ids=["a chain", "every stage"],
)
def test_stages_run_in_miniature(stages, how, dataset, tmp_path):
    shared = [f"--data={dataset.directory}", f"--runs={tmp_path}", "--device=cpu"]
    answer = commands.open_door(
        str(ROOT / "tests" / "miniature.py"), json.dumps(list(map(str, in_order(stages)))), json.dumps(shared), how,
        folder=tmp_path, seconds=1200,
    )  # fmt: skip
    results = json.loads(answer.stdout.strip().splitlines()[-1])
    assert {Path(path).name: said for path, said in results.items() if said != "0"} == {}
    for options in stages.values():
        run = load_run(tmp_path / options.run)
        assert run.metrics is not None
        assert run.metrics["val_photos"] == 8
        parent = run.stage["parent"]
        assert (parent or {"stage": ""})["stage"] == options.init_from


@pytest.mark.slow
def test_a_stage_of_the_notebook_trains_its_own_backbone(dataset, tmp_path):
    """EfficientNetB3 itself, on small images and with random weights."""
    command = [
        sys.executable, "-m", "carclf.train", f"--flagfile={ROOT / 'stages' / 'b3_300_half.flags'}", "--init_from=",
        f"--data={dataset.directory}", f"--runs={tmp_path}", "--device=cpu", "--weights=none", "--image_size=64",
        "--batch_size=4", "--epochs=1", "--steps=2",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=600)
    assert answer.returncode == 0, answer.stderr
    assert "the last 192 of 384 backbone layers" in answer.stdout
    assert load_run(tmp_path / "b3_300_half").metrics["val_photos"] == 8
