"""Which runs are resumed, which start fresh and which are refused; nothing here needs a framework."""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from carclf import flags, runs, train
from carclf.errors import Preempted, UserError
from carclf.files import write_json
from carclf.flags import options_of, to_dict
from carclf.runs import opening
from carclf.runs.checkpoint import Checkpoint, checkpoint_folder
from carclf.runs.opening import OpenRun, Start, open_run
from carclf.train_options import TrainOptions


@pytest.fixture
def options(dataset, tmp_path):
    return TrainOptions(data=dataset.directory, run="a", runs=str(tmp_path / "runs"), backbone="tiny", weights="none")


def begin(options: TrainOptions, dataset, *, directory: Path | None = None, steps: tuple[int, ...] = (4, 8)) -> Path:
    """Creates a folder like that of an unfinished run."""
    directory = directory or Path(options.runs) / options.run
    (directory / "checkpoints").mkdir(parents=True)
    for step in steps:
        for kind in ("json", "npz"):
            (directory / "checkpoints" / f"step-{step:08d}.{kind}").write_text("{}")
    (directory / "checkpoints" / "best-00001.weights.h5").write_text("best")
    data = {"fingerprint": dataset.fingerprint, "class_names": ["a", "b", "c"],
            "class_map_sha256": dataset.class_map_sha256, "max_side": 64}  # fmt: skip
    stage = {"format_version": 1, "stage": "a", "options": to_dict(options), "data": data,
             "device": {"precision": "float32"}}  # fmt: skip
    write_json(directory / runs.STAGE_FILE, stage)
    (directory / runs.HISTORY_FILE).write_text("epoch\n1\n")
    return directory


def decide(options: TrainOptions, dataset) -> Start:
    return opening.decide_start(runs.run_path(options.run, runs=options.runs), options=options, data=dataset)


def opened(directory: Path, start: Start, *, source: Path | None = None) -> OpenRun:
    return OpenRun(
        directory, start, source or directory, step=0, identity={}, parent=None, warning=None, options=TrainOptions()
    )


def test_in_an_empty_folder_a_run_starts_fresh(options, dataset):
    assert decide(options, dataset) is Start.FRESH


def test_the_same_command_resumes(options, dataset):
    begin(options, dataset)
    assert decide(options, dataset) is Start.RESUME


@pytest.mark.parametrize(
    "change",
    [{"save_every": 7}, {"device": "cpu"}, {"cpu_devices": 2}, {"resume_from": "elsewhere"}, {"stages": "a,b"}],
    ids=str,
)
def test_some_options_may_change(options, dataset, change):
    begin(options, dataset)
    if "resume_from" in change:
        assert decide(dataclasses.replace(options, **change), dataset) is Start.RESUME
    else:
        begun = dataclasses.replace(options, **change)
        assert opening.identity_of(begun, dataset) == opening.identity_of(options, dataset)
        assert decide(begun, dataset) is Start.RESUME


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_size": "300"}, "started with --image_size=224 and this command has --image_size=300: use the former"),
        ({"seed": 1}, "started with --seed=42 and this command has --seed=1"),
        ({"amsgrad": True}, "started with --noamsgrad and this command has --amsgrad"),
        ({"ema_momentum": 0.9}, "started with --ema_momentum=0.0 and this command has --ema_momentum=0.9"),
    ],
    ids=str,
)
def test_another_stage_is_refused_with_the_option_that_differs(options, dataset, change, said):
    directory = begin(options, dataset)
    with pytest.raises(UserError) as error_info:
        decide(dataclasses.replace(options, **change), dataset)
    assert f"The unfinished run {directory} was {said}" in str(error_info.value)
    assert str(error_info.value).endswith("or another --run; --overwrite starts it again.")
    for fresh in ({"overwrite": True}, {"resume": False}, {"run": "another"}):
        assert decide(dataclasses.replace(options, **change, **fresh), dataset) is Start.FRESH


# Those of the first version that could resume: its checkpoints name the hash of these options.
ALWAYS_HARMLESS = {
    "data", "run", "runs", "stages", "overwrite", "resume", "resume_from", "save_every", "tensorboard", "profile_steps",
    "cache", "render", "device", "cpu_devices", "num_hosts", "host", "coordinator",
}  # fmt: skip


def test_every_option_is_compared_or_known_to_be_harmless(options):
    names = {field.name for field in dataclasses.fields(options)}
    compared = set(opening.comparable_options(options))
    assert compared == {name for name in names if options_of(TrainOptions)[name].changes_result}
    assert not compared & ALWAYS_HARMLESS


def test_an_option_that_is_added_leaves_the_runs_of_before_what_they_are(dataset):
    """If this fails, give the new option `since=` with its version; otherwise no older checkpoint can be resumed."""
    first = opening.identity_of(TrainOptions(), dataset)["options"]
    assert first == "0cd0d9797b874ff01fc8ba86afe58f11414293072656390459902ffe7e5f3e09"
    assert opening.identity_of(TrainOptions(epochs=11), dataset)["options"] != first


def test_a_new_option_counts_where_it_is_used(dataset, monkeypatch):
    added = {name: dataclasses.replace(known, since="0.2") for name, known in options_of(TrainOptions).items()}
    monkeypatch.setattr(flags, "options_of", lambda _: added)
    plain, used = (opening.identity_of(TrainOptions(**one), dataset)["options"] for one in ({}, {"epochs": 11}))
    assert plain == hashlib.sha256(b"{}").hexdigest()
    assert used == hashlib.sha256(b'{"epochs": 11}').hexdigest()


def test_a_path_is_compared_by_its_last_part(options):
    moved = dataclasses.replace(options, weights="/lost/b0.h5", init_from="/lost/head", label_patch="/lost/patch.csv")
    compared = opening.comparable_options(moved)
    assert (compared["weights"], compared["init_from"], compared["label_patch"]) == ("b0.h5", "head", "patch.csv")


@pytest.mark.parametrize(
    ("began", "resumed"), [({}, ""), ({"onednn": "0"}, "0"), ({"onednn": "1"}, "1")], ids=["0.1", "off", "on"]
)
def test_a_resumed_run_keeps_what_it_was_begun_with(options, dataset, began, resumed):
    directory = begin(options, dataset, steps=())
    stage = json.loads((directory / runs.STAGE_FILE).read_text())
    stage["device"] |= began
    write_json(directory / runs.STAGE_FILE, stage)
    with open_run(directory, options=options, data=dataset) as resuming:
        assert resuming.onednn == resumed
    with open_run(directory, options=dataclasses.replace(options, overwrite=True), data=dataset) as fresh:
        assert fresh.onednn is None


@pytest.mark.parametrize("written", ["tiny", "TINY"])
def test_a_run_is_resumed_under_every_name_of_its_backbone_and_size(options, dataset, tmp_path, written):
    begun = dataclasses.replace(options, backbone=written, image_size="224x224")
    directory = begin(begun, dataset, steps=())
    checkpoint_folder(directory, identity=opening.identity_of(begun, dataset)).write(
        Checkpoint(step=4, arrays={"model 0": np.zeros(2, np.float32)}, state={})
    )
    ours = dataclasses.replace(options, backbone="Tiny", image_size="224")
    with open_run(directory, options=ours, data=dataset) as run:
        assert (run.start, run.step, run.identity) == (Start.RESUME, 4, opening.identity_of(begun, dataset))
    copied = dataclasses.replace(ours, run="b", resume_from=str(directory))
    with open_run(tmp_path / "runs" / "b", options=copied, data=dataset) as run:
        assert (run.start, run.step) == (Start.COPY, 4)
        # Its stage.json must fit the checkpoints that are copied.
        assert opening.identity_of(run.options, dataset) == opening.identity_of(begun, dataset)
        assert (run.options.run, run.options.resume_from) == ("b", str(directory))
    with pytest.raises(UserError, match="started with --image_size=224x224 and this command has --image_size=224-300"):
        decide(dataclasses.replace(ours, image_size="224-300"), dataset)


def test_a_parent_of_all_folds_has_the_name_of_its_folder(options, dataset):
    begun = dataclasses.replace(options, init_from="runs/cvA/fold1")
    begin(begun, dataset)
    assert decide(dataclasses.replace(begun, init_from="/lost/cvA/fold1"), dataset) is Start.RESUME
    other = dataclasses.replace(begun, init_from="runs/cvB/fold1")
    with pytest.raises(
        UserError, match="started with --init_from=cvA/fold1 and this command has --init_from=cvB/fold1"
    ):
        decide(other, dataset)
    # An older checkpoint has only the last part.
    assert opening.identity_of(begun, dataset) == opening.identity_of(other, dataset)


@pytest.mark.parametrize("field", ["fingerprint", "class_map_sha256"])
def test_other_data_are_refused(options, dataset, field):
    directory = begin(options, dataset)
    stage = json.loads((directory / runs.STAGE_FILE).read_text())
    stage["data"][field] = "0123456789abcdef"
    write_json(directory / runs.STAGE_FILE, stage)
    with pytest.raises(UserError, match=r"0123456789ab and .* has .*: give the data set it was started with as --data"):
        decide(options, dataset)


def with_precision(directory: Path, precision: str) -> Path:
    """Lets the run in a folder have been begun with this precision."""
    stage = json.loads((directory / runs.STAGE_FILE).read_text())
    stage["device"]["precision"] = precision
    write_json(directory / runs.STAGE_FILE, stage)
    return directory


@pytest.mark.parametrize(
    ("copied", "way_out"), [(False, "--overwrite to start it again"), (True, "leave --resume_from out")]
)
def test_another_precision_is_refused(options, dataset, tmp_path, copied, way_out):
    directory = with_precision(begin(options, dataset), "mixed_float16")
    ours = dataclasses.replace(options, run="b", resume_from=str(directory)) if copied else options
    with open_run(tmp_path / "runs" / ours.run, options=ours, data=dataset) as run:
        opening.check_precision(run, "mixed_float16")
        said = f"The run {directory} was started with mixed_float16 and this device takes float32: add "
        with pytest.raises(UserError, match=f"{said}--precision=mixed_float16 to resume it, or {way_out}\\."):
            opening.check_precision(run, "float32")
    fresh = dataclasses.replace(options, overwrite=True)
    with open_run(directory, options=fresh, data=dataset) as run:
        opening.check_precision(run, "float32")


def test_the_precision_that_auto_chose_resumes_a_run(options, dataset, tmp_path):
    directory = begin(options, dataset, steps=())
    begun_as = opening.identity_of(options, dataset)
    checkpoint_folder(directory, identity=begun_as).write(
        Checkpoint(step=4, arrays={"model 0": np.zeros(2, np.float32)}, state={})
    )
    named = dataclasses.replace(options, precision="mixed_float16")
    with pytest.raises(UserError, match="started with --precision=auto and this command has --precision=mixed_float16"):
        decide(named, dataset)
    with_precision(directory, "mixed_float16")
    copied = dataclasses.replace(named, run="b", resume_from=str(directory))
    for ours, start in ((named, Start.RESUME), (copied, Start.COPY)):
        with open_run(tmp_path / "runs" / ours.run, options=ours, data=dataset) as run:
            opening.check_precision(run, "mixed_float16")
            assert (run.start, run.step, run.identity) == (start, 4, begun_as)
            # The stage.json of a copy must fit the checkpoints that are copied.
            assert opening.identity_of(run.options, dataset) == begun_as


def test_starting_fresh_empties_the_folder_of_what_we_wrote_there(options, dataset):
    directory = begin(options, dataset)
    for name in ("epochs/epoch-00009.weights.h5", "features/train-0.npy"):  # from a run with other options
        (directory / name).parent.mkdir()
        (directory / name).write_text("stale")
    (directory / "notes.txt").write_text("mine")
    opening.prepare_folder(opened(directory, Start.FRESH))
    assert [path.name for path in directory.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("start", [Start.RESUME, Start.FRESH])
def test_what_a_killed_process_was_writing_is_removed(options, dataset, start):
    directory = begin(options, dataset)
    left = [".best.weights.h5.x1y2.weights.h5", ".best.weights.h5.sha256.ab_c.weights.h5.sha256", ".stage.json.k9.json"]
    for name in [*left, ".carclf.lock", ".notes.txt"]:
        (directory / name).write_text("half")
    opening.prepare_folder(opened(directory, start))
    assert {path.name for path in directory.iterdir() if path.name.startswith(".")} == {".carclf.lock", ".notes.txt"}


DAMAGED = {
    "stage.json": b"{",
    "metrics.json": b'{"val_accuracy": "x"}',
    "history.csv": b"epoch\nx\n",
    "best.weights.h5": b"no weights",
    "best.weights.h5.sha256": b"\xff",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_run_is_trained_again_with_overwrite(options, dataset, name):
    directory = begin(options, dataset)
    (directory / name).write_bytes(DAMAGED[name])
    again = dataclasses.replace(options, overwrite=True)
    with open_run(directory, options=again, data=dataset) as run:
        assert (run.start, run.step) == (Start.FRESH, 0)
        opening.prepare_folder(run)
        assert [path.name for path in directory.iterdir()] == [".carclf.lock"]


def test_resuming_changes_nothing(options, dataset):
    directory = begin(options, dataset)
    before = tree(directory)
    opening.prepare_folder(opened(directory, Start.RESUME))
    assert tree(directory) == before


def tree(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(p.relative_to(directory)): (p.stat().st_mode, p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def test_a_lost_sessions_run_is_copied_and_left_as_it_is(options, dataset, tmp_path):
    lost = begin(options, dataset, directory=tmp_path / "lost" / "a")
    (lost / "checkpoints" / ".step-00000012.npz.9").write_text("half")
    (lost / "epochs").mkdir()
    for name in ("epoch-00009.weights.h5", ".epoch-00010.9.weights.h5"):
        (lost / "epochs" / name).write_text("kept for the average")
    for path in (lost, lost / "checkpoints", lost / "epochs", *lost.rglob("*.*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = tree(lost)
    ours = dataclasses.replace(options, resume_from=str(lost))
    assert decide(ours, dataset) is Start.COPY
    directory = Path(options.runs) / "a"
    opening.prepare_folder(opened(directory, Start.COPY, source=lost))
    assert tree(lost) == before
    assert sorted(path.name for path in (directory / "checkpoints").iterdir()) == [
        "best-00001.weights.h5", "step-00000004.json", "step-00000004.npz", "step-00000008.json", "step-00000008.npz",
    ]  # fmt: skip
    assert [path.name for path in (directory / "epochs").iterdir()] == ["epoch-00009.weights.h5"]
    assert all(os.access(path, os.W_OK) and path.stat().st_mode & 0o200 for path in directory.rglob("*.*"))
    for path in (lost, lost / "checkpoints", lost / "epochs"):
        path.chmod(0o755)


def test_a_lost_session_of_another_stage_is_refused(options, dataset, tmp_path):
    lost = begin(options, dataset, directory=tmp_path / "lost" / "a")
    ours = dataclasses.replace(options, resume_from=str(lost), epochs=3)
    with pytest.raises(UserError, match=r"with --epochs=10 and .* --epochs=3: .*, or leave --resume_from out\."):
        decide(ours, dataset)
    write_json(lost / runs.METRICS_FILE, {"val_accuracy": 0.5})
    with pytest.raises(UserError, match="of --resume_from is finished"):
        decide(ours, dataset)
    with pytest.raises(UserError, match="There is no run folder"):
        decide(dataclasses.replace(options, resume_from=str(tmp_path / "none")), dataset)


@pytest.mark.parametrize(
    "change",
    [{"overwrite": True}, {"resume": False}, {"stages": "demo_1,demo_2"}],
    ids=lambda change: next(iter(change)),
)
def test_resume_from_contradicts_some_options(change):
    with pytest.raises(UserError, match="--resume_from=x is not possible"):
        TrainOptions(resume_from="x", **change)


def test_a_parent_may_lie_beside_the_lost_run(options, tmp_path):
    (tmp_path / "lost" / "p").mkdir(parents=True)
    ours = dataclasses.replace(options, init_from="p", resume_from=str(tmp_path / "lost" / "a"))
    assert opening.find_parent(ours) == tmp_path / "lost" / "p"
    (tmp_path / "lost" / "cvA" / "fold1").mkdir(parents=True)
    fold = dataclasses.replace(options, init_from="x/cvA/fold1", resume_from=str(tmp_path / "lost" / "cvB" / "fold1"))
    assert opening.find_parent(fold) == tmp_path / "lost" / "cvA" / "fold1"
    (tmp_path / "lost" / "cvB" / "fold1").mkdir(parents=True)  # the run itself
    shutil.rmtree(tmp_path / "lost" / "cvA")
    assert opening.find_parent(fold) == Path("x/cvA/fold1")
    (Path(options.runs) / "p").mkdir(parents=True)
    assert opening.find_parent(ours) == Path(options.runs) / "p"


def test_a_fresh_run_is_held_while_it_is_open_and_leaves_nothing(options, dataset):
    directory = Path(options.runs) / "a"
    with open_run(directory, options=options, data=dataset) as run:
        assert (run.directory, run.start, run.step, run.parent, run.warning) == (directory, Start.FRESH, 0, None, None)
        assert run.identity == opening.identity_of(options, dataset)
        with (
            pytest.raises(UserError, match=r"^Process \d+ on host .* is training in"),
            open_run(directory, options=options, data=dataset),
        ):
            pass
    assert not directory.exists()


def test_an_open_run_knows_the_step_that_was_reached(options, dataset, tmp_path):
    directory = begin(options, dataset, steps=())
    folder = checkpoint_folder(directory, identity=opening.identity_of(options, dataset))
    for step in (4, 8):
        folder.write(Checkpoint(step=step, arrays={"model 0": np.zeros(2, np.float32)}, state={}))
    before = tree(directory)
    with open_run(directory, options=options, data=dataset) as run:
        assert (run.start, run.source, run.step) == (Start.RESUME, directory, 8)
    for fresh in ({"overwrite": True}, {"find_lr": True}):
        with open_run(directory, options=dataclasses.replace(options, **fresh), data=dataset) as run:
            assert (run.start, run.step) == (Start.FRESH, 0)
    assert tree(directory) == before
    ours = dataclasses.replace(options, run="b", resume_from=str(directory))
    with open_run(tmp_path / "runs" / "b", options=ours, data=dataset) as run:
        assert (run.start, run.source, run.step) == (Start.COPY, directory, 8)
    (directory / "checkpoints" / "step-00000008.npz").write_bytes(b"damaged")
    with open_run(directory, options=options, data=dataset) as run:
        assert run.step == 4


def test_an_open_run_has_the_parent_that_fits(options, dataset):
    parent = begin(dataclasses.replace(options, run="p", val_fold=1), dataset, directory=Path(options.runs) / "p")
    write_json(parent / runs.METRICS_FILE, {"val_accuracy": 0.5})
    ours = dataclasses.replace(options, init_from="p", val_fold=1)
    with open_run(Path(options.runs) / "a", options=ours, data=dataset) as run:
        assert run.parent.directory == parent
        assert run.warning is None
    for same in ("Tiny", "TINY"):
        with open_run(Path(options.runs) / "a", options=dataclasses.replace(ours, backbone=same), data=dataset) as run:
            assert run.parent.directory == parent
    other = dataclasses.replace(ours, val_fold=0, allow_split_change=True)
    with open_run(Path(options.runs) / "a", options=other, data=dataset) as run:
        assert "the validation accuracy of this stage will be too good" in run.warning
    with (
        pytest.raises(UserError, match="trained on photos that would validate it"),
        open_run(Path(options.runs) / "a", options=dataclasses.replace(other, allow_split_change=False), data=dataset),
    ):
        pass


def test_a_run_never_starts_from_itself(options, dataset):
    ours = dataclasses.replace(options, run="p", init_from="p", overwrite=True)
    parent = begin(options, dataset, directory=Path(options.runs) / "p")
    write_json(parent / runs.METRICS_FILE, {"val_accuracy": 0.5})
    with (
        pytest.raises(UserError, match=r"runs/p cannot start from itself, since .*: train into another --run[.]"),
        open_run(parent, options=ours, data=dataset),
    ):
        pass
    for directory, changes in ((parent.parent / "b", {}), (parent, {"find_lr": True})):
        with open_run(directory, options=dataclasses.replace(ours, **changes), data=dataset) as run:
            assert run.parent.directory == parent


@pytest.mark.parametrize(("raised", "name"), [(Preempted, "SIGTERM"), (KeyboardInterrupt, "Ctrl-C")])
@pytest.mark.parametrize("begun", [True, False])
def test_an_interrupted_run_says_how_to_resume(options, dataset, monkeypatch, raised, name, begun):
    def interrupted(*args, **kwargs):
        raise raised

    monkeypatch.setattr(train, "train_run", interrupted)
    directory = begin(options, dataset) if begun else Path(options.runs) / "a"
    with pytest.raises(raised) as error_info:
        train.train_one_stage(options)
    where = (
        f"step 8 is saved in {directory}/checkpoints, and the same command (without --overwrite) resumes from it"
        if begun
        else f"{directory} has no checkpoint yet, and the same command starts at step 0"
    )
    assert str(error_info.value) == f"Stopped by {name}: {where}."


def test_copies_of_checkpoints_are_found_by_their_names_alone(tmp_path):
    from carclf.runs.checkpoint import stored_checkpoints

    for name in ("step-00000010.json", "step-00000009.json", "step-100000000.json", "step-x.json", "step-00000011.npz"):
        (tmp_path / name).touch()
    names = [path.name for path in stored_checkpoints(tmp_path)]
    assert names == ["step-100000000.json", "step-00000010.json", "step-00000009.json"]
    shutil.rmtree(tmp_path)
    assert stored_checkpoints(tmp_path) == []
