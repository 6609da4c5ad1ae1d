"""Slow: a pack is installed where no network is, predicts there, and gives the submission of the packing environment.

The environment is a new one of this Python that sees the packages of this one, but for carclf and simplejpeg, which the
pack brings. They are outside of it, so that pip could not remove them.
"""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from carclf.packing import own_wheel
from carclf.packing.install import check_files, read_pack
from tests.inference.made_runs import make_run

ROOT = Path(__file__).parents[2]
BROUGHT = ("carclf", "simplejpeg")
ALONE = ("unshare", "--net", "--map-root-user")
REACH = "import socket; socket.create_connection(('127.0.0.1', 9), 2)"  # not even this machine


def may_be_alone() -> bool:
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def is_brought(entry: str) -> bool:
    """Whether an entry of site-packages belongs to what the pack brings, or would lead back to this environment."""
    name = re.sub(r"[-_.]+", "_", entry).lower()
    return any(part in name for part in BROUGHT) or entry.endswith(".pth") or entry == "__pycache__"


def environment(folder: Path) -> Path:
    """Makes the environment, and returns its Python."""
    present = folder / "present"
    present.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not is_brought(entry.name) and not entry.name.startswith(("pip", "setuptools")):
            (present / entry.name).symlink_to(entry)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "present.pth").write_text(f"{present}\n")
    return folder / "venv" / "bin" / "python"


def run(*command, folder, alone=True, code=0, **environment):
    """The output of a command that may reach nothing, without this environment's settings."""
    words = [*(ALONE if alone else ()), *map(str, command)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    answer = subprocess.run(words, cwd=folder, env=inherited | environment, capture_output=True, text=True, timeout=600)
    assert answer.returncode == code, f"{words}\n{answer.stdout}\n{answer.stderr}"
    return answer.stdout


def write_wheel_of(package: str, folder: Path) -> None:
    """Writes the wheel from which an installed package came."""
    installed = importlib.metadata.distribution(package)
    files = {name: path.read_bytes() for name, path in own_wheel._recorded_paths(installed).items()}
    tags = re.findall(r"^Tag: (\w+)-(\w+)-(\w+)$", installed.read_text("WHEEL"), flags=re.MULTILINE)
    tag = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
    stem = f"{package}-{installed.version}"
    (folder / f"{stem}-{tag}.whl").write_bytes(own_wheel._zipped(files, record=f"{stem}.dist-info/RECORD"))


def listed(python: Path, folder: Path) -> dict[str, str]:
    out = run(python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check", folder=folder)
    return {entry["name"].lower(): entry["version"] for entry in json.loads(out)}


@pytest.mark.slow
def test_a_pack_is_installed_and_predicts_the_same_without_a_network(dataset, tmp_path):
    if not may_be_alone():
        pytest.skip("network namespaces are not permitted here")
    make_run(tmp_path / "runs" / "one", dataset)
    make_run(tmp_path / "runs" / "two", dataset, seed=2)
    python = environment(tmp_path)
    before = listed(python, tmp_path)
    assert not set(BROUGHT) & set(before)

    # The index of this pack is a folder with a wheel made from the simplejpeg that is installed here.
    index = tmp_path / "index"
    index.mkdir()
    write_wheel_of("simplejpeg", index)
    (tmp_path / "there.txt").write_text("".join(f"{name}=={version}\n" for name, version in before.items()))
    here = {"PYTHONPATH": str(ROOT), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": "/dev/null"}
    said = run(
        sys.executable, "-m", "carclf.pack", "--run=one,two", "--image=there.txt", "--output=cars",
        folder=tmp_path, alone=False, **here,
    )  # fmt: skip
    assert "with carclf 0.1.0, simplejpeg" in said
    pack = tmp_path / "mounted" / "cars"
    pack.parent.mkdir()
    shutil.move(tmp_path / "cars", pack)

    with pytest.raises(AssertionError, match="Network is unreachable"):
        run(python, "-c", REACH, folder=tmp_path)
    said = run(python, pack / "install.py", folder=tmp_path)
    assert re.fullmatch(r"carclf 0\.1\.0 is installed, with simplejpeg [\d.]+; no other package changed\.\n", said)
    after = listed(python, tmp_path)
    assert {name: version for name, version in after.items() if name not in BROUGHT} == before
    assert "carclf 0.1.0 is installed; no other" in run(python, pack / "install.py", folder=tmp_path)  # a second time
    where = run(python, "-c", "import carclf, simplejpeg; print(carclf.__file__, simplejpeg.__file__)", folder=tmp_path)
    assert where.count(f"{tmp_path}/venv/lib/") == 2

    asked = ("--device=cpu", "--tta=clean|flip", f"--data={dataset.directory}")
    for runs in ("one", "one,two"):
        there = ",".join(f"{pack}/runs/{name}" for name in runs.split(","))
        ours = ("--output=ours.csv", "--probabilities=ours_p.csv", f"--run={runs}")
        run(sys.executable, "-m", "carclf.predict", *asked, *ours, folder=tmp_path, alone=False, PYTHONPATH=str(ROOT))
        theirs = ("--output=theirs.csv", "--probabilities=theirs_p.csv", f"--run={there}")
        run(python, "-m", "carclf.predict", *asked, *theirs, folder=tmp_path)
        for one, other in (("ours.csv", "theirs.csv"), ("ours_p.csv", "theirs_p.csv")):
            assert (tmp_path / one).read_bytes() == (tmp_path / other).read_bytes()
            assert len((tmp_path / one).read_text().splitlines()) == 6
    check_files(str(pack), read_pack(str(pack)))  # a mounted data set cannot be written
