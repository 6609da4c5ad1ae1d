"""The examples in the README and docs/ work: Python runs, flags exist. The README stays short."""

import importlib.metadata
import re
from pathlib import Path

import pytest
from shown_commands import PAGES, README, blocks, parse_shown

ROOT = Path(__file__).parent.parent


def commands() -> list[str]:
    shown = [block for page in PAGES.values() for block in blocks("sh", page)]
    lines = [line.split("  #")[0].strip() for block in shown for line in block.splitlines()]
    return [line for line in lines if line.startswith("python ") and "$" not in line]  # $ is used in a loop


@pytest.mark.parametrize("command", commands())
def test_the_flags_of_a_command_exist(command):
    assert parse_shown(command) is not None


def test_the_extras_that_are_installed_exist():
    lists = [extras for page in PAGES.values() for extras in re.findall(r"pip install .*?\[([\w,]+)\]", page)]
    named = {extra for extras in lists for extra in extras.split(",")}
    assert "cpu" in named
    assert named <= set(importlib.metadata.metadata("carclf").get_all("Provides-Extra"))


def test_it_has_at_most_900_words():
    assert len(README.split()) <= 900


def test_it_has_one_picture_and_one_table_of_results_with_a_peer_in_every_row():
    (picture,) = re.findall(r"!\[[^\]]+\]\(([\w./]+)\)", README)
    assert (ROOT / picture).is_file()
    header, _, *rows = [row for row in README.splitlines() if row.startswith("|")]
    assert header.split("|")[-2].strip() == "peer"
    assert all(re.search(r"[a-z]", row.split("|")[-2]) for row in rows)
    assert len(rows) >= 5


def test_its_figures_are_those_of_the_page_of_benchmarks():
    rows = [row for row in README.splitlines() if row.startswith("|")][2:]
    figures = {figure for row in rows for cell in row.split("|")[2:] for figure in re.findall(r"\d[\d.,]*\d", cell)}
    assert len(figures) > 10
    measured = re.findall(r"\d[\d.,]*\d", PAGES["docs/benchmarks.md"])
    assert sorted(figures - set(measured)) == []


def test_every_stage_is_in_the_table_of_stages():
    page = PAGES["docs/stages.md"]
    table = page[: page.index("## What a stage can do")]
    stages = [path.stem for path in (ROOT / "stages").glob("*.flags")]
    assert len(stages) > 10
    others = {"all", "demo", *(stage for stage in stages if stage.endswith("base") or stage.startswith("notebook"))}
    assert [stage for stage in stages if stage not in others and f"`{stage}`" not in table] == []
