"""What a checkpoint contains, which one is loaded, and that resuming from any step ends as if uninterrupted."""

import dataclasses
import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from carclf import preemption, runs
from carclf.errors import Preempted, UserError
from carclf.runs import checkpoint
from carclf.runs.checkpoint import Checkpoint, CheckpointFolder
from carclf.training import checkpointing
from tests.training import small

TIMES = ["seconds", "images_per_second", "waiting_fraction"]
LAST_STEP = small.STEPS_PER_EPOCH * small.EPOCHS
FEW_STEPS = (1, small.STEPS_PER_EPOCH, 13, LAST_STEP)


class Killed(BaseException):
    """Stands for SIGKILL: none of our code runs after it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, *, step: int | None = None, validation: int | None = None) -> None:
    count, validate = checkpointing.Position.on_train_batch_end, checkpointing.CheckpointSaver.on_test_begin
    begun = iter(range(1, 1000))

    def counting(self, batch, logs=None):
        count(self, batch, logs)
        if self.step == step:
            raise Killed

    def validating(self, logs=None):
        if next(begun) == validation:
            raise Killed
        return validate(self, logs)

    monkeypatch.setattr(checkpointing.Position, "on_train_batch_end", counting)
    monkeypatch.setattr(checkpointing.CheckpointSaver, "on_test_begin", validating)


def interrupted(directory: Path, monkeypatch: pytest.MonkeyPatch, **moment: int) -> Path:
    with monkeypatch.context() as context:
        kill_at(context, **moment)
        with pytest.raises(Killed):
            small.train(directory)
    return directory


def weights_of(path: Path) -> list[np.ndarray]:
    model = small.small_model()
    model.load_weights(path)
    return model.get_weights()


def assert_same_run(directory: Path, result, golden: Path, golden_result) -> None:
    for name in (runs.BEST_WEIGHTS, runs.LAST_WEIGHTS):
        for mine, theirs in zip(weights_of(directory / name), weights_of(golden / name), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert result.history.drop(columns=TIMES).equals(golden_result.history.drop(columns=TIMES))
    assert result.best_epoch == golden_result.best_epoch


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    directory = tmp_path_factory.mktemp("golden") / "run"
    _, result = small.train(directory)
    assert 1 <= result.best_epoch < small.EPOCHS  # otherwise a best from the future would not be noticed
    return directory, result


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Returns a run that was interrupted at step 13, with checkpoints of steps 10 and 12."""
    directory = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        return interrupted(directory, monkeypatch, step=13)


@pytest.fixture
def copy(stopped, tmp_path):
    return Path(shutil.copytree(stopped, tmp_path / "copy"))


@pytest.mark.parametrize(
    "moment",
    [
        *({"step": step} for step in FEW_STEPS),
        *({"validation": number} for number in (1, small.EPOCHS)),
        *(
            pytest.param({"step": step}, marks=pytest.mark.slow)
            for step in range(1, LAST_STEP + 1)
            if step not in FEW_STEPS
        ),
    ],
    ids=str,
)
def test_cut_off_at_any_step_a_run_ends_as_if_it_had_not_been(tmp_path, golden, monkeypatch, moment):
    directory = interrupted(tmp_path / "run", monkeypatch, **moment)
    _, result = small.train(directory)
    assert_same_run(directory, result, *golden)


def test_the_two_newest_checkpoints_are_kept(golden):
    names = sorted(path.name for path in (golden[0] / "checkpoints").iterdir())
    best = [name for name in names if name.startswith("best")]
    steps = [f"step-{step:08d}.{kind}" for step in (LAST_STEP - 2, LAST_STEP) for kind in ("json", "npz")]
    assert names == [*best, *steps]
    assert best


def test_a_checkpoint_holds_every_variable(stopped):
    content = json.loads((stopped / "checkpoints" / "step-00000012.json").read_text())["content"]
    groups = [name.split()[0] for name, _, _ in content["arrays"]]
    model = small.small_model()
    assert groups.count("model") == len(model.variables)
    assert groups.count("optimizer") == len(model.optimizer.variables)
    assert groups.count("metric") == 6
    assert any("seed_generator" in name for name, _, _ in content["arrays"])
    assert content["state"]["setting"] == small.SETTING
    assert content["identity"] == small.IDENTITY


@pytest.mark.parametrize("every_steps", [0, 7])
def test_how_often_is_saved(tmp_path, monkeypatch, every_steps):
    steps: list[int] = []
    write = CheckpointFolder.write
    monkeypatch.setattr(CheckpointFolder, "write", lambda self, c: (steps.append(c.step), write(self, c)))
    small.train(tmp_path / "run", every_steps=every_steps)
    ends = range(small.STEPS_PER_EPOCH, LAST_STEP + 1, small.STEPS_PER_EPOCH)
    assert steps == sorted({*ends, *(range(every_steps, LAST_STEP + 1, every_steps) if every_steps else ())})


def reread(content: dict) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({"format_version": 1, "sha256": digest, "content": content})


def damage(folder: Path, how: str) -> None:
    arrays, description = folder / "step-00000012.npz", folder / "step-00000012.json"
    content = json.loads(description.read_text())["content"]
    if how == "truncated":
        arrays.write_bytes(arrays.read_bytes()[:-100])
    elif how == "flipped":
        arrays.write_bytes(arrays.read_bytes()[:500] + b"?" + arrays.read_bytes()[501:])
    elif how == "missing":
        arrays.unlink()
    elif how == "cut":
        description.write_text(description.read_text()[:-200])
    elif how == "edited":
        description.write_text(description.read_text().replace('"step": 12', '"step": 13'))
    elif how == "newer":
        description.write_text(json.dumps({"format_version": 2, "content": {}, "sha256": ""}))
    elif how == "no best":
        (folder / f"best-{content['best']['epoch']:05d}.weights.h5").write_bytes(b"")
    elif how == "renamed":
        for path in (arrays, description):
            path.rename(path.with_stem("step-00000099"))
    else:
        arrays.write_bytes(hostile(arrays, how))
        content["arrays_file"] = {
            "bytes": arrays.stat().st_size,
            "sha256": hashlib.sha256(arrays.read_bytes()).hexdigest(),
        }
        description.write_text(reread(content))


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("a checkpoint ran code",))


def hostile(path: Path, how: str) -> bytes:
    """Returns a file that claims to hold those arrays, but whose first array is wrong."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    first = members["0.npy"]
    if how == "pickle":
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
        members["0.npy"] = (b"\x93NUMPY\x01\x00v\x00" + header + pickle.dumps([Harmful()])).ljust(len(first), b"\0")
    elif how == "huge":
        members["0.npy"] = first.replace(b"(4, 8)", b"(4, 8000000000000)").replace(b" " * 12 + b"\n", b"\n")
    out = path.with_suffix(".new")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if how == "compressed" else zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    content = out.read_bytes()
    out.unlink()
    return content


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("truncated", r"step-00000012.npz has \d+ bytes instead of \d+"),
        ("flipped", "step-00000012.npz was changed after it was written"),
        ("missing", "step-00000012.npz is missing"),
        ("cut", "its JSON is cut short or garbled"),
        ("edited", "its JSON was changed after it was written"),
        ("newer", "it has format version 2 and this version of carclf reads 1"),
        ("renamed", "it is the checkpoint of step 12 under another name"),
        ("pickle", r"cannot be read as plain arrays \(Object arrays cannot be loaded when allow_pickle=False\)"),
        ("huge", "cannot be read as plain arrays|holds other arrays"),
        ("compressed", "holds something else than model 0"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_by_name_and_the_older_one_loads(copy, golden, capsys, how, said):
    damage(copy / "checkpoints", how)
    _, result = small.train(copy)
    skipped, going_on = capsys.readouterr().out.splitlines()[:2]
    assert skipped.startswith(f"Skipped the checkpoint {copy / 'checkpoints' / 'step-000000'}")
    assert re.search(said, skipped)
    assert going_on.startswith("Resuming from step 10 (epoch 2)")
    assert_same_run(copy, result, *golden)
    assert len(checkpoint.stored_checkpoints(copy / "checkpoints")) == 2


def test_without_a_valid_checkpoint_a_run_starts_at_step_0_and_says_so(copy, golden, capsys):
    damage(copy / "checkpoints", "no best")
    _, result = small.train(copy)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1].strip().split(" ")[0] for line in said[:2]] == ["best-00001.weights.h5"] * 2
    assert said[2] == f"No valid checkpoint in {copy / 'checkpoints'}: starting at step 0."
    assert_same_run(copy, result, *golden)


@pytest.mark.parametrize(
    ("identity", "said"),
    [("options", "with other options"), ("classes", "another list of classes"), ("data", "another data set")],
)
def test_a_foreign_checkpoint_is_skipped_by_name(copy, capsys, identity, said):
    small.train(copy, identity=small.IDENTITY | {identity: "another"})
    lines = capsys.readouterr().out.splitlines()
    assert [said in line for line in lines[:2]] == [True, True]
    assert "starting at step 0" in lines[2]


def test_a_checkpoint_of_another_model_is_skipped_by_name(copy, capsys):
    small.train(copy, model=small.small_model(width=9))
    said = capsys.readouterr().out.splitlines()
    assert (
        "it has model 0: dense/kernel (float32 4x8) where this model has model 0: dense/kernel (float32 4x9)" in said[0]
    )
    assert "starting at step 0" in said[2]


def test_whole_checkpoints_that_do_not_fit_are_not_replaced_by_those_of_a_new_start(copy):
    before = {path.name: path.read_bytes() for path in (copy / "checkpoints").iterdir()}
    said = (
        r"The checkpoint .*step-00000012.json does not fit this model \(it has model 0: .*4x9\)\): resume with the "
        r"versions of carclf and Keras that the run's stage.json names, or start again with --overwrite"
    )
    with pytest.raises(UserError, match=said):
        small.train(copy, model=small.small_model(width=9), step=12)
    assert {path.name: path.read_bytes() for path in (copy / "checkpoints").iterdir()} == before
    small.train(copy, model=small.small_model(width=9), resume=False, step=12)
    assert checkpoint.stored_checkpoints(copy / "checkpoints")[0].stem == f"step-{LAST_STEP:08d}"


def test_a_phase_is_not_resumed_from_the_checkpoint_of_another(copy, golden, capsys):
    """The model of a later image size has random weights until a checkpoint is restored."""
    damage(copy / "checkpoints", "huge")
    last = dataclasses.replace(small.PHASE, first_epoch=2)
    with pytest.raises(
        UserError, match=r"step-00000012.json cannot be loaded .*another image size: remove step-00000012.json, and"
    ):
        small.train(copy, phase=last, step=12)
    (copy / "checkpoints" / "step-00000012.json").unlink()
    _, result = small.train(copy, step=10)  # which belongs to the phase before
    assert "Resuming from step 10" in capsys.readouterr().out
    assert_same_run(copy, result, *golden)


def test_another_optimizer_is_another_model(copy, capsys):
    small.train(copy, model=small.small_model(ema=False))
    assert "where this model has" in capsys.readouterr().out


def test_a_checkpoint_of_another_version_of_keras_is_resumed(copy, capsys, monkeypatch):
    """Keras 3.13 calls a variable SGD/iteration, and 3.15 sgd/iteration."""
    read = checkpoint._read_content

    def in_capitals(path):
        content = read(path)
        return content | {"arrays": [[name.swapcase(), *rest] for name, *rest in content["arrays"]]}

    monkeypatch.setattr(checkpoint, "_read_content", in_capitals)
    small.train(copy)
    assert "Skipped the checkpoint" not in capsys.readouterr().out


def test_another_machine_is_said(copy, capsys):
    small.train(copy, setting={"device": "1 gpu"})
    said = capsys.readouterr().out
    assert "The machine is not the same (device 1 cpu → 1 gpu): results may differ in their last bits." in said


@pytest.mark.parametrize(("theirs", "ours"), [("int64", "uint32"), ("int64", "int32"), ("uint32", "int64")])
def test_whole_numbers_of_another_backend_are_read(tmp_path, theirs, ours):
    """Keras keeps its seeds as int64 on TensorFlow and as uint32 on JAX, and counts steps as int64 and int32."""
    values = np.array([0, 5, 2**31 - 1])
    as_theirs, as_ours = {"A": values.astype(theirs)}, {"a": values.astype(ours)}
    folder_of(tmp_path, as_theirs).write(Checkpoint(step=1, arrays=as_theirs, state={}))
    read = folder_of(tmp_path, as_ours).newest()
    np.testing.assert_array_equal(read.arrays["a"], values)
    assert read.arrays["a"].dtype == ours


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        (np.array([-1], np.int64), np.zeros(1, np.uint32), "it has numbers in a that uint32 cannot hold"),
        (np.array([2**31], np.uint32), np.zeros(1, np.int32), "it has numbers in a that int32 cannot hold"),
        (np.ones(1, np.float64), np.ones(1, np.float32), "it has a (float64 1) where this model has a (float32 1)"),
        (np.ones(1, np.float32), np.ones(1, np.int32), "it has a (float32 1) where this model has a (int32 1)"),
        (np.ones(1, np.int8), np.ones(1, np.int32), "it has a (int8 1) where this model has a (int32 1)"),
    ],
    ids=["negative", "large", "floats", "kinds", "bytes"],
)
def test_no_number_changes_with_its_type(tmp_path, capsys, theirs, ours, said):
    folder_of(tmp_path, {"a": theirs}).write(Checkpoint(step=1, arrays={"a": theirs}, state={}))
    assert folder_of(tmp_path, {"a": ours}).newest() is None
    assert f"{said}." in capsys.readouterr().out


def folder_of(directory: Path, arrays: dict[str, np.ndarray]) -> CheckpointFolder:
    best = directory / "best.weights.h5"
    return CheckpointFolder(directory, identity=small.IDENTITY, arrays=checkpoint.specs_of(arrays), best_weights=best)


def test_on_another_backend_dropout_draws_other_numbers_and_that_is_said(copy, capsys):
    small.train(copy, setting=small.SETTING | {"backend": "another"})
    said = capsys.readouterr().out
    assert "The machine is not the same (backend None → another): dropout draws other numbers." in said


def test_best_weights_from_the_future_are_put_back(copy, golden):
    (copy / runs.BEST_WEIGHTS).write_bytes((golden[0] / runs.LAST_WEIGHTS).read_bytes())
    folder = CheckpointFolder(
        copy / "checkpoints",
        identity=small.IDENTITY,
        arrays=checkpointing.ModelState(small.small_model()).specs(),
        best_weights=copy / runs.BEST_WEIGHTS,
    )
    loaded = folder.newest()
    assert loaded.step == 12
    kept = copy / "checkpoints" / f"best-{loaded.best_epoch:05d}.weights.h5"
    assert (copy / runs.BEST_WEIGHTS).read_bytes() == kept.read_bytes()


def test_patience_is_remembered(tmp_path, monkeypatch):
    _, whole = small.train(tmp_path / "whole", patience=1)
    assert 1 < len(whole.history) < small.EPOCHS
    last = len(whole.history) * small.STEPS_PER_EPOCH
    for name, step in (("a", last - 1), ("b", last)):
        directory = tmp_path / name
        with monkeypatch.context() as context:
            kill_at(context, step=step)
            with pytest.raises(Killed):
                small.train(directory, patience=1)
        _, result = small.train(directory, patience=1)
        assert_same_run(directory, result, tmp_path / "whole", whole)


def test_sigterm_is_noted_saved_at_the_batch_end_and_gone_on_from(tmp_path, golden, monkeypatch):
    count = checkpointing.Position.on_train_batch_end

    def signalled(self, batch, logs=None):
        count(self, batch, logs)
        if self.step == 13:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as context:
        context.setattr(checkpointing.Position, "on_train_batch_end", signalled)
        with preemption.watching(lambda: "step 13 is saved"), pytest.raises(Preempted, match="step 13 is saved"):
            small.train(tmp_path / "run", every_steps=0)
    assert checkpoint.stored_checkpoints(tmp_path / "run" / "checkpoints")[0].stem == "step-00000013"
    _, result = small.train(tmp_path / "run", every_steps=0)
    assert_same_run(tmp_path / "run", result, *golden)


def test_a_poisoned_batch_ends_the_run_and_keeps_the_last_finite_checkpoint(tmp_path, golden):
    with pytest.raises(UserError, match=r"loss became nan at epoch 3, step 4 \(step 14 of the run\).*rows 130, 131:"):
        small.train(tmp_path / "run", source=lambda step: small.data_from(step, poisoned_step=13), every_steps=1)
    stored = checkpoint.stored_checkpoints(tmp_path / "run" / "checkpoints")
    assert [path.stem for path in stored] == ["step-00000013", "step-00000012"]
    _, result = small.train(tmp_path / "run")
    assert_same_run(tmp_path / "run", result, *golden)


def test_weights_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    model, count = small.small_model(), checkpointing.Position.on_train_batch_end

    def poisoned(self, batch, logs=None):
        count(self, batch, logs)
        if self.step == 8:
            # What is assigned to `model` itself, Keras on JAX drops.
            self.model.layers[1].kernel.assign(np.full((4, 8), np.inf))

    monkeypatch.setattr(checkpointing.Position, "on_train_batch_end", poisoned)
    with pytest.raises(UserError, match=r"NaN or infinite by step 8 \(model 0: dense/kernel\).*checkpoint of step 6"):
        small.train(tmp_path / "run", model=model)
    assert checkpoint.stored_checkpoints(tmp_path / "run" / "checkpoints")[0].stem == "step-00000006"


def test_a_full_disk_is_one_sentence_and_keeps_what_was_saved(tmp_path, monkeypatch):
    save = np.savez

    def full(file, **arrays):
        if "00000006" in file.name:
            raise OSError(28, "No space left on device")
        save(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match=r"step 6 could not be written to .* \(No space left on device\).*from step 5"):
        small.train(tmp_path / "run")
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert not [name for name in names if name.startswith(".") or "00000006" in name]


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    folder = CheckpointFolder(tmp_path, identity=small.IDENTITY, arrays=[], best_weights=tmp_path / "best.weights.h5")
    for name in (".step-00000001.npz.77", ".step-00000001.json.abc", "step-00000001.npz", "mine.txt"):
        (tmp_path / name).write_bytes(b"half")
    folder.write(Checkpoint(step=2, arrays={}, state={}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "step-00000002.json", "step-00000002.npz"]


def test_only_numbers_are_written(tmp_path):
    folder = CheckpointFolder(tmp_path, identity=small.IDENTITY, arrays=[], best_weights=tmp_path / "best.weights.h5")
    with pytest.raises(TypeError, match="holds numbers only"):
        folder.write(Checkpoint(step=1, arrays={"a": np.array([{}])}, state={}))


def test_the_average_is_what_is_validated_and_the_weights_come_back_bit_for_bit():
    from carclf.training.ema import EmaWeights

    model = small.small_model()
    model.fit(small.data_from(0).take(small.STEPS_PER_EPOCH), shuffle=False, verbose=0)
    callback = EmaWeights()
    callback.set_model(model)
    averages = [np.array(keras.ops.convert_to_numpy(v)) for v in model.optimizer._model_variables_moving_average]
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        variable.assign(average + 1e-3 / 3)
    before = model.get_weights()
    with callback.in_model():
        for variable, average in zip(model.trainable_variables, averages, strict=True):
            np.testing.assert_array_equal(variable, average)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
