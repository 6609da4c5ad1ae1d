"""The tables of docs/scale.md follow from the costs given above them."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("scale")


def costs_of(page: str, scale):
    kb, stored, convert, reduce, near, launcher_kb, launcher_ms, *epochs = (
        float(figure) for figure in re.findall(r"^\| .+ \| ([\d.]+) (?:kB|ms)", page, flags=re.MULTILINE)
    )
    return scale.Costs(
        photo_kb=kb,
        stored_kb=stored,
        convert_ms=convert,
        reduce_ms=reduce,
        near_ms=near,
        launcher_kb=launcher_kb,
        launcher_ms=launcher_ms,
        epoch_ms=dict(zip(scale.SIZES, epochs, strict=True)),
    )


def test_the_page_shows_what_its_costs_amount_to(scale):
    costs = costs_of(PAGE, scale)
    shown = PAGE.splitlines()
    for table in (scale.cost_table(costs), *scale.tables(costs)):
        assert [line for line in table if line not in shown] == []


def test_a_million_photos_cost_a_million_times_as_much(scale):
    costs = scale.Costs(
        photo_kb=100, stored_kb=60, convert_ms=2.4, reduce_ms=70, near_ms=1.2, launcher_kb=1, launcher_ms=0.1,
        epoch_ms={224: 1.2, 512: 2.4},
    )  # fmt: skip
    row = "| 1,500,000 | 1,667 | 0.30 | 0.09 | 1.5 | 2 | 1.5 | 45.0 | 0.9 | 0.1 |"
    assert row in scale.convert_table(costs)
    assert "| 1,500,000 | 0.09 | 0.5 | 1.0 |" in scale.epoch_table(costs)
    assert "| 10 Gbit/s, 1,250 MB/s | 20,833 | 25.0 | 50.0 |" in scale.limit_table(costs)
