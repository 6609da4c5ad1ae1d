"""The notebooks are clean, use existing flags and, as a slow test, run from drawn photos to a submission."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from notebook_run import execute, parameters
from shown_commands import parse_shown

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=nbformat.NO_CONVERT)


def code(notebook) -> list[str]:
    """Returns the source of every code cell, with continued lines joined."""
    return [re.sub(r" \\\n +", " ", cell.source) for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["colab_tpu", "kaggle"]


def test_it_is_valid_and_holds_no_outputs(notebook):
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count is not None] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_carclf_comes_from_the_clone_unless_an_address_is_given(path):
    """The name is on no package index; the cell accepts what the assertion advises."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    assert (path.parent / parameters(notebook)["CARCLF"] / "setup.cfg").is_file()
    (install,) = [cell for cell in notebook.cells if cell.id == "install"]
    assert "set CARCLF to git+https://ADDRESS of a repository, or to the folder of a clone" in install.source
    (text,) = [cell.source for cell in notebook.cells if cell.id == "install-title"]
    assert "not on PyPI" in text
    extras = parameters(notebook)["EXTRAS"]
    assert extras == {"kaggle": "", "colab_tpu": "cpu"}[path.stem]
    for given in ("..", "git+https://host/carclf", "/kaggle/input/carclf"):
        for chosen in (extras, "cpu,lite"):
            (asked,) = pip_is_asked_for(install.source, CARCLF=given, EXTRAS=chosen)
            wanted = f"carclf[{chosen}] @ {given}" if "://" in given else f"{given}[{chosen}]"
            assert asked == f'--quiet --constraint /tmp/have "{wanted if chosen else given}"'


def pip_is_asked_for(cell: str, **values: str) -> list[str]:
    """Returns the arguments of `!pip install` in a cell, after IPython has filled in the names."""
    asked: list[str] = []
    lines = [
        re.sub(
            r"!pip list .* > /tmp/have && pip install (.*)",
            r"asked.append(f'\1')",
            line,
        )
        for line in cell.splitlines()
        if "_exit_code" not in line and "!python" not in line
    ]
    exec("\n".join(lines), {"asked": asked, **values})
    return asked


def test_the_flags_of_its_commands_exist(notebook):
    values = {**parameters(notebook), "RUN": "b3_512", "PHOTOS": "photos"}
    shown = [re.findall(r"^ *!.*?(python -m carclf\..*)", cell, flags=re.MULTILINE) for cell in code(notebook)]
    commands = [command.format(**values) for found in shown for command in found]
    assert {command.split()[2] for command in commands} == {
        f"carclf.{command}" for command in ("make_tfrecords", "train", "evaluate", "predict")
    }
    assert all(parse_shown(command) is not None for command in commands)


def test_a_failed_command_stops_it(notebook):
    """A plain `!command` does not stop at a failure."""
    for cell in code(notebook):
        commands = re.findall(r"^ *!.*\n(.*)", cell + "\n", flags=re.MULTILINE)
        assert [line for line in commands if not line.strip().startswith("assert _exit_code")] == []


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """Returns sixty drawn training photos; `python` is the one that runs the tests."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    size = ("--photos=60", "--width=96", "--height=64")
    subprocess.run([sys.executable, "-m", "carclf.sample", f"--output={tmp_path / 'photos'}", *size], check=True)
    return tmp_path / "photos"


TINY = "--backbone=tiny --weights=none --image_size=32 --epochs=1 --batch_size=8 --notensorboard"


def kaggle_session(photos: Path, folder: Path, **changed: str) -> str:
    """Returns what a session prints, with its own folder in place of /kaggle/working."""
    working = {"DATA": "data", "RUNS": "runs", "SUBMISSION": "submission.csv"}
    places = {name: str(folder / file) for name, file in working.items()}
    folder.mkdir()
    return execute(ROOT / "notebooks/kaggle.ipynb", folder=folder, PHOTOS=str(photos), CARCLF="", **places, **changed)


@pytest.mark.slow
def test_kaggle_runs_from_photos_to_a_submission(photos, tmp_path):
    printed = kaggle_session(photos, tmp_path / "1", STAGES="b3_300_head,b3_300_half", TRAIN_FLAGS=f"{TINY} --steps=2")
    assert "All stages are trained." in printed
    assert (tmp_path / "1/submission.csv").read_text().count("\n") == 16


@pytest.mark.slow
def test_kaggle_goes_on_in_another_session(photos, tmp_path):
    endless = {"STAGES": "b3_300_head", "TIME_LIMIT": "40s", "TRAIN_FLAGS": f"{TINY} --epochs=100000 --patience=0"}
    printed = kaggle_session(photos, tmp_path / "1", **endless)
    assert "Not finished" in printed
    (step,) = re.findall(r"Stopped by SIGTERM: step (\d+) is saved", printed)
    printed = kaggle_session(photos, tmp_path / "2", **endless, PREVIOUS_RUNS=str(tmp_path / "1/runs"))
    assert f"Resuming from step {step} " in printed
    assert not (tmp_path / "2/submission.csv").exists()


@pytest.mark.slow
def test_colab_runs_on_a_cpu_by_jax(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    execute(
        ROOT / "notebooks/colab_tpu.ipynb",
        folder=tmp_path,
        PHOTOS=str(photos),
        CARCLF="",
        DATA=str(tmp_path / "data"),
        DRIVE="",
        RUNS=str(tmp_path / "runs"),
        DEVICE="cpu",
        BATCH_SIZE=8,
        TRAIN_FLAGS=f"{TINY} --steps=2",
        SUBMISSION=str(tmp_path / "submission.csv"),
    )
    assert (tmp_path / "submission.csv").read_text().count("\n") == 16
    assert '"jax"' in (tmp_path / "runs" / "b3_512_tpu" / "stage.json").read_text()
