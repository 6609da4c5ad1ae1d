"""The wheel of carclf: of a clone what setuptools makes of it, of an installation what pip recorded."""

import configparser
import importlib.metadata
import io
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from carclf import extras
from carclf.errors import UserError
from carclf.packing import own_wheel
from carclf.packing.own_wheel import make_own_wheel

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "carclf"


def names(wheel: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(wheel)).namelist()


def described(line: str) -> tuple[str, ...]:
    """A requirement in one spelling."""
    requirement = Requirement(line)
    extras = ",".join(sorted(requirement.extras))
    return (
        requirement.name,
        extras,
        str(requirement.specifier),
        str(requirement.marker).replace("(", "").replace(")", ""),
    )


def requirements_in(text: str) -> list[str]:
    """The requirements of a requires.txt, each with the marker that its section stands for."""
    found, marker = [], ""
    for line in filter(None, text.splitlines()):
        if section := re.fullmatch(r"\[([\w-]*):?(.*)\]", line):
            extra = f'extra == "{section[1]}"' if section[1] else ""
            marker = " and ".join(filter(None, [section[2] and f"({section[2]})", extra]))
        else:
            found.append(f"{line}; {marker}" if marker else line)
    return found


@pytest.fixture(scope="module")
def own():
    return make_own_wheel()


@pytest.fixture(scope="module")
def installed(own, tmp_path_factory):
    """A folder in which pip has installed the wheel."""
    folder = tmp_path_factory.mktemp("site")
    path = folder / own.file_name
    path.write_bytes(own.content)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", f"--target={folder}", path]
    subprocess.run([*command, "--disable-pip-version-check"], check=True)
    path.unlink()
    return folder


def test_the_metadata_is_that_of_setuptools(own, tmp_path):
    for name in ("setup.cfg", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("carclf", "stages"):
        (tmp_path / name).symlink_to(ROOT / name)
    subprocess.run([sys.executable, "setup.py", "-q", "egg_info"], cwd=tmp_path, check=True, capture_output=True)
    theirs = BytesParser().parsebytes((tmp_path / "carclf.egg-info" / "PKG-INFO").read_bytes())
    ours = BytesParser().parsebytes(zipfile.ZipFile(io.BytesIO(own.content)).read("carclf-0.1.0.dist-info/METADATA"))
    for name in ("Name", "Version", "Summary", "License"):
        assert ours[name] == theirs[name]
    assert SpecifierSet(ours["Requires-Python"]) == SpecifierSet(theirs["Requires-Python"])
    assert ours.get_all("Provides-Extra") == theirs.get_all("Provides-Extra")
    assert sorted(map(described, ours.get_all("Requires-Dist"))) == sorted(
        described(line) for line in requirements_in((tmp_path / "carclf.egg-info" / "requires.txt").read_text())
    )
    listed = (tmp_path / "carclf.egg-info" / "SOURCES.txt").read_text().splitlines()
    sources = {path.replace("stages/", "carclf/stages/", 1) if path.startswith("stages/") else path for path in listed}
    packed = {name for name in names(own.content) if name.startswith("carclf/")}
    assert packed == {path for path in sources if path.startswith("carclf/")}


def test_every_file_of_the_package_is_in_it(own):
    there = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    there = {path for path in there if "__pycache__" not in path}
    stages = {f"carclf/stages/{path.name}" for path in (ROOT / "stages").glob("*.flags")}
    assert {name for name in names(own.content) if name.startswith("carclf/")} == there | stages


def test_the_same_files_are_the_same_bytes(own):
    assert make_own_wheel() == own


def test_pip_installs_it_with_a_record_of_its_hashes(own, installed):
    (record,) = installed.glob("*.dist-info/RECORD")
    assert "carclf/__init__.py,sha256=" in record.read_text()
    answer = subprocess.run(
        [sys.executable, "-c", "from carclf.command import find_stage; print(find_stage('best'))"],
        cwd=installed, env={"PYTHONPATH": str(installed)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == str(installed / "carclf" / "stages" / "best.flags")
    assert (installed / "bin" / "carclf").is_file()


def test_an_installed_copy_gives_the_files_that_pip_recorded(own, installed, monkeypatch):
    (found,) = importlib.metadata.distributions(name="carclf", path=[str(installed)])
    monkeypatch.setattr(own_wheel, "PACKAGE", installed / "carclf")
    monkeypatch.setattr(own_wheel.importlib.metadata, "distribution", lambda name: found)
    again = make_own_wheel()
    assert again.file_name == own.file_name
    assert list(again.requirements) == list(own.requirements)
    one, other = (zipfile.ZipFile(io.BytesIO(wheel.content)) for wheel in (own, again))
    record = "carclf-0.1.0.dist-info/RECORD"
    assert sorted(one.namelist()) == sorted(other.namelist())
    assert [n for n in one.namelist() if n != record and one.read(n) != other.read(n)] == []
    (installed / "carclf" / "pack.py").rename(installed / "carclf" / "kept")
    with pytest.raises(UserError, match=r"since carclf/pack.py is missing: reinstall it"):
        make_own_wheel()
    (installed / "carclf" / "kept").rename(installed / "carclf" / "pack.py")


def test_a_copy_that_pip_does_not_know_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(own_wheel, "PACKAGE", tmp_path / "carclf")
    with pytest.raises(UserError, match="neither in a clone nor recorded by pip: run pip install -e"):
        make_own_wheel()


def test_the_metadata_lists_every_folder_of_the_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert set(setup["options"]["packages"].split()) == folders | {"carclf.stages"}
    assert extras.PACKAGE == PACKAGE
