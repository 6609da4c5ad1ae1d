"""Damage to the files of a run is named before anything is computed from them."""

import dataclasses
import json
import os
import re
import shutil

import numpy as np
import pytest

from carclf import hashed_json, runs
from carclf.errors import UserError
from carclf.runs.closing import close_run
from carclf.runs.run_files import read_metrics, read_stage
from carclf.runs.weights_files import checked_file, hash_path, sha256_of, write_weights
from tests.damage import flips, refusal, with_new_entries, with_wrong_types
from tests.inference.made_runs import make_run

EVALUATION = {"photos": 4, "accuracy": 0.5, "accuracy_low": 0.2, "accuracy_high": 0.8}


@pytest.fixture(scope="module")
def made(dataset, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "one", dataset)


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made.directory, tmp_path / "one")
    return runs.load_run(tmp_path / "one")


def test_a_run_carries_the_hashes_of_its_files(run, capsys):
    metrics = json.loads((run.directory / runs.METRICS_FILE).read_text())
    files = (runs.BEST_WEIGHTS, runs.HISTORY_FILE)
    assert metrics["files_sha256"] == {name: sha256_of(run.directory / name) for name in files}
    assert {*json.loads((run.directory / runs.STAGE_FILE).read_text())} >= {hashed_json.HASH_KEY}
    assert run.best_weights == run.directory / runs.BEST_WEIGHTS
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", [runs.STAGE_FILE, runs.METRICS_FILE])
def test_a_flipped_bit_at_any_byte_is_named(run, name):
    path = run.directory / name
    with open(path, "r+b") as opened:  # opening takes longer than all the rest
        for number, changed in enumerate(flips(opened.read())):
            if number % 8 == number // 8 % 8:  # one bit of every byte
                os.pwrite(opened.fileno(), changed, 0)
                said = refusal(lambda: runs.load_run(run.directory))
                assert re.search(rf"{name} (is damaged \(.*\): copy|has format version .* use the version)", said), (
                    changed
                )


@pytest.mark.parametrize("name", [runs.STAGE_FILE, runs.METRICS_FILE])
def test_a_wrong_type_anywhere_in_a_file_without_hash_is_one_sentence_or_read(run, name):
    path = run.directory / name
    content = json.loads(path.read_text())
    del content[hashed_json.HASH_KEY]
    read = {runs.STAGE_FILE: read_stage, runs.METRICS_FILE: read_metrics}[name]
    refused = 0
    for changed in with_wrong_types(content):
        path.write_text(json.dumps(changed))
        try:
            read(path)
            runs.load_run(run.directory)
        except UserError as error:
            refused += str(error).startswith(f"{path}") and "\n" not in str(error)
    assert refused >= 8


@pytest.mark.parametrize("name", [runs.STAGE_FILE, runs.METRICS_FILE])
def test_what_a_later_carclf_adds_is_read(run, name):
    path = run.directory / name
    content = json.loads(path.read_text())
    del content[hashed_json.HASH_KEY]
    if name == runs.STAGE_FILE:
        form = {"kind": "label", "header": ["Id", "Category"], "id_column": "Id", "answer_columns": ["Category"]}
        content["data"] |= {"form": form, "label_patch": {"sha256": "0" * 64}}
    else:
        scores = {"name": "a", "photos": 4, "precision": 0.5, "recall": 0.5, "f1": 0.5}
        content["evaluation"] = EVALUATION | {"per_class": [scores]}
    changed = list(with_new_entries(content, without=("options",)))
    assert len(changed) >= 4
    for content in changed:
        hashed_json.write(path, content)
        assert runs.load_run(run.directory).class_names == run.class_names


def test_an_option_of_a_later_carclf_is_named(run):
    path = run.directory / runs.STAGE_FILE
    content = read_stage(path)
    content["options"]["newest"] = 1
    hashed_json.write(path, content)
    with pytest.raises(UserError, match=r"stage.json: .*newest"):
        runs.load_run(run.directory)


def test_a_file_of_an_older_carclf_is_read_with_a_note(run, capsys):
    for name in (runs.STAGE_FILE, runs.METRICS_FILE):
        content = json.loads((run.directory / name).read_text())
        for key in (hashed_json.HASH_KEY, "files_sha256"):
            content.pop(key, None)
        (run.directory / name).write_text(json.dumps(content))
    hash_path(run.directory / runs.BEST_WEIGHTS).unlink()
    old = runs.load_run(run.directory)
    assert old.best_weights.is_file()
    noted = [line.split(" is of an older")[0] for line in capsys.readouterr().err.splitlines()]
    assert noted == [
        f"Note: {run.directory / name}" for name in (runs.STAGE_FILE, runs.METRICS_FILE, runs.BEST_WEIGHTS)
    ]
    close_run(old)  # as evaluate does
    assert runs.load_run(run.directory).metrics["files_sha256"]


@pytest.mark.parametrize("finished", [True, False])
def test_changed_weights_are_named_before_they_are_loaded(run, finished):
    if not finished:
        (run.directory / runs.METRICS_FILE).unlink()
        run = runs.load_run(run.directory)
    path = run.directory / runs.BEST_WEIGHTS
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    changes = [content[:-1], content + b"\0", b""]
    for place in rng.integers(0, len(content), 20):
        changes.append(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        changes.append(content[:place] + bytes(512) + content[place + 512 :])
    for changed in changes:
        path.write_bytes(changed)
        if changed != content:
            with pytest.raises(UserError, match=r"weights.h5 is not the file that the training wrote .* copy the run"):
                run.best_weights  # noqa: B018


def test_the_weights_of_another_run_are_named(run, dataset, tmp_path):
    other = make_run(tmp_path / "other", dataset, seed=2)
    for path in (run.directory / runs.BEST_WEIGHTS, hash_path(run.directory / runs.BEST_WEIGHTS)):
        shutil.copyfile(other.directory / path.name, path)
    with pytest.raises(UserError, match="is not the file that the training wrote"):
        run.best_weights  # noqa: B018


def test_killed_while_weights_are_replaced_either_file_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "best.weights.h5"
    write_weights(path, b"old")

    def killed(*arguments):
        raise KeyboardInterrupt

    renames = iter([os.replace, killed])  # of the hashes, then of the weights
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", lambda *names: next(renames)(*names))
        with pytest.raises(KeyboardInterrupt):
            write_weights(path, b"new")
    assert checked_file(path).read_bytes() == b"old"
    write_weights(path, b"newer")
    assert hash_path(path).read_text() == f"{sha256_of(path)}  best.weights.h5\n"


def test_a_damaged_file_of_hashes_allows_no_weights(tmp_path):
    path = tmp_path / "best.weights.h5"
    write_weights(path, b"weights")
    for content in (b"", b"\xff", b"0" * 64 + b"  best.weights.h5\n", sha256_of(path).encode() + b"  other.h5\n"):
        hash_path(path).write_bytes(content)
        with pytest.raises(UserError, match="is not the file that the training wrote"):
            checked_file(path)


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b"\0" * 9), lambda path: path.unlink()], ids=["changed", "gone"]
)
def test_a_changed_history_or_label_patch_is_named(run, damage):
    with_patch = {**run.stage, "data": {**run.stage["data"], "label_patch": {"sha256": "0" * 64, "photos": 1}}}
    (run.directory / runs.APPLIED_LABELS).write_text("id,class\n")
    patched = dataclasses.replace(run, stage=with_patch)
    for path, read in (
        (run.directory / runs.HISTORY_FILE, lambda: run.history),
        (run.directory / runs.APPLIED_LABELS, lambda: patched.label_patch),
    ):
        damage(path)
        said = rf"{path.name} (is not the file that the training wrote|cannot be read) \(.*: .*copy the run again"
        assert re.search(said, refusal(read))
