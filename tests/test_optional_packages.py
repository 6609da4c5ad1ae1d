"""TensorFlow and Keras start without packages that carclf never has them use, which can be imported afterwards."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from carclf.optional_packages import OPTIONAL, without_optional_packages

ROOT = Path(__file__).parent.parent


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that is installed and not imported."""
    (tmp_path / "sklearn.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    yield "sklearn"
    sys.modules.pop("sklearn", None)


def test_an_optional_package_is_missing_inside_and_there_afterwards(package):
    with without_optional_packages(), pytest.raises(ModuleNotFoundError, match="No module named 'sklearn'") as error:
        importlib.import_module(package)
    assert error.value.name == package
    assert importlib.import_module(package).__name__ == package


def test_a_needed_package_is_there(package):
    with without_optional_packages(needed=[package]):
        assert importlib.import_module(package).__name__ == package


def test_what_is_imported_already_stays():
    assert "json" in sys.modules
    with without_optional_packages():
        assert importlib.import_module("json") is sys.modules["json"]


def test_a_training_device_starts_without_them():
    program = (
        "import sys; from carclf.device import select_device; select_device('cpu'); "
        f"print(sorted(set({OPTIONAL!r}) & set(sys.modules))); import keras, tensorflow"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "[]"
