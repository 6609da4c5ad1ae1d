"""install.py refuses what is damaged, missing, foreign or for another machine, in one sentence with its name."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from carclf import hashed_json
from carclf.flags import options_of
from carclf.pack import PackOptions
from carclf.packing import install
from carclf.packing.target import this_python
from tests.damage import flips
from tests.inference.made_runs import make_run
from tests.packing.made_packs import make_pack

PATCH = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    """A pack with a run, weights and a stage, for this Python."""
    home = tmp_path_factory.mktemp("packs")
    make_run(home / "runs" / "one", dataset)
    (home / "lite.pth").write_bytes(b"weights")
    with PATCH.context() as patch:
        return make_pack(
            home / "cars", patch, image="kaggle", python=this_python(), run="one", runs=str(home / "runs"),
            stages="lite0_224_head", weights=str(home / "lite.pth"),
        )  # fmt: skip


@pytest.fixture
def pack(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "cars")


def refusal(folder) -> str:
    """What install.py says in a process of its own."""
    answer = subprocess.run([sys.executable, folder / "install.py"], capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout) == (2, "")
    (line,) = answer.stderr.splitlines()
    assert line.startswith("Error: ")
    assert line.endswith(".")
    return line


def checked(folder, capsys, *, code: int = 2) -> str:
    """What `install.py --check` says, in this process."""
    with PATCH.context() as patch:
        patch.setattr(install, "__file__", str(folder / "install.py"))
        assert install.main(["--check"]) == code
    out, err = capsys.readouterr()
    return (err if code else out).strip()


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_it_holds_what_was_asked_for(whole, capsys):
    assert [name for name in names(whole) if not name.startswith("wheels/")] == [
        "README.md", "install.py", "pack.json", "runs/one/best.weights.h5", "runs/one/best.weights.h5.sha256",
        "runs/one/history.csv", "runs/one/metrics.json", "runs/one/stage.json", "stages/lite0_224_head.flags",
        "weights/lite.pth",
    ]  # fmt: skip
    assert checked(whole, capsys, code=0) == f"All 12 files of {whole} are whole."


def test_a_flipped_byte_in_any_file_is_named(pack, capsys):
    for name in names(pack):
        path = pack / name
        content = path.read_bytes()
        for place in sorted({0, len(content) // 2, len(content) - 1}):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            said = checked(pack, capsys)
            assert said.startswith(f"Error: {path} is damaged ("), name
        path.write_bytes(content)
    checked(pack, capsys, code=0)
    path = pack / "wheels" / "simplejpeg-1.9.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes() + b" ")
    assert refusal(pack) == (
        f"Error: {path} is damaged (its SHA-256 differs): upload the pack again, or make it again with python -m "
        "carclf.pack."
    )


def test_a_flipped_bit_of_its_list_is_noticed(whole, tmp_path):
    content = (whole / "pack.json").read_bytes()
    for changed in [*flips(content)][::7]:
        (tmp_path / "pack.json").write_bytes(changed)
        with pytest.raises(install.Refusal, match=r"pack.json is damaged \("):
            install.read_pack(str(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"content_sha256": 1}', "[" * 100_000, "null", '"\\ud800"'])
def test_any_other_list_is_one_sentence(content, tmp_path):
    (tmp_path / "pack.json").write_text(content)
    with pytest.raises(install.Refusal, match=r"pack.json is damaged \("):
        install.read_pack(str(tmp_path))


def test_its_hash_is_that_of_the_other_json_files(whole):
    content = hashed_json.parse((whole / "pack.json").read_bytes())
    assert hashed_json.take_hash(content)
    assert content == install.read_pack(str(whole))


def test_a_missing_file_is_named(pack, capsys):
    for name in names(pack):
        if name == "install.py":
            continue
        content = (pack / name).read_bytes()
        (pack / name).unlink()
        assert checked(pack, capsys).startswith(f"Error: {pack / name} is missing: ")
        (pack / name).write_bytes(content)
    shutil.rmtree(pack / "runs")
    assert f"{pack}/runs/one/best.weights.h5 is missing" in refusal(pack)


def test_a_foreign_file_is_named_and_that_of_a_file_manager_is_not(pack, capsys):
    for name in (".DS_Store", "dataset-metadata.json", "runs/desktop.ini"):
        (pack / name).write_text("")
    checked(pack, capsys, code=0)
    (pack / "wheels" / "numpy-1.0-py3-none-any.whl").write_text("")
    assert f"{pack}/wheels/numpy-1.0-py3-none-any.whl is not a file of this pack: remove it" in refusal(pack)
    (pack / "wheels" / "numpy-1.0-py3-none-any.whl").unlink()
    (pack / "elsewhere").symlink_to(pack / "runs")
    assert f"{pack}/elsewhere is not a file of this pack" in checked(pack, capsys)


def changed(pack, **entries):
    """The pack with other entries in its list."""
    content = install.read_pack(str(pack)) | entries
    hashed_json.write(pack / "pack.json", content)
    return pack


def test_another_python_is_refused(pack):
    other = "3.13" if this_python() != "3.13" else "3.12"
    assert refusal(changed(pack, python=other)) == (
        f"Error: This pack is for Python {other} and {sys.executable} is Python {this_python()}: start install.py with "
        f"Python {other}, or make the pack again with --python={this_python()}."
    )


def test_a_python_that_no_pack_is_for_is_not_advised(whole, monkeypatch):
    advice = f"start install.py with Python {this_python()}."
    with monkeypatch.context() as patch:
        patch.setattr(install.sys, "version_info", (3, 10, 1))
        with pytest.raises(install.Refusal, match=rf"is Python 3\.10: {re.escape(advice)}$"):
            install.check_machine(install.read_pack(str(whole)))
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    classifiers = re.findall(r"Python :: ([\d.]+)", setup["metadata"]["classifiers"])
    assert list(install.PYTHONS) == classifiers
    assert options_of(PackOptions)["python"].choices == ("", *classifiers)


def test_another_machine_and_another_format_are_refused(pack):
    assert "This pack is for Linux riscv64 and this machine is Linux" in refusal(changed(pack, system="Linux riscv64"))
    assert "pack.json was written by another version of carclf" in refusal(changed(pack, format_version=2))


def test_it_takes_no_other_option(whole):
    answer = subprocess.run([sys.executable, whole / "install.py", "--force"], capture_output=True, text=True)
    assert answer.returncode == 2
    assert answer.stderr.startswith("Error: install.py has no option but --check")


def test_a_python_without_pip_is_one_sentence(whole, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    answer = subprocess.run([tmp_path / "bare/bin/python", whole / "install.py"], capture_output=True, text=True)
    assert answer.returncode == 2
    assert answer.stderr == (
        "Error: This Python has no pip: install it with python -m ensurepip, and start install.py again.\n"
    )


def test_a_machine_that_lacks_what_the_image_has_is_one_sentence_and_nothing_is_installed(whole, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True)
    python = tmp_path / "bare/bin/python"
    answer = subprocess.run([python, whole / "install.py"], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (2, "")
    (line,) = answer.stderr.splitlines()
    assert line.startswith("Error: pip cannot install the pack here (Could not find a version that satisfies the")
    assert line.endswith("into a file, and make the pack again with --image=FILE.")
    command = [python, "-m", "pip", "list", "--format=json"]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # a clone may be in it
    listed = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
    assert not {"carclf", "simplejpeg"} & {one["name"] for one in json.loads(listed.stdout)}
