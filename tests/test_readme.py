"""What the README and docs/ show works: Python runs, the flags of commands exist, the files it names are there."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from shown_commands import PAGES, README, blocks, parse_shown

ROOT = Path(__file__).parent.parent


def commands() -> list[str]:
    shown = [block for page in PAGES.values() for block in blocks("sh", page)]
    lines = [line.split("  #")[0].strip() for block in shown for line in block.splitlines()]
    return [line for line in lines if line.startswith("python ") and "$" not in line]  # that is a loop


@pytest.mark.parametrize("command", commands())
def test_the_flags_of_a_command_exist(command):
    assert parse_shown(command) is not None


def test_the_extras_that_are_installed_exist():
    lists = [extras for page in PAGES.values() for extras in re.findall(r"pip install .*?\[([\w,]+)\]", page)]
    named = {extra for extras in lists for extra in extras.split(",")}
    assert "cpu" in named
    assert named <= set(importlib.metadata.metadata("carclf").get_all("Provides-Extra"))


def test_records_are_read_by_plain_tensorflow_as_shown(dataset):
    (program,) = blocks("python", README)
    assert len([line for line in program.splitlines() if line.strip()]) <= 7
    shown = program.replace("data/cars/*/train-fold", f"{dataset.directory}/train-fold")
    answer = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert re.fullmatch(r"\(\d+, \d+, 3\) [012]", answer.stdout.strip())


def test_the_files_it_names_are_there():
    named = re.findall(r"`((?:tools|stages|tests|carclf|benchmarks|docs)/[\w./-]+\.\w+)`|\]\(([\w./-]+)\)", README)
    paths = [path for pair in named for path in pair if path]
    assert paths
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_every_stage_is_in_its_table():
    table = README[README.index("## Stages") :]
    stages = [path.stem for path in (ROOT / "stages").glob("*.flags")]
    told_elsewhere = ("base", "all", "demo", "mobilenet_v2_224_all")
    rows = [stage for stage in stages if stage not in told_elsewhere and not stage.startswith("notebook")]
    assert [stage for stage in rows if f"`{stage}`" not in table] == []
