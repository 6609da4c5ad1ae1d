import json

import pytest

from carclf import runs, storage
from carclf.errors import UserError
from carclf.flags import to_dict
from carclf.storage import copies
from carclf.train_options import TrainOptions


def make_run(directory, *, metrics=None, **changes):
    directory.mkdir(parents=True)
    stage = {
        "format_version": runs.FORMAT_VERSION,
        "stage": directory.name,
        "options": to_dict(TrainOptions(epochs=3)),
        "data": {"class_names": ["a", "b"], "class_map_sha256": "f" * 64, "fingerprint": "0" * 64, "max_side": 640},
    } | changes
    (directory / runs.STAGE_FILE).write_text(json.dumps(stage))
    if metrics is not None:
        (directory / runs.METRICS_FILE).write_text(json.dumps(metrics))
    return directory


def test_a_run_is_read_back(tmp_path):
    run = runs.load_run(make_run(tmp_path / "b3", metrics={"val_accuracy": 0.9}))
    assert (run.name, run.class_names, run.max_side, run.options.epochs) == ("b3", ("a", "b"), 640, 3)
    assert run.metrics == {"val_accuracy": 0.9}


def test_a_run_without_metrics_is_unfinished(tmp_path):
    assert runs.load_run(make_run(tmp_path / "b3")).metrics is None


@pytest.mark.parametrize(("name", "path"), [("b3", "runs/b3"), ("other/b3", "other/b3"), ("./b3", "b3")])
def test_bare_names_lie_in_the_runs_folder(name, path):
    assert runs.run_path(name, runs="runs").as_posix() == path


def test_a_missing_run_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"no run folder .*b3_512: make it with python -m carclf\.train --stage=b3_512"):
        runs.load_run(tmp_path / "b3_512")


def test_a_missing_run_of_no_stage_is_not_advised_as_one(tmp_path):
    with pytest.raises(UserError, match=r"train it with python -m carclf\.train --run=.*none --data=DIR, or give"):
        runs.load_run(tmp_path / "none")


def test_a_missing_run_names_the_runs_that_are_there(tmp_path):
    make_run(tmp_path / "cars_b3")
    with pytest.raises(UserError, match=r"no run folder .*cars_b2: did you mean .*/cars_b3\?$"):
        runs.load_run(tmp_path / "cars_b2")
    with pytest.raises(UserError, match=r"no run folder .*/none: the runs in .* are cars_b3\.$"):
        runs.load_run(tmp_path / "none")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not a run, since it has no stage\.json"):
        runs.load_run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format_version": 99}, "format version 99 and this version of carclf reads 1"),
        ({"data": {}}, r"is damaged \(data.class_names is missing\)"),
        ({"options": {"warp": 1}}, "hold warp"),
    ],
)
def test_a_stage_file_of_another_version_is_refused(tmp_path, changes, text):
    with pytest.raises(UserError, match=text):
        runs.load_run(make_run(tmp_path / "b3", **changes))


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_garbled_stage_file_is_one_sentence(tmp_path, content):
    directory = make_run(tmp_path / "b3")
    (directory / runs.STAGE_FILE).write_text(content)
    with pytest.raises(UserError, match=r"stage\.json"):
        runs.load_run(directory)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(UserError, match=r"has no best\.weights\.h5 yet"):
        _ = runs.load_run(make_run(tmp_path / "b3")).best_weights


def test_names_that_are_given_one_by_one_may_have_commas(tmp_path):
    make_run(tmp_path / "a,b" / "one")
    make_run(tmp_path / "two, too")
    given = [str(tmp_path / "a,b" / "one"), "two, too"]
    assert [run.name for run in runs.load_runs(given, runs=str(tmp_path))] == ["one", "two, too"]


def test_a_run_with_a_comma_in_its_path_is_one_of_a_list(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a,b/one", "two, too", "a", "folds,all/fold0", "folds,all/fold1"):
        make_run(tmp_path / name, metrics={"val_accuracy": 0.9})
    for text, names in {
        f"{tmp_path}/a,b/one": ["one"],
        f"a,{tmp_path}/a,b/one, two, too": ["a", "one", "two, too"],
        "~/a,b/one,~/a": ["one", "a"],
        "two, too,a": ["two, too", "a"],
        "folds,all": ["folds,all/fold0", "folds,all/fold1"],
    }.items():
        assert [run.name for run in runs.load_runs(text, runs=str(tmp_path))] == names
    with pytest.raises(UserError, match=rf"^There is no run folder {tmp_path}/a,b/gone: did you mean .*/a,b/one"):
        runs.load_runs(f"{tmp_path}/a,b/gone", runs="runs")


def test_a_run_at_a_url_with_a_comma_is_one(tmp_path):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    folder = f"memory://{tmp_path}"
    for name in ("a,b", "c"):
        content = (make_run(tmp_path / name) / runs.STAGE_FILE).read_bytes()
        storage.write_atomic(f"{folder}/{name}/{runs.STAGE_FILE}", content)
    for text, where in ((f"{folder}/c,{folder}/a,b", "runs"), ("c,a,b", folder)):
        assert [run.name for run in runs.load_runs(text, runs=where)] == ["c", "a,b"]
    copies._copies.forget()


def test_runs_of_different_classes_are_not_averaged(tmp_path):
    make_run(tmp_path / "a")
    data = {"class_names": ["a", "b", "c"], "class_map_sha256": "e" * 64, "fingerprint": "0" * 64, "max_side": 640}
    make_run(tmp_path / "b", data=data)
    with pytest.raises(UserError, match=r"trained on different classes \(2 and 3\)"):
        runs.load_runs("a,b", runs=str(tmp_path))


def test_a_folder_of_all_folds_is_named_with_one_of_its_runs(tmp_path):
    make_run(tmp_path / "cv" / "fold1")
    with pytest.raises(UserError, match=r"cv holds a run for each fold: name one of them, such as .*cv/fold1\.$"):
        runs.load_run(tmp_path / "cv")
    assert runs.load_run(tmp_path / "cv" / "fold1").name == "cv/fold1"
