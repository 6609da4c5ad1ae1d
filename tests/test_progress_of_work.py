"""Progress of long work is reported with the time left, never on stdout; short work reports nothing."""

import io
import sys
import time

import pytest

from carclf import progress
from carclf.progress import Progress, describe_seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Returns a clock that is set by hand."""
    now = [0.0]
    monkeypatch.setattr("carclf.progress.time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0 s"), (45, "45 s"), (89.4, "89 s"), (90, "2 min"), (725, "12 min"), (5390, "1 h 30 min"),
        (3600 * 3 + 61, "3 h"), (3600 * 3 + 1190, "3 h 20 min"),
    ],
)  # fmt: skip
def test_durations_are_told_to_two_digits(seconds, said):
    assert describe_seconds(seconds) == said


def test_what_is_left_is_told_by_the_pace_behind_the_first_count(clock):
    work = Progress("Predicting", total=900)
    clock[0] = 30.0
    assert work.line() == "Predicting: 0 of 900 photos, 30 s so far"
    work.add(100)  # the first batch compiled
    clock[0] = 40.0
    work.add(200)
    assert work.line() == "Predicting: 300 of 900 photos, 20 per second, 30 s left"
    work.add(600)
    assert work.line() == "Predicting: 900 of 900 photos, 80 per second"
    assert work.last_line() == "Predicting: 900 photos in 40 s"


def test_a_slow_pace_keeps_its_digits(clock):
    work = Progress("Drawing", total=4, unit="pictures")
    clock[0] = 4.0
    work.add()
    assert work.line() == "Drawing: 1 of 4 pictures, 0.25 per second, 12 s left"


def test_short_work_says_nothing(capsys):
    with Progress("Validating", total=2) as work:
        work.add(2)
    with Progress("Compiling"):
        pass
    assert capsys.readouterr() == ("", "")


def test_long_work_is_told_on_stderr_and_ends_with_its_time(monkeypatch, capsys):
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.001)
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    with Progress("Compiling the training step"):
        while "…" not in errors.getvalue():
            time.sleep(0.001)
    assert errors.getvalue() == "Compiling the training step …\nCompiling the training step: 0 s\n"
    assert capsys.readouterr().out == ""


def test_what_failed_is_not_told_as_done(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.001)
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)

    def compile_and_fail() -> None:
        with Progress("Compiling"):
            while "…" not in errors.getvalue():
                time.sleep(0.001)
            raise KeyError

    with pytest.raises(KeyError):
        compile_and_fail()
    assert errors.getvalue() == "Compiling …\n"


def test_a_terminal_has_a_bar_and_keeps_a_line(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.001)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_DRAWINGS", 0.001)
    with Progress("Validating", total=8) as work:
        work.add(2)
        while "25%" not in terminal.getvalue():
            time.sleep(0.001)
        work.add(6)
    assert terminal.getvalue().rstrip("\n").split("\r")[-1] == "Validating: 8 photos in 0 s"


def test_without_a_standard_error_work_goes_on(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with Progress("Validating", total=1) as work:
        work.add()
