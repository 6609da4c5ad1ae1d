"""The export command refuses bad flags before any heavy import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from carclf import hashed_json
from carclf.errors import UserError
from carclf.export import ExportOptions
from carclf.exporting.folder import check_free, new_folder, put_back
from tests.commands import without_progress
from tests.inference.made_runs import make_run

ROOT = Path(__file__).parent.parent


def refused(*arguments: str, folder: Path) -> str:
    command = [sys.executable, "-m", "carclf.export", *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}
    answer = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120, env=environment)
    assert answer.returncode == 2, answer.stderr
    (line,) = without_progress(answer.stderr)
    return line


@pytest.fixture(scope="module")
def home(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    make_run(folder / "runs" / "one", dataset)
    return folder


def write_export(folder: Path, *, model: str = "model.onnx") -> Path:
    folder.mkdir()
    for name in (model, "labels.txt", "README.md"):
        (folder / name).write_text("old")
    return folder


def test_a_folder_that_is_there_is_kept(home):
    write_export(home / "taken")
    (home / "file").write_text("")
    said = refused("--run=one", "--output=taken", folder=home)
    assert said == "Error: The folder taken exists: choose another --output, or add --overwrite to replace it."
    assert "file is a file, but --output must be a folder" in refused("--run=one", "--output=file", folder=home)
    check_free(home / "taken", overwrite=True)  # as advised
    with new_folder(home / "taken") as folder:
        (folder / "model").write_text("")
    assert [path.name for path in (home / "taken").iterdir()] == ["model"]


def test_only_an_export_is_replaced(home):
    mine = write_export(home / "mine")
    (mine / ".DS_Store").write_text("")
    check_free(mine, overwrite=True)
    (mine / "thesis.tex").write_text("")
    for arguments in (("--output=mine",), ("--output=mine", "--overwrite")):
        assert refused("--run=one", *arguments, folder=home) == (
            "Error: The folder mine is not an export (it holds thesis.tex), which --overwrite could replace: choose "
            "another --output."
        )
    above = home / "above"
    above.mkdir()
    write_export(above / "one")
    with pytest.raises(UserError, match=r"above is not an export \(it holds one\)"):
        check_free(above, overwrite=True)
    with pytest.raises(UserError, match=r"runs/one is not an export \(it holds "):
        check_free(home / "runs" / "one", overwrite=True)
    (above / "one" / "labels.txt").unlink()
    with pytest.raises(UserError, match=r"one is not an export \(its files are not complete\)"):
        check_free(above / "one", overwrite=True)


def test_what_came_into_the_folder_meanwhile_is_kept(tmp_path):
    out = write_export(tmp_path / "out")
    with pytest.raises(UserError, match=r"it holds notes\.txt"), new_folder(out):
        (out / "notes.txt").write_text("mine")
    assert {path.name for path in out.iterdir()} == {"model.onnx", "labels.txt", "README.md", "notes.txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_current_folder_and_mount_points_are_not_replaced(home, tmp_path, monkeypatch):
    assert refused("--run=one", "--output=.", "--overwrite", folder=home) == (
        "Error: --output=. is a mount point, the current folder or one above it, and cannot be replaced: name a folder "
        "inside it."
    )
    monkeypatch.chdir(tmp_path)
    for name in (".", "..", "/", "here"):
        (tmp_path / "here").mkdir(exist_ok=True)
        monkeypatch.setattr("os.path.ismount", lambda path: str(path) == str(tmp_path / "here"))
        with pytest.raises(UserError, match="name a folder inside it"):
            check_free(Path(name), overwrite=True)
    check_free(Path("here/inside"), overwrite=True)  # as advised


def test_of_a_link_the_folder_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    write_export(tmp_path / "disk" / "real")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "real")
    with new_folder(tmp_path / "link") as folder:
        (folder / "model").write_text("")
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in (tmp_path / "disk" / "real").iterdir()] == ["model"]


def test_a_data_set_that_moved_is_asked_for(home):
    stage = home / "runs" / "one" / "stage.json"
    moved = home / "runs" / "moved"
    moved.mkdir()
    content = hashed_json.parse(stage.read_bytes())
    assert hashed_json.take_hash(content)
    content["data"]["directory"] = str(home / "gone")
    hashed_json.write(moved / "stage.json", content)
    said = refused("--run=moved", "--output=out", folder=home)
    assert "is not where it was" in said
    assert "say where it is with --data=DIR" in said


def test_a_missing_run_is_one_sentence(home):
    assert "There is no run folder runs/none" in refused("--run=none", "--output=out", folder=home)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": ""}, "--run is missing"),
        ({"output": ""}, "--output is missing"),
        ({"output": "car.onnx"}, r"--output=car\.onnx is not possible: it is a folder"),
        ({"photos": 0}, "--photos=0 is not possible"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ExportOptions(**{"run": "one", "output": "out", **options})


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_export_that_is_interrupted_between_two_renames_leaves_the_old_one(tmp_path, monkeypatch, error):
    out, rename = write_export(tmp_path / "out"), os.rename

    def fails(old, new):
        if "new" in Path(old).name:
            raise error
        rename(old, new)

    monkeypatch.setattr("os.rename", fails)
    with pytest.raises((KeyboardInterrupt, OSError, UserError)), new_folder(out) as folder:
        (folder / "model").write_text("")
    assert (out / "README.md").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_that_a_kill_took_away_is_put_back(tmp_path):
    for name in ("out", "out.b"):  # the one name begins as the other
        held = tmp_path / f".carclf-tmp-{name}.abcdefgh" / "old"
        held.mkdir(parents=True)
        write_export(held / name)
    put_back(tmp_path / "out")
    for name in ("out", "out.b"):
        assert (tmp_path / name / "README.md").read_text() == "old"
    held.mkdir(parents=True)
    write_export(held / "out.b", model="model.tflite")
    put_back(tmp_path / "out.b")  # something is in its place
    assert sorted(path.name for path in (tmp_path / "out.b").iterdir()) == ["README.md", "labels.txt", "model.onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.b"]
