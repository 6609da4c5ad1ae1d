"""The command averages runs into a run that the other commands take, and refuses what has no meaning."""

import dataclasses
import json
import shutil

import h5py
import keras
import numpy as np
import pytest

from carclf import device, hashed_json, predict, runs, soup
from carclf.averaging import averager
from carclf.errors import UserError
from carclf.flags import options_of
from carclf.inference import programs
from carclf.inference.programs import load_classifier
from carclf.model.photo_classifier import INPUT_SHAPES, build_photo_classifier
from carclf.report import run_files
from carclf.report.run_files import write_report
from carclf.runs.closing import close_run
from carclf.runs.parent import check_split, load_parent, network_options
from carclf.runs.weights_files import sha256_of
from carclf.soup import SoupOptions
from carclf.train_options import ALL_FOLDS
from carclf.training.callbacks import save_weights
from tests.inference.made_runs import colour_classifier, make_run, render_not_compiled

CPU = device.Device(kind="cpu", backend="tensorflow", replicas=1, precision="float32", jit=False)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Chooses the CPU, and leaves out what takes seconds to trace and does not depend on what is averaged."""
    monkeypatch.setattr(soup, "select_device", lambda *_, **__: CPU)
    monkeypatch.setattr(averager, "build_photo_classifier", colour_classifier)
    monkeypatch.setattr(programs, "build_photo_classifier", colour_classifier)
    monkeypatch.setattr(run_files, "mistake_pictures", lambda *_: {})
    monkeypatch.setattr(run_files, "write_report", lambda run, **_: (run.directory / "report.html").touch())


@pytest.fixture(scope="module")
def made(dataset, tmp_path_factory):
    """Runs a, its copy same, b and c of other seeds, child of a, and folds/fold0 to folds/fold2."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed in (("a", 1), ("same", 1), ("b", 2), ("c", 3)):
        make_run(folder / name, dataset, seed=seed)
    make_run(folder / "child", dataset, seed=2, init_from="a")
    for fold in range(3):
        make_run(folder / "folds" / f"fold{fold}", dataset, seed=5 + fold, val_fold=fold)
    return folder


@pytest.fixture
def cook(made, dataset, tmp_path):
    """Returns a function from the names of runs to the soup of them."""

    def function(names, *, output="out", folder=tmp_path, **changes):
        where = folder / output
        soup.main(SoupOptions(run=names, runs=str(made), data=dataset.directory, output=str(where), **changes))
        return runs.load_run(where)

    return function


def resized_classifier(classifier, *, framing, **_):
    """Replaces `build_photo_classifier` by one that only resizes the canvas, and so is traced quickly."""
    inputs = {"canvas": keras.Input((None, None, 3), dtype="uint8", name="canvas")}
    inputs |= {name: keras.Input(shape, name=name) for name, shape in INPUT_SHAPES.items()}
    unused = [keras.ops.sum(keras.ops.reshape(inputs[name], (-1, 1))) for name in INPUT_SHAPES]
    images = keras.layers.Resizing(*framing.image_size)(keras.ops.cast(inputs["canvas"], "float32"))
    return keras.Model(inputs, classifier(images + 0.0 * sum(unused)), name="photo_classifier")


def weights_in(path):
    """Returns the tensors of a weights file by name."""
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return {name: value for name, value in found.items() if value.dtype.kind == "f"}


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def assert_same_weights(one, other):
    ours, theirs = weights_in(one.best_weights), weights_in(other.best_weights)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_the_soup_of_two_equal_runs_is_the_run(cook, made):
    made_soup = cook("a,same")
    assert_same_weights(made_soup, runs.load_run(made / "a"))
    assert [one["share"] for one in made_soup.stage["soup"]["ingredients"]] == [0.5, 0.5]


def test_the_tensors_of_a_uniform_soup_are_the_means(cook, made):
    found = weights_in(cook("a,b,c", method="uniform").best_weights)
    each = [weights_in(runs.load_run(made / name).best_weights) for name in "abc"]
    assert len(found) > 10
    for name, value in found.items():
        np.testing.assert_allclose(value, np.mean([one[name] for one in each], axis=0), atol=1e-7, err_msg=name)


def move_statistics(run, mean):
    classifier, _ = load_classifier(run)
    classifier.get_layer("head_norm").moving_mean.assign(np.full(8, mean))
    classifier.get_layer("backbone").get_layer("block1_bn").moving_mean.assign(np.full(64, 0.5))
    save_weights(classifier, run.best_weights)
    close_run(dataclasses.replace(run, metrics={"val_accuracy": 0.5}))


def test_statistics_that_training_moved_are_computed_again_and_frozen_ones_kept(cook, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(averager, "build_photo_classifier", resized_classifier)
    for name, seed in (("d", 1), ("e", 2)):
        move_statistics(make_run(tmp_path / name, dataset, seed=seed, augment="flip"), 100.0 * seed)
    classifier, _ = load_classifier(cook(f"{tmp_path / 'd'},{tmp_path / 'e'}", method="uniform"))
    assert abs(numbers(classifier.get_layer("head_norm").moving_mean)).max() < 50  # the mean of both is 150
    assert (numbers(classifier.get_layer("backbone").get_layer("block1_bn").moving_mean) == 0.5).all()


def test_runs_that_mix_photos_are_averaged_and_scored_in_batches_of_odd_size(cook, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(averager, "build_photo_classifier", build_photo_classifier)
    for name, seed in (("d", 1), ("e", 2)):
        move_statistics(make_run(tmp_path / name, dataset, seed=seed, augment="mixup(0.2)"), 100.0 * seed)
    with render_not_compiled():
        made_soup = cook(f"{tmp_path / 'd'},{tmp_path / 'e'}", method="uniform", batch_size=5)
    assert made_soup.metrics["val_photos"] == 8


@pytest.mark.parametrize(
    ("batch_size", "photos", "unit", "size"),
    [(32, 100, 1, 32), (33, 100, 2, 32), (33, 21, 2, 20), (32, 21, 1, 21), (40, 100, 16, 32), (8, 100, 16, 16)],
)
def test_a_training_pass_takes_whole_pairs_on_every_device(batch_size, photos, unit, size):
    assert averager.pass_size(batch_size=batch_size, photos=photos, unit=unit) == size


def test_photos_that_do_not_fill_a_training_pass_are_one_sentence():
    with pytest.raises(UserError, match="The 10 training photos do not fill one batch of 16: lower --batch_size"):
        averager.pass_size(batch_size=32, photos=10, unit=16)


def test_a_greedy_soup_is_no_worse_than_its_best_ingredient_and_says_what_it_is(cook, made, capsys, monkeypatch):
    monkeypatch.setattr(run_files, "write_report", write_report)
    made_soup = cook("c,a,b")
    said = capsys.readouterr().out
    entry = made_soup.stage["soup"]
    own = [one["val_score"] for one in entry["ingredients"]]
    assert own == sorted(own, reverse=True)
    assert made_soup.metrics["val_score"] == made_soup.metrics["val_accuracy"] >= own[0]
    assert max(trial["val_score"] for trial in entry["trials"]) == made_soup.metrics["val_score"]
    assert {one["run"] for one in entry["ingredients"]} == {str(made / name) for name in "abc"}
    for one in entry["ingredients"]:
        assert one["weights_sha256"] == sha256_of(runs.load_run(runs.run_path(one["run"], runs="")).best_weights)
    leader = entry["ingredients"][0]["run"]
    assert (made_soup.stage["parent"]["run"], made_soup.options.init_from) == (leader, leader)
    for one in entry["ingredients"]:
        assert f"Accuracy of {one['run'].rpartition('/')[2]}: {100 * one['val_score']:.1f} %" in said
    page = (made_soup.directory / "report.html").read_text()
    assert "carclf.soup" in page
    assert page.count(leader) >= 1


def test_alpha_0_is_the_parent_and_alpha_1_the_child(cook, made):
    for alphas, name in (("0", "a"), ("1", "child")):
        made_soup = cook("child", method="wise", alphas=alphas, output=f"alpha{alphas}")
        assert_same_weights(made_soup, runs.load_run(made / name))
    between = cook("child", method="wise")
    scores = [trial["val_score"] for trial in between.stage["soup"]["trials"]]
    assert len(scores) == 11
    assert between.metrics["val_score"] == max(scores) == scores[-1]
    assert [one["run"] for one in between.stage["soup"]["ingredients"]] == [str(made / "a"), str(made / "child")]
    assert cook("b,c", method="wise", alphas="0.5", output="pair").stage["parent"]["run"] == str(made / "c")


def test_a_soup_of_folds_has_no_held_out_score_and_predicts(cook, made, dataset, tmp_path, monkeypatch):
    made_soup = cook("folds", method="uniform")
    assert (made_soup.options.val_fold, made_soup.held_out_fold) == (ALL_FOLDS, None)
    assert made_soup.metrics["val_accuracy"] is None
    assert made_soup.score == "without a held-out score"
    assert (made_soup.stage["data"]["train_photos"], made_soup.stage["data"]["val_photos"]) == (24, 0)
    assert not (made_soup.directory / "report.html").exists()
    monkeypatch.setattr(device, "select_device", lambda *_, **__: CPU)
    output = tmp_path / "submission.csv"
    options = predict.PredictOptions(run=str(made_soup.directory), data=dataset.directory, output=str(output))
    assert predict.main(options) == 0
    assert len(output.read_text().splitlines()) == 6
    with pytest.raises(UserError, match=r"out is a soup of runs that held out different folds, so no training photo"):
        predict.main(dataclasses.replace(options, split="val", output=str(tmp_path / "val.csv")))
    with pytest.raises(UserError, match=r"out held out nothing of data .* trained on photos that would validate it"):
        check_split(dataset, val_fold=0, parent=made_soup)


def test_a_stage_can_start_from_a_soup_and_a_soup_be_an_ingredient(cook, made, dataset):
    made_soup = cook("a,b", output="first")
    parent = load_parent(made_soup.directory, data="", network=network_options(made_soup.options))
    assert check_split(dataset, val_fold=0, parent=parent) is None
    again = cook(f"{made_soup.directory},c", output="second")
    assert again.metrics["val_score"] >= made_soup.metrics["val_score"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": "a"}, "--run=a names one run: name several"),
        ({"names": "a", "method": "wise"}, "has no parent, since it was trained without --init_from"),
        ({"names": "a,b,c", "method": "wise"}, "names 3 runs: name one run, or its parent and itself"),
        ({"names": "folds"}, "fold0 held out fold 0 and .*fold1 fold 1, so no .*: give runs of one fold, or average "
         "all by --method=uniform, without a held-out score"),
        ({"names": "a,b", "alphas": "0,1"}, "--alphas=0,1 is not possible: only --method=wise takes it"),
        ({"names": "a,b", "method": "wise", "alphas": "2"}, "--alphas=2: write the shares of the child from 0 to 1"),
        ({"names": "a,b", "method": "mean"}, "--method=mean is not possible: Known are greedy, uniform, wise"),
        ({"names": "a,nowhere"}, "There is no run folder"),
    ],
    ids=lambda value: value["names"] + value.get("method", "") if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_cannot_be_averaged_is_refused(cook, changes, message):
    with pytest.raises(UserError, match=message):
        cook(changes.pop("names"), **changes)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"head": "linear"}, "a has --head=notebook and .*other --head=linear: average runs that have it in common"),
        ({"fit": "crop"}, "a has --fit=squash and .*other --fit=crop"),
        ({"stretch": True}, "a has --stretch=False and .*other --stretch=True"),
        ({"val_fold": 1}, "a held out fold 0 and .*other fold 1, so no training photo is new to both"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_runs_that_do_not_fit_are_refused(cook, dataset, tmp_path, changed, message):
    make_run(tmp_path / "other", dataset, **changed)
    with pytest.raises(UserError, match=message):
        cook(f"a,{tmp_path / 'other'}")


def test_runs_of_one_network_are_averaged_however_its_options_are_written(cook, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(averager, "build_photo_classifier", resized_classifier)
    for name, seed, width in (("one", 1, 64), ("other", 2, 128)):
        with_stage(make_run(tmp_path / name, dataset, seed=seed, head="linear"), options={"head_width": width})
    with_stage(runs.load_run(tmp_path / "other"), options={"backbone": "Tiny"})
    made_soup = cook(f"{tmp_path / 'one'},{tmp_path / 'other'}")
    assert len(made_soup.stage["soup"]["ingredients"]) == 2


def with_stage(run, **changes):
    """Changes the content of a run's stage.json."""
    path = run.directory / runs.STAGE_FILE
    content = json.loads(path.read_text())
    content.pop(hashed_json.HASH_KEY)
    for name, values in changes.items():
        content[name] |= values
    hashed_json.write(path, content)
    return runs.load_run(run.directory)


def test_runs_of_other_photos_or_with_an_ancestor_that_has_seen_them_are_refused(cook, dataset, tmp_path):
    with_stage(make_run(tmp_path / "other", dataset), data={"fingerprint": "0" * 64})
    with pytest.raises(UserError, match=r"other was trained on the data set 000000000000, but .*: average runs of one"):
        cook(f"{tmp_path / 'other'},a")
    make_run(tmp_path / "seen", dataset, val_fold=1)
    make_run(tmp_path / "heir", dataset, init_from=str(tmp_path / "seen"), allow_split_change=True)
    for _ in range(2):
        with pytest.raises(UserError, match=r"heir started with --allow_split_change from .*seen, which may have"):
            cook(f"{tmp_path / 'heir'},a")
        shutil.rmtree(tmp_path / "seen", ignore_errors=True)  # then nobody knows
    unfinished = make_run(tmp_path / "unfinished", dataset)
    (unfinished.directory / runs.METRICS_FILE).unlink()
    with pytest.raises(UserError, match=r"unfinished is not finished: train it to its end first"):
        cook(f"{unfinished.directory},a")


def test_no_run_is_lost(cook, made, dataset):
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"c holds a run: choose another --output, or replace it by --overwrite"):
        cook("a,b", folder=made, output="c")
    for name in ("a", "child"):
        with pytest.raises(UserError, match=rf"would replace the run .*{name}, of which it is made"):
            cook("b,child", folder=made, output=name, overwrite=True)
    with pytest.raises(UserError, match=r"folds holds a run for each fold"):
        cook("a,b", folder=made, output="folds", overwrite=True)
    assert before == {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}


def test_a_run_is_replaced_when_told(cook, dataset, tmp_path):
    run = make_run(tmp_path / "out", dataset, seed=9)
    (run.directory / "augmentation.png").write_bytes(b"of the former run")
    made_soup = cook("a,b", overwrite=True)
    assert "soup" in made_soup.stage
    assert not (run.directory / "augmentation.png").exists()


def test_the_command_of_a_soup_makes_it_again(cook, made, dataset, tmp_path):
    made_soup = cook("a,b", metric="log_loss", batch_size=4)
    command = made_soup.stage["soup"]["command"]
    assert command == [
        "--run=a,b", f"--runs={made}", f"--data={dataset.directory}", f"--output={tmp_path / 'out'}",
        "--metric=log_loss", "--batch_size=4",
    ]  # fmt: skip
    assert options_of(SoupOptions).keys() >= {argument[2:].partition("=")[0] for argument in command}
