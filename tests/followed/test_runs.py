"""Runs, parents and data sets that do not fit, and what the error advises, done."""

import dataclasses
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from texts import refused

from carclf import export, probe, runs, train
from carclf.averaging.ingredients import check_ingredients, load_ingredients, load_pair
from carclf.averaging.plan import SoupPlan, plan_soup
from carclf.command import parse_command_line
from carclf.data.manifest import Manifest
from carclf.errors import UserError
from carclf.exporting.card import evaluation_of
from carclf.exporting.folder import check_free
from carclf.inference.compatibility import check_classes, check_teachers, held_out_folds, load_labels
from carclf.probe import ProbeOptions
from carclf.runs import opening
from carclf.runs.emptying import check_emptied
from carclf.runs.parent import check_chain, check_split, load_parent, network_options
from carclf.runs.run import advice_on_missing
from carclf.train_options import ALL_FOLDS, TrainOptions

OTHER = "f" * 64


def names(*loaded: runs.Run) -> str:
    return ",".join(str(run.directory) for run in loaded)


def members(*loaded: runs.Run) -> list[runs.Member]:
    return runs.load_members(names(*loaded), runs="runs")


# Runs that are named


def test_a_run_that_is_not_there_is_made_or_named_as_advised(made, tmp_path):
    there = made("b3 of cars")
    with refused("runs/run.py: There is no run folder"):
        runs.load_run(tmp_path / "runs" / "b3 of car")
    near = advice_on_missing(tmp_path / "runs" / "b3 of car")
    assert runs.load_run(Path(near.removeprefix("did you mean ").removesuffix("?"))).name == there.name
    shutil.rmtree(there.directory)
    with refused("runs/run.py: The folder … is not a run"):
        runs.load_run(tmp_path)
    command = re.search("python -m .*?(?=, or|[.]$)", advice_on_missing(tmp_path / "my runs" / "new", data="d"))[0]
    _, _, module, *arguments = shlex.split(command)
    options = parse_command_line(TrainOptions, arguments, description="")
    assert (module, runs.run_path(options.run, runs=options.runs)) == ("carclf.train", tmp_path / "my runs" / "new")
    command = advice_on_missing(tmp_path / "my runs" / "scratch_96", data="d").partition("python")[2].rstrip(".")
    options = parse_command_line(TrainOptions, shlex.split(command)[2:], description="")
    assert runs.run_path(options.run, runs=options.runs) == tmp_path / "my runs" / "scratch_96"


def test_runs_are_named(made):
    with refused("runs/run.py: --run=… names no run"):
        runs.load_members(" , ", runs="runs")
    assert len(runs.load_members(names(made("a"), made("b")), runs="runs")) == 2


def test_the_runs_of_all_folds_are_those_of_a_training_that_ended(made, tmp_path):
    made("folds/fold0", val_fold=0)
    made("folds/fold1", val_fold=1, finished=False)
    with refused("runs/run.py: The run … is not finished"):
        runs.load_members(str(tmp_path / "runs" / "folds"), runs="")
    made("folds/fold1", val_fold=1)
    assert runs.load_members(str(tmp_path / "runs" / "folds"), runs="")[0].folds == (0, 1)


def test_best_weights_are_there_after_an_epoch(made):
    run = made("a", finished=False)
    with refused("runs/run.py: The run … has no … yet"):
        _ = run.best_weights
    (run.directory / runs.BEST_WEIGHTS).touch()
    assert run.best_weights.is_file()


# Parents


def parent_of(run: runs.Run, **changes: Any) -> runs.Run:
    return load_parent(run.directory, data="d", network=network_options(TrainOptions(backbone="tiny", **changes)))


def test_a_parent_is_one_that_fits(made, dataset):
    unfinished = made("head", finished=False)
    with refused("runs/parent.py: The parent run … is not finished"):
        parent_of(unfinished)
    parent = made("head")
    with refused("runs/parent.py: The parent run … has --…=…"):
        parent_of(parent, head="linear")
    assert parent_of(parent) == parent
    assert parent_of(made("linear", head="linear"), head="linear").name == "linear"
    with refused("runs/parent.py: --val_fold=… is not a fold"):
        check_split(dataset, val_fold=3, parent=None)
    for fold in (0, 2):
        assert check_split(dataset, val_fold=fold, parent=None) is None
    with refused("runs/parent.py: …: use the data set and fold"):
        check_split(dataset, val_fold=1, parent=parent)
    assert check_split(dataset, val_fold=0, parent=parent) is None
    assert "too good" in check_split(dataset, val_fold=1, parent=parent, allow_change=True)
    foreign = made("foreign", data={"class_map_sha256": OTHER})
    with refused("runs/parent.py: The parent run … has … classes"):
        check_split(dataset, val_fold=0, parent=foreign)


def test_a_stage_names_its_parent_or_the_stage_before_it(made, tmp_path):
    where = {"data": "d", "runs": str(tmp_path / "runs"), "backbone": "tiny", "weights": "none"}
    stages = {"head": TrainOptions(run="head", **where), "all": TrainOptions(run="all", init_from="haed", **where)}
    with refused("runs/parent.py: The parent run … does not exist: …That is"):
        check_chain(stages)
    check_chain(stages | {"all": TrainOptions(run="all", init_from="head", **where)})
    alone = {"all": TrainOptions(run="all", init_from="scratch_96", **where)}
    with refused("runs/parent.py: The parent run … does not exist: …"):
        check_chain(alone)
    made("scratch_96")
    check_chain(alone)


# A run's folder


def test_an_unfinished_run_goes_on_with_what_it_was_begun_with(made, dataset, tmp_path):
    options = TrainOptions(
        backbone="tiny", weights="none", data=dataset.directory, runs=str(tmp_path / "runs"), run="a"
    )
    patch = dataclasses.replace(dataset, label_patch=read_patch(dataset, tmp_path))
    run = made("a", finished=False)

    def decide(options: TrainOptions, data: Manifest = dataset) -> opening.Start:
        return opening.decide_start(runs.run_path(options.run, runs=options.runs), options=options, data=data)

    with refused("runs/opening.py: … … and this command has"):
        decide(dataclasses.replace(options, seed=7))
    with refused("runs/opening.py: … … … and … has"):
        decide(options, dataclasses.replace(dataset, fingerprint=OTHER))
    with refused("runs/opening.py: … another content"):
        decide(options, patch)
    assert decide(options) is opening.Start.RESUME
    for changes in ({"overwrite": True}, {"run": "b"}):
        assert decide(dataclasses.replace(options, seed=7, **changes), patch) is opening.Start.FRESH
    lost = dataclasses.replace(options, run="c", resume_from=str(run.directory))
    made("a")
    with refused("runs/opening.py: The run … of --resume_from is finished"):
        decide(lost)
    shutil.copytree(run.directory, tmp_path / "runs" / "c")
    assert runs.load_run(tmp_path / "runs" / "c").metrics  # train prints that it is finished


def read_patch(dataset: Manifest, folder: Path) -> Any:
    (folder / "patch.csv").write_text("id,class\ntrain000.jpg,class 1\n")
    return load_labels(str(folder / "patch.csv"), members=[], manifest=dataset).label_patch


def test_one_fold_and_all_folds_have_folders_of_their_own(made, dataset, tmp_path, monkeypatch, capsys):
    started = []
    monkeypatch.setattr(train, "train_each", lambda what, commands: started.append(what) or 1)
    monkeypatch.setattr(train, "train_run", lambda options, *, directory: started.append(directory.name))
    made("one")
    made("all/fold0")
    options = TrainOptions(data=dataset.directory, runs=str(tmp_path / "runs"), run="one", val_fold=ALL_FOLDS)
    with refused("train.py: The folder … holds a run of one fold"):
        train.train_all_folds(options, [])
    train.train_all_folds(dataclasses.replace(options, run="all"), [])
    single = dataclasses.replace(options, val_fold=0, run="all")
    with refused("train.py: The folder … holds a run for each fold"):
        train.train_one_stage(single)
    train.train_one_stage(dataclasses.replace(single, run="two"))
    assert started == ["fold", "two"]
    made("done")
    done = dataclasses.replace(single, run="done")
    train.train_one_stage(done)
    assert "is finished (val_accuracy 0.5000): --overwrite trains it again." in capsys.readouterr().out
    train.train_one_stage(dataclasses.replace(done, overwrite=True))
    assert started == ["fold", "two", "done"]


def test_a_folder_that_holds_no_run_is_left_to_its_owner(tmp_path):
    page = tmp_path / "project" / "report.html"
    page.parent.mkdir()
    page.write_text("mine")
    with refused("runs/emptying.py: The folder … holds no run, but"):
        check_emptied(page.parent)
    check_emptied(tmp_path / "another")
    page.rename(tmp_path / page.name)
    check_emptied(page.parent)


def test_files_that_options_name_are_given_where_they_are(dataset, tmp_path):
    options = TrainOptions(data=dataset.directory, label_patch=str(tmp_path / "patch.csv"))
    with refused("train.py: --…=… is not there"):
        train.check_files(options)
    (tmp_path / "patch.csv").touch()
    train.check_files(options)


# Means of runs


@pytest.fixture
def soup(dataset, tmp_path):
    """A function that plans a soup of these runs."""

    def plan(run: str, *, method: str = "greedy", output: str = "", overwrite: bool = False) -> SoupPlan:
        where = {"manifest": dataset, "runs_folder": str(tmp_path / "runs")}
        given = {"method": method, "output": output or str(tmp_path / "soup"), "overwrite": overwrite}
        return plan_soup(run, metric="auto", label_patch="", **given, **where)

    return plan


def test_a_soup_is_made_of_what_is_named_as_advised(made, soup, tmp_path):
    a, b, other = made("a"), made("b"), made("other", val_fold=1)
    child, grown = made("child", init_from="a"), made("grown", init_from="gone")
    where = str(tmp_path / "runs")
    with refused("averaging/ingredients.py: --run=… names one run"):
        load_ingredients("child", runs_folder=where)
    for run, method in (("a,b", "greedy"), ("child", "wise")):
        assert len(soup(run, method=method).ingredients) == 2
    with refused("averaging/ingredients.py: --method=wise averages"):
        load_pair("a,b,child", runs_folder=where)
    assert load_pair("a,child", runs_folder=where) == [a, child]
    with refused("averaging/ingredients.py: The run … has no parent"):
        load_pair("a", runs_folder=where)
    with refused("averaging/ingredients.py: The parent … of the run"):
        load_pair("grown", runs_folder=where)
    assert load_pair(f"a,{grown.directory}", runs_folder=where) == [a, grown]
    made("late", finished=False)
    with refused("averaging/ingredients.py: The run … is not finished"):
        load_ingredients("a,late", runs_folder=where)
    made("late")
    assert len(load_ingredients("a,late", runs_folder=where)) == 2
    with refused("averaging/plan.py: …, and --method"):
        soup("a,other")
    assert soup("a,other", method="uniform").fold is None
    assert soup("a,b").fold == 0
    with refused("averaging/plan.py: The soup would replace"):
        soup("a,b", output="a")
    with refused("averaging/plan.py: The folder … holds a run: "):
        soup("a,b", output="other")
    assert soup("a,b", output="other", overwrite=True).directory == other.directory
    made("folds/fold0")
    with refused("averaging/plan.py: The folder … holds a run for each fold"):
        soup("a,b", output="folds")
    assert soup("a,b", output="new").ingredients == (a, b)


def test_runs_that_are_averaged_have_one_network_and_one_data_set(made, dataset, tmp_path):
    a, crop = made("a"), made("crop", fit="crop")
    foreign = made("foreign", data={"fingerprint": OTHER, "directory": str(tmp_path / "there")})
    old, new = made("old", preset={"sha256": "1"}), made("new", preset={"sha256": "2"})
    with refused("averaging/ingredients.py: The run … was trained on the data set"):
        check_ingredients([foreign, foreign], dataset)
    check_ingredients([foreign, foreign], dataclasses.replace(dataset, fingerprint=OTHER))
    with refused("averaging/ingredients.py: The run … has --…=…"):
        check_ingredients([a, crop], dataset)
    assert held_out_folds(members(a, crop), dataset) == [0]  # predict takes them together
    with refused("averaging/ingredients.py: The runs … and … have backbones"):
        check_ingredients([old, new], dataset)
    check_ingredients([a, a], dataset)
    check_ingredients([old, old], dataset)


# Which runs may see which photos


def test_runs_are_evaluated_on_photos_that_are_new_to_them(made, dataset):
    a, other, foreign = made("a"), made("other", val_fold=1), made("foreign", data={"fingerprint": OTHER})
    strange = made("strange", data={"class_map_sha256": OTHER})
    mean = made("mean", val_fold=ALL_FOLDS)
    with refused("runs/run.py: The runs … and … were trained on different classes"):
        members(a, strange)
    with refused("inference/compatibility.py: The run … was trained on … classes"):
        check_classes([strange], dataset)
    check_classes([a], dataset)
    with refused("inference/compatibility.py: The run … is a soup"):
        held_out_folds(members(mean), dataset)
    with refused("inference/compatibility.py: The run … was trained on the data set …, but"):
        held_out_folds(members(foreign), dataset)
    assert held_out_folds(members(foreign), dataclasses.replace(dataset, fingerprint=OTHER)) == [0]
    with refused("inference/compatibility.py: The run … held out"):
        held_out_folds(members(a, other), dataset)
    assert [held_out_folds(members(one), dataset) for one in (a, other)] == [[0], [1]]


def test_runs_of_different_labels_are_evaluated_with_those_that_are_named(made, dataset, tmp_path):
    patched = made("patched", data={"label_patch": {"sha256": OTHER}})
    with refused("inference/compatibility.py: The runs … and … were trained with different labels"):
        load_labels("", members=members(made("a"), patched), manifest=dataset)
    read_patch(dataset, tmp_path)
    labels = load_labels(str(tmp_path / "patch.csv"), members=members(made("a"), patched), manifest=dataset)
    assert labels.label_patch.labels == {0: 1}


def test_teachers_have_not_seen_the_photos_that_they_label(made, dataset):
    for data, text in (
        ({"fingerprint": OTHER}, "inference/compatibility.py: The run … was trained on the data set …, not"),
        ({"pseudo_labels": {"sha256": OTHER}}, "inference/compatibility.py: The run … has trained on pseudo-labels"),
    ):
        with refused(text):
            check_teachers(members(made("teacher", data=data)), dataset, runs_folder="runs")
    check_teachers(members(made("a")), dataset, runs_folder="runs")


# Exports and probes


def test_an_export_is_made_of_one_finished_run_in_a_new_folder(made, dataset, tmp_path):
    run = made("a", finished=False)
    with refused("exporting/card.py: The run … is not finished"):
        evaluation_of(run)
    with refused("exporting/card.py: The run … has no evaluation"):
        evaluation_of(made("a"))
    evaluated = dataclasses.replace(run, metrics={"val_accuracy": 0.5, "evaluation": {"accuracy": 0.5}})
    assert evaluation_of(evaluated) == {"accuracy": 0.5}
    two = export.ExportOptions(run=names(run, made("b")), output=str(tmp_path / "out"))
    with refused("export.py: An export holds one run"):
        export.main(two)
    moved = made("moved", data={"directory": str(tmp_path / "gone")})
    with refused("export.py: The data set of the run"):
        export.find_data(moved, data="")
    assert export.find_data(moved, data=dataset.directory).fingerprint == dataset.fingerprint
    with refused("exporting/folder.py: The folder … is not an export"):
        check_free(run.directory, overwrite=True)
    check_free(tmp_path / "out", overwrite=False)
    (tmp_path / "out").mkdir()
    for name in ("README.md", "labels.txt", "model.onnx"):
        (tmp_path / "out" / name).touch()
    with refused("exporting/folder.py: The folder … exists"):
        check_free(tmp_path / "out", overwrite=False)
    check_free(tmp_path / "out", overwrite=True)
    check_free(tmp_path / "other", overwrite=False)
    with refused("exporting/folder.py: --output=… is a mount point"):
        check_free(Path("."), overwrite=True)
    check_free(Path("inside"), overwrite=True)
    (tmp_path / "file").touch()
    with refused("exporting/folder.py: … is a file"):
        check_free(tmp_path / "file", overwrite=False)


def test_a_probe_takes_a_fold_that_there_is(dataset):
    options = ProbeOptions(data=dataset.directory, output="out", val_fold=3)
    with refused("probe.py: --val_fold=… is not a fold"):
        probe.check_folds(options, dataset)
    probe.check_folds(dataclasses.replace(options, val_fold=2), dataset)
    with refused("data/manifest.py: … has no fold"):
        dataset.shards_of("train", folds=[3])
    with pytest.raises(UserError, match=re.escape("its folds are [0, 1, 2]")):
        dataset.shards_of("train", folds=[3])
    assert dataset.shards_of("train", folds=[2])
