"""On a full disk a command says so in one sentence and exits with code 2; what was there before stays whole."""

import errno
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from carclf import files, runs
from carclf.errors import UserError, full_disk, sentence_in
from carclf.exporting.folder import new_folder
from tests.training.test_training_kills import SMALL, assert_same_run

ROOT = Path(__file__).parent.parent
ADVICE = ", and run the same command again; what was written before is whole."
ANY = -1  # size
HDF5 = "Can't synchronously write data (file write failed: time = Mon Nov 30 2026\n, filename = 'x.h5', errno = 28, "
FLUSH = "{{node /job:localhost/device:CPU:0}} /runs/a/events.v2; No space left on device\n\tFailed to flush 2 events"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "x", "/runs/a/report.html"), "/runs/a/report.html could not be written (No space left"),
        (
            OSError(errno.EFBIG, "x"),
            "A file could not be written (File too large): raise the limit on the size of a file (",
        ),
        (
            OSError(errno.EDQUOT, "x", "a.png"),
            "a.png could not be written (Disk quota exceeded): free some space there,",
        ),
        (OSError(errno.EROFS, "x", "a.png"), "a.png could not be written (Read-only file system): make it writable,"),
        (OSError(HDF5 + "error message = 'No space left on device')"), "A file could not be written (No space left"),
        (RuntimeError(FLUSH), "/runs/a/events.v2 could not be written (No space left on device)"),
        (
            sqlite3.OperationalError("database or disk is full"),
            "A file could not be written (database or disk is full)",
        ),
    ],
    ids=["system", "limit", "quota", "read-only", "hdf5", "tensorflow", "sqlite"],
)
def test_however_a_library_says_that_the_disk_is_full_it_is_one_sentence(error, said):
    assert str(sentence_in(error)).startswith(said)
    assert str(sentence_in(error)).endswith(ADVICE)
    wrapped = RuntimeError("Saving failed")
    wrapped.__context__ = error
    assert full_disk(wrapped) == sentence_in(error)


def test_other_errors_are_not_taken_for_a_full_disk():
    forbidden = PermissionError(errno.EACCES, "x", "a.png")
    for error in (forbidden, ValueError("full"), OSError("unable to open file")):
        assert full_disk(error) is None
    assert sentence_in(ValueError("full")) is None
    assert sentence_in(OSError("unable to open file")) is None
    assert sentence_in(forbidden) == (
        "a.png could not be opened (Permission denied): make it and its folder readable and writable, or name another "
        "place."
    )


def test_an_error_while_a_file_is_written_names_it_and_leaves_the_old_one(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(OSError, match="x") as caught, files.replacing(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "x")  # as `write` does, without a name
    assert caught.value.filename == str(tmp_path / "a.txt")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}


def test_a_load_that_only_reads_writes_nothing(tmp_path, monkeypatch):
    from carclf.model.classifier import build_classifier
    from carclf.model.weights import load_weights_file

    model = build_classifier(backbone="tiny", weights="none", class_count=3, image_size=(32, 32))
    model.save_weights(tmp_path / "best.weights.h5")

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("mkstemp", "mkdtemp", "TemporaryFile", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, full)
    load_weights_file(model, tmp_path / "best.weights.h5", model_name="it")
    other = build_classifier(backbone="tiny", weights="none", class_count=4, image_size=(32, 32))
    with pytest.raises(UserError, match="does not fit"):
        load_weights_file(other, tmp_path / "best.weights.h5", model_name="it")


def on_limited_disk(plan: list[tuple[list[str], int, int]]) -> list[tuple[int, str]]:
    """Returns (exit code, output) of each (arguments, size of the largest file, file at which the disk fills up)."""
    answer = subprocess.run(
        [sys.executable, "-m", "tests.limited_disk", json.dumps(plan)], capture_output=True, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}, timeout=3000,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return [(code, said) for code, said in json.loads(answer.stdout.strip().splitlines()[-1])]


def assert_one_sentence(code: int, said: str) -> None:
    assert code == 2, said
    assert "Traceback" not in said
    (sentence,) = (line for line in said.splitlines() if line.startswith("Error: "))
    assert "could not be written" in sentence or "cannot be written" in sentence


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def sizes_below(folder: Path) -> list[int]:
    """Forty sizes from 0 on that the largest file of a folder exceeds."""
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    sizes = {int(largest ** (number / 39)) - 1 for number in range(40)}
    missing = (size for size in range(largest) if size not in sizes)
    return sorted([*sizes, *(next(missing) for _ in range(40 - len(sizes)))])


@pytest.mark.slow
def test_a_training_on_a_disk_that_fills_up_at_each_of_its_files_resumes_to_the_same_run(dataset, tmp_path):
    def training(name: str) -> list[str]:
        options = SMALL | {"data": dataset.directory, "runs": tmp_path, "run": name, "epochs": 2, "swa_epochs": 1}
        return ["train", *(f"--{name}={value}" for name, value in (options | {"ema_momentum": 0}).items())]

    golden = on_limited_disk([(training("golden"), ANY, 0)])[0]
    plan = [
        *((training("filled"), size, 0) for size in sizes_below(tmp_path / "golden")),
        *((training("filled"), ANY, number) for number in range(1, 21)),
        (training("filled"), ANY, 0),
    ]
    ended = on_limited_disk(plan)
    assert golden[0] == 0
    failed = [(code, said) for code, said in ended if code]
    assert all(code for code, _ in ended[:40])
    assert len(failed) >= 40 + 8
    for code, said in failed:
        assert_one_sentence(code, said)
    assert ended[-1][0] == 0
    assert_same_run(tmp_path / "filled", tmp_path / "golden")
    assert [path.name for path in (tmp_path / "filled").rglob(".*")] == []


@pytest.mark.slow
def test_evaluate_predict_and_export_on_a_full_disk_leave_what_was_there(dataset, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    options = SMALL | {"data": dataset.directory, "run": run, "epochs": 1, "device": "cpu"}
    shared = [f"--run={run}", f"--data={dataset.directory}"]
    commands = {
        "evaluate": ["evaluate", *shared],
        "predict": ["predict", *shared, f"--output={out / 'submission.csv'}"],
        "export": ["export", *shared, "--format=savedmodel", f"--output={out / 'saved'}", "--overwrite"],
    }
    train = ["train", *(f"--{name}={value}" for name, value in options.items())]
    assert [code for code, _ in on_limited_disk([(one, ANY, 0) for one in (train, *commands.values())])] == [0] * 4
    before = content(out), content(run)
    written = {"history.png", "confusion.png", "report.html", "label_patch.csv", runs.METRICS_FILE}
    (tmp_path / "report").mkdir()
    for name in written:
        shutil.copyfile(run / name, tmp_path / "report" / name)
    sizes_of_report, csv_bytes = sizes_below(tmp_path / "report"), (out / "submission.csv").stat().st_size
    limits = {
        "evaluate": [*((size, 0) for size in sizes_of_report), *((ANY, number) for number in range(1, 6))],
        "predict": [(size, 0) for size in range(0, csv_bytes, max(1, csv_bytes // 40))],
        "export": [(size, 0) for size in sizes_below(out / "saved")],
    }
    plan = [(commands[name], *limit) for name, given in limits.items() for limit in given]
    for code, said in on_limited_disk(plan):
        assert_one_sentence(code, said)
    assert content(out) == before[0]
    after = content(run)
    assert after.keys() == before[1].keys()
    changed = {name for name in after if after[name] != before[1][name]}
    assert changed <= written
    assert json.loads((run / runs.METRICS_FILE).read_text())["val_photos"] == 8
    assert on_limited_disk([(commands["evaluate"], ANY, 0)])[0][0] == 0


def test_an_export_that_finds_no_room_names_its_folder_and_keeps_the_old_one(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("README.md", "labels.txt", "model.onnx"):
        (out / name).touch()
    said = rf"^{out} could not be written \(No space left on device\)"
    with pytest.raises(UserError, match=said), new_folder(out):
        raise RuntimeError(FLUSH)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert found == {"out", "out/README.md", "out/labels.txt", "out/model.onnx"}
