"""The advice to install an extra names the source of this copy, never an index, and works in a shell."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from carclf import extras

ROOT = Path(__file__).parent.parent
SHOWN_TO_USERS = (
    "README.md",
    "CONTRIBUTING.md",
    "Makefile",
    "benchmarks",
    "carclf",
    "docs",
    "notebooks",
    "stages",
    "tools",
)
TEXTS = {"", ".py", ".md", ".ipynb", ".flags", ".html"}
# `pip install carclf`, `pip install --quiet "carclf[tpu]"`, `install carclf[gpu]`: the name is on no index.
FROM_AN_INDEX = re.compile(r"install\s+(-\S+\s+)*\\?[\"']?carclf\b(?![\w/.]*/)(?!\[[^\]]*\] @)")


def installed(origin: dict[str, object] | None, tmp_path, monkeypatch) -> str:
    """Returns the advice of a copy in site-packages, with pip's record beside it."""

    class Distribution:
        def read_text(self, name):
            assert name == "direct_url.json"
            return None if origin is None else json.dumps(origin)

    monkeypatch.setattr(extras, "PACKAGE", tmp_path / "site-packages" / "carclf")
    monkeypatch.setattr(extras.importlib.metadata, "distribution", lambda name: Distribution())
    return extras.install_command("cpu")


def test_a_clone_is_installed_from_itself():
    assert extras.install_command("tune") == f"pip install -e '{ROOT}[tune]'"


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"url": "file:///home/ann/my%20clone", "dir_info": {}}, "pip install '/home/ann/my clone[cpu]'"),
        (
            {"url": "file:///tmp/carclf-0.1.0-py3-none-any.whl", "archive_info": {}},
            "pip install '/tmp/carclf-0.1.0-py3-none-any.whl[cpu]'",
        ),
        (
            {"url": "https://host/carclf.git", "vcs_info": {"vcs": "git", "commit_id": "c85e7e7"}},
            "pip install 'carclf[cpu] @ git+https://host/carclf.git@c85e7e7'",
        ),
        (
            {"url": "https://host/carclf.tar.gz", "archive_info": {}},
            "pip install 'carclf[cpu] @ https://host/carclf.tar.gz'",
        ),
        (None, "pip install 'FOLDER_OF_THE_CLONE[cpu]'"),
    ],
)
def test_an_installed_copy_is_installed_from_where_pip_took_it(origin, command, tmp_path, monkeypatch):
    assert installed(origin, tmp_path, monkeypatch) == command


def test_a_copy_that_pip_does_not_know_gets_a_placeholder(tmp_path, monkeypatch):
    def unknown(name):
        raise extras.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(extras, "PACKAGE", tmp_path / "carclf")
    monkeypatch.setattr(extras.importlib.metadata, "distribution", unknown)
    assert extras.install_command("cpu") == "pip install 'FOLDER_OF_THE_CLONE[cpu]'"


def test_pip_takes_the_command_as_a_shell_passes_it(tmp_path, monkeypatch):
    clone = tmp_path / "a clone"
    (clone / "carclf").mkdir(parents=True)
    (clone / "carclf" / "__init__.py").touch()
    extra = "[options.extras_require]\ncpu =\n"
    (clone / "setup.cfg").write_text(f"[metadata]\nname = carclf\nversion = 9\n[options]\npackages = carclf\n{extra}")
    (clone / "setup.py").write_text("from setuptools import setup; setup()\n")
    monkeypatch.setattr(extras, "PACKAGE", clone / "carclf")
    command = extras.install_command("cpu").replace("pip ", f"'{sys.executable}' -m pip ", 1)
    offline = "--dry-run --no-deps --no-index --no-build-isolation --disable-pip-version-check"
    answer = subprocess.run(f"{command} {offline}", shell=True, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert "Would install carclf-9" in answer.stdout
    assert "does not provide the extra" not in answer.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pip install 'carclf[cpu]'", True),
        ("pip install --quiet carclf", True),
        ("install carclf[gpu] instead", True),
        ("pip install -e '.[cpu]'", False),
        ("pip install /kaggle/input/carclf", False),
        ("pip install 'carclf[tpu] @ git+https://host/carclf'", False),
        ("python -m carclf.train", False),
    ],
)
def test_an_index_is_recognized(text, found):
    assert bool(FROM_AN_INDEX.search(text)) is found


def test_nothing_that_users_read_installs_from_an_index():
    files = [path for name in SHOWN_TO_USERS for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.is_file() and path.suffix in TEXTS}
    assert len(texts) > 150
    assert [path for path, text in texts.items() if FROM_AN_INDEX.search(text)] == []
