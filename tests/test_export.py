"""The export command refuses bad flags before any heavy import."""

import subprocess
import sys
from pathlib import Path

import pytest

from carclf import hashed_json
from carclf.errors import UserError
from carclf.export import ExportOptions
from carclf.exporting.folder import check_free, new_folder
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


def test_a_folder_that_is_there_is_kept(home):
    (home / "taken").mkdir()
    (home / "taken" / "file").write_text("")
    (home / "file").write_text("")
    said = refused("--run=one", "--output=taken", folder=home)
    assert said == "Error: The folder taken exists: choose another --output, or add --overwrite to replace it."
    assert "file is a file, but --output must be a folder" in refused("--run=one", "--output=file", folder=home)
    check_free(home / "taken", overwrite=True)  # as advised
    with new_folder(home / "taken") as folder:
        (folder / "model").write_text("")
    assert [path.name for path in (home / "taken").iterdir()] == ["model"]


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
