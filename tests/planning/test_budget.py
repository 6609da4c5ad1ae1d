"""Budgets as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carclf.command import parse_command_line
from carclf.errors import UserError
from carclf.planning.budget import in_minutes, parse_budget, write_budget
from carclf.train_options import TrainOptions


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("9h", 32_400), ("90m", 5_400), ("1h30m", 5_400), ("45s", 45), ("1h0m5s", 3_605), ("0.5h", 1_800),
        (" 2H ", 7_200),
    ],
)  # fmt: skip
def test_a_budget_is_read(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "9", "h", "9 h", "30m1h", "-1h", "0s", "1h1h", "9hours", "1e9h", "nanh"])
def test_anything_else_is_refused(text):
    with pytest.raises(
        UserError, match=r"is not a duration: write hours, minutes or seconds, such as 9h, 1h30m or 45s\."
    ):
        parse_budget(text)


@given(st.floats(0.1, 1e6))
def test_what_is_written_is_read_and_is_at_least_that_long(seconds):
    assert seconds <= parse_budget(write_budget(seconds)) < seconds + 60


def test_minutes_have_a_digit_where_it_counts():
    assert [in_minutes(seconds) for seconds in (5, 90, 597, 7200)] == ["0.1", "1.5", "10", "120"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--plan"], "--budget is missing: say how much time --plan may use"),
        (["--budget=9h"], "--budget=9h is not possible: it needs --plan"),
        (["--plan", "--budget=soon"], "--budget=soon is not a duration"),
    ],
)
def test_a_budget_and_a_plan_belong_together(flags, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_command_line(TrainOptions, flags, description="")
