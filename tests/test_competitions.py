"""Miniatures of competitions go from their files to a data set, and in the slow tests to a submission."""

import importlib
from pathlib import Path

import pytest

from tests.commands import open_door

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def competitions():
    """Returns benchmarks/competitions.py as a module."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("competitions")


def named(competitions, name):
    return next(one for one in competitions.COMPETITIONS if one.name == name)


HALF = (
    "dog-breed-identification",
    "state-farm",
    "cassava",
    "dogs-vs-cats-redux",
    "hotel-id-2021",
    "whale-categorization",
    "iwildcam-2019",
    "herbarium-2022",
    "Turtle Recall",
    "intel-scenes",
    "malaria",
    "Stanford Cars",
    "Oxford pets",
)


@pytest.mark.parametrize("name", HALF)
def test_a_miniature_becomes_the_right_data_set(tmp_path, competitions, name):
    outcome = competitions.run(named(competitions, name), tmp_path, convert_only=True)
    assert outcome.verdict == "right"


@pytest.mark.slow
def test_every_competition_becomes_a_right_submission(tmp_path, competitions, monkeypatch):
    monkeypatch.setattr(competitions, "command", lambda module, *flags: open_door(module, *flags, folder=ROOT))
    outcomes = [
        competitions.run(one, tmp_path / str(number), convert_only=False)
        for number, one in enumerate(competitions.COMPETITIONS)
    ]
    assert {outcome.name: outcome.verdict for outcome in outcomes if outcome.verdict != "right"} == {}
    assert sum(not outcome.flags for outcome in outcomes) >= 18
    assert all(len(outcome.flags) <= 1 for outcome in outcomes)


def test_a_label_that_differs_from_the_photo_is_seen(tmp_path, competitions, monkeypatch):
    import miniatures

    one = named(competitions, "aptos2019")
    monkeypatch.setattr(miniatures, "mixed", lambda classes: [(n + 1) % classes for n in range(6 * classes)])
    files = one.draw()
    monkeypatch.undo()
    swapped = files | {"train.csv": one.draw()["train.csv"]}
    outcome = competitions.run(competitions.dataclasses.replace(one, draw=lambda: swapped), tmp_path, convert_only=True)
    assert outcome.verdict.startswith("30 photos misread, such as 0000")
