"""A folder that holds no run keeps what it holds, unless a killed start of a run has left it."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from carclf import runs, storage
from carclf.averaging.plan import check_output
from carclf.errors import UserError
from carclf.runs.emptying import check_emptied, empty_folder
from carclf.runs.opening import open_run, prepare_folder
from carclf.runs.weights_files import write_weights
from carclf.storage import copies
from carclf.train_options import TrainOptions
from carclf.training.callbacks import HISTORY_COLUMNS

FOREIGN = {
    "checkpoints/model.ckpt": b"mine",
    "checkpoints/deep/step-00000004.npz": b"mine",
    "epochs/1.txt": b"mine",
    "features/efficientnet_lite0@224-0123456789ab/undrawn.npy": b"kept by a probe",
    "tensorboard/train/events.out.tfevents.1": b"mine",
    "metrics.json": b"{}",
    "report.html": b"<html>",
    "confusion.png": b"mine",
    "history.png": b"mine",
    "history.csv": b"epoch,accuracy,loss,val_accuracy,val_loss\n",
    "best.weights.h5": b"mine",
    "last.weights.h5": b"mine",
}
FOLDERS_AND_PAGES = {name.split("/")[0] for name in FOREIGN if "weights" not in name and name != "history.csv"}


@pytest.fixture
def options(dataset, tmp_path):
    return TrainOptions(data=dataset.directory, run="a", runs=str(tmp_path / "runs"), backbone="tiny", weights="none")


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_that_holds_no_run_keeps_what_it_holds(options, dataset, tmp_path, name, overwrite):
    folder = tmp_path / "runs" / "a"
    write(folder / name, FOREIGN[name])
    said = f"The folder {folder} holds no run, but {name}, which a run there would replace: choose another folder, or"
    with (
        pytest.raises(UserError, match=said),
        open_run(folder, options=dataclasses.replace(options, overwrite=overwrite), data=dataset),
    ):
        pass
    with pytest.raises(UserError, match=said):
        check_output(folder, ingredients=[], runs_folder="runs", overwrite=overwrite)
    assert (folder / name).read_bytes() == FOREIGN[name]
    with open_run(folder, options=dataclasses.replace(options, find_lr=True), data=dataset):
        pass  # which replaces none of them
    shutil.move(folder / name, tmp_path / "moved")
    with open_run(folder, options=options, data=dataset) as opened:
        prepare_folder(opened)


def test_what_a_killed_start_leaves_is_no_obstacle(tmp_path):
    for name in ("checkpoints/step-00000400.npz", "checkpoints/best-00001.weights.h5", "epochs/epoch-00009.weights.h5",
                 "augmentation.png", "applied_label_patch.csv", "notes.txt", "find_lr.csv"):  # fmt: skip
        write(tmp_path / name, b"left")
    (tmp_path / "features").mkdir()
    write_weights(tmp_path / "best.weights.h5", b"left")
    write(tmp_path / "history.csv", f"{','.join(HISTORY_COLUMNS)}\n1\n".encode())
    check_emptied(tmp_path)
    empty_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "find_lr.csv"}


@pytest.fixture
def finished(tmp_path):
    """The folder of a finished run, with everything that a training writes."""
    folder = tmp_path / "runs" / "a"
    for name, content in FOREIGN.items():
        write(folder / name, content)
    for name in ("augmentation.png", runs.STAGE_FILE, runs.APPLIED_LABELS):
        write(folder / name, b"x")
    write(folder / "history.csv", ",".join(HISTORY_COLUMNS).encode())
    write_weights(folder / "best.weights.h5", b"best")
    write_weights(folder / "last.weights.h5", b"last")
    return folder


def test_killed_at_any_removal_the_same_command_goes_on(finished, tmp_path, monkeypatch):
    calls = [0]
    real = Path.unlink

    class Killed(BaseException):
        pass

    def unlink(path: Path, missing_ok: bool = False) -> None:
        calls[0] -= 1
        if not calls[0]:
            raise Killed
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    removals = 0
    while True:
        removals += 1
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(finished, tmp_path / "copy")
        calls[0] = removals
        try:
            empty_folder(tmp_path / "copy")
        except Killed:
            check_emptied(tmp_path / "copy")
        else:
            break
    assert removals > 10
    assert list((tmp_path / "copy").iterdir()) == []


def test_a_store_too_has_nothing_else_of_a_run_without_its_stage(finished, monkeypatch):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    url = "memory://emptied/a"
    for path in finished.rglob("*"):
        if path.is_file():
            storage.write_atomic(f"{url}/{path.relative_to(finished)}", path.read_bytes())
    left = []
    real = storage.remove

    def remove(place: str) -> None:
        real(place)
        names = set(storage.sizes_under(url))
        if runs.STAGE_FILE not in names:
            left.append({name for name in names if name.split("/")[0] in FOLDERS_AND_PAGES})

    monkeypatch.setattr(storage, "remove", remove)
    with copies.finishing():
        empty_folder(copies.local_path(url))
    assert len(left) > 3
    assert not any(left)
    assert not storage.sizes_under(url)
