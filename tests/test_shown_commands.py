"""Slow tests: every command in the README and docs/ runs, in miniature, in the order of the pages.

`miniature_shell.py` says what is smaller than on the pages.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import miniature_shell
import pytest
from shown_commands import PAGES, blocks

ROOT = Path(__file__).parent.parent
SHOWN_IDS = ("100155.jpg", "100306.jpg")  # mislabelled photos of the competition, which docs/pages.md uses


SHOWING = {name: blocks("sh", text) for name, text in PAGES.items() if blocks("sh", text)}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Returns a folder like a clone, with photos in it and `python`, `pip` and `make` in its bin/."""
    home = tmp_path_factory.mktemp("home")
    for name in ("tools", "stages", "benchmarks"):
        (home / name).symlink_to(ROOT / name)
    (home / "bin").mkdir()
    for tool in ("python", "pip", "make"):
        script = f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "tests" / "miniature_shell.py"}" {tool} "$@"\n'
        (home / "bin" / tool).write_text(script)
        (home / "bin" / tool).chmod(0o755)
    make_photos(home)
    yield home
    for process in (home / "background").glob("*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(process.read_text()), signal.SIGKILL)


def make_photos(home: Path) -> None:
    """Writes cars.zip, and a photo and a folder of photos beside it."""
    drawn = home / "drawn"
    size = ("--photos=200", "--width=96", "--height=64")
    subprocess.run([sys.executable, "-m", "carclf.sample", f"--output={drawn}", *size], check=True, cwd=ROOT)
    listed = (drawn / "train.csv").read_text()
    for shown_id, line in zip(SHOWN_IDS, listed.splitlines()[1:], strict=False):
        drawn_id, label = line.split(",")
        listed = listed.replace(f"\n{line}\n", f"\n{shown_id},{label}\n")
        (drawn / "train" / label / drawn_id).rename(drawn / "train" / label / shown_id)
    (drawn / "train.csv").write_text(listed)
    with zipfile.ZipFile(home / "cars.zip", "w") as archive:
        for path in sorted(drawn.rglob("*")):
            archive.write(path, path.relative_to(drawn))
    (home / "folder").mkdir()
    first, second, *_ = sorted((drawn / "test_upload").rglob("*.jpg"))
    shutil.copy(first, home / "car.jpg")
    shutil.copy(second, home / "folder")


def run(block: str, *, home: Path) -> None:
    """Runs a block of commands, all of which must succeed."""
    environment = os.environ | {"PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
        env=environment,
        timeout=1200,
    )
    assert answer.returncode == 0, f"{block}\n{answer.stdout}"


def prepare(block: str, *, home: Path) -> None:
    """Makes what a page assumes, and removes an earlier page's files that this block should make again."""
    if "--resume_from" in block and not (home / "kaggle").exists():
        lose_a_session(home)
    if "demo/data" in block and not (home / "demo").exists():
        shutil.copytree(home / "data" / "cars", home / "demo" / "data")
    if "--compare=old.csv" in block:
        shutil.copy(home / "submission.csv", home / "old.csv")
    if "--weights=efficientnet-lite0.pth" in block:
        (home / "efficientnet-lite0.pth").write_bytes(b"weights")  # they are packed as they are
    if "carclf.tune" in block:
        shutil.rmtree(home / "runs" / "tuned_trials", ignore_errors=True)
    for path in (home / name for name in outputs(block) + runs_of(block)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def follow(page: str, *, home: Path) -> None:
    """Runs the commands of a page, block by block; each block must write its files."""
    for block in SHOWING[page]:
        prepare(block, home=home)
        run(block, home=home)
        made = [*outputs(block), *(f"{name}/metrics.json" for name in runs_of(block))]
        assert [name for name in made if not (home / name).exists()] == [], block


def outputs(commands: str) -> list[str]:
    """Returns the files that the commands write, if they are named in full."""
    return re.findall(r"--output=(?!/)([\w./]+)(?=\s)", commands)


def runs_of(commands: str) -> list[str]:
    """Returns the folders of the stages that the commands train."""
    return [f"runs/{stage}" for stage in re.findall(r"carclf\.train --stage=(\w+) (?!.*--run)", commands)]


def lose_a_session(home: Path) -> None:
    """Leaves b3_512 unfinished in the outputs of an earlier session, and only the data in this session's folder."""
    lost, working = home / "kaggle" / "input" / "lost", home / "kaggle" / "working"
    shutil.copytree(home / "data" / "cars", working / "data")
    shutil.copytree(home / "runs", lost / "runs", ignore=shutil.ignore_patterns("b3_512"))
    flags = (f"--data={working / 'data'}", *miniature_shell.RESUMED, "--device=cpu")
    command = [sys.executable, "-m", "carclf.train", "--stage=b3_512", *flags]
    with subprocess.Popen(command, cwd=lost, env=os.environ | {"PYTHONPATH": str(ROOT)}) as session:
        while session.poll() is None and not (lost / "runs" / "b3_512" / "history.csv").exists():
            time.sleep(0.05)
        session.terminate()
    assert session.returncode == 75


@pytest.fixture(scope="module")
def after_the_readme(home) -> Path:
    """Returns the folder of somebody who has followed the README, on which the other pages build.

    Many pages show a run of the other schedule that it names.
    """
    follow("README.md", home=home)
    run("python -m carclf.train --flagfile=stages/all.flags --data=data/cars\n", home=home)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("page", SHOWING)
def test_the_commands_of_a_page_run(page, after_the_readme):
    if page != "README.md":
        follow(page, home=after_the_readme)
