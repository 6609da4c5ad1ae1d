"""`--val_fold=all`: which commands it runs, and what its folder means afterwards."""

import pytest

from carclf import runs, train
from carclf.command import parse_command_line
from carclf.errors import UserError
from carclf.train_options import ALL_FOLDS, TrainOptions
from tests.inference.made_runs import make_run


def options_of(arguments: list[str]) -> TrainOptions:
    return parse_command_line(TrainOptions, arguments, description="")


@pytest.fixture
def commands(monkeypatch):
    """Returns the commands that would have been run, as options by fold."""
    started = {}
    monkeypatch.setattr(
        train, "train_each", lambda what, given: started.update({k: options_of(v) for k, v in given.items()}) or 0
    )
    return started


def test_every_fold_is_a_run_of_its_own_from_the_parents_run_of_that_fold(commands, dataset, tmp_path, monkeypatch):
    for fold in range(3):
        make_run(tmp_path / "parent" / f"fold{fold}", dataset, val_fold=fold)
    arguments = [f"--data={dataset.directory}", f"--runs={tmp_path}", "--run=child", "--val_fold=all", "--epochs=3"]
    arguments.append("--init_from=parent")
    monkeypatch.setattr(train.sys, "argv", ["train", *arguments])
    assert train.main(options_of(arguments)) == 0
    assert list(commands) == ["0", "1", "2"]
    for fold, options in enumerate(commands.values()):
        assert (options.val_fold, options.epochs) == (fold, 3)
        assert options.run == str(tmp_path / "child" / f"fold{fold}")
        assert options.init_from == str(tmp_path / "parent" / f"fold{fold}")


def test_the_folder_stands_for_the_runs_of_all_folds(dataset, tmp_path):
    for fold in (10, 2, 0):
        make_run(tmp_path / "k" / f"fold{fold}", dataset, val_fold=fold)
    make_run(tmp_path / "single", dataset)
    all_folds, single = runs.load_members("k,single", runs=str(tmp_path))
    assert (all_folds.name, all_folds.folds) == ("k", (0, 2, 10))
    assert [run.name for run in all_folds.runs] == ["k/fold0", "k/fold2", "k/fold10"]
    assert (single.name, single.folds) == ("single", (0,))
    assert len(runs.load_runs("k,single", runs=str(tmp_path))) == 4


def test_an_unfinished_fold_is_named(dataset, tmp_path):
    make_run(tmp_path / "k" / "fold0", dataset)
    (tmp_path / "k" / "fold0" / runs.METRICS_FILE).unlink()
    with pytest.raises(UserError, match=r"k/fold0 is not finished"):
        runs.load_members("k", runs=str(tmp_path))


def test_a_folder_is_either_a_run_or_all_folds(commands, dataset, tmp_path):
    make_run(tmp_path / "one", dataset)
    make_run(tmp_path / "all" / "fold0", dataset)
    shared = {"data": dataset.directory, "runs": str(tmp_path)}
    with pytest.raises(UserError, match="one holds a run of one fold"):
        train.train_all_folds(TrainOptions(run="one", val_fold=ALL_FOLDS, **shared), [])
    with pytest.raises(UserError, match="all holds a run for each fold"):
        train.train_one_stage(TrainOptions(run="all", **shared))


def test_all_is_a_word_and_no_number():
    assert options_of(["--val_fold=all"]).val_fold == ALL_FOLDS
    with pytest.raises(UserError, match="val_fold"):
        options_of([f"--val_fold={ALL_FOLDS}"])


def test_a_range_test_of_every_fold_is_no_run_to_evaluate(commands, dataset, tmp_path, monkeypatch, capsys):
    for flags, advised in ((["--find_lr"], False), ([], True)):
        arguments = [f"--data={dataset.directory}", f"--runs={tmp_path}", "--val_fold=all", *flags]
        monkeypatch.setattr(train.sys, "argv", ["train", *arguments])
        assert train.main(options_of(arguments)) == 0
        assert ("carclf.evaluate" in capsys.readouterr().out) == advised
