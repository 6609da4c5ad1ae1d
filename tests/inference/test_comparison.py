"""Two submissions side by side."""

from pathlib import Path

import pytest

from carclf.errors import UserError
from carclf.inference import comparison

OLDER = {"a": "0", "b": "1", "c": "1", "d": "10"}


def test_the_most_frequent_change_comes_first():
    newer = {"d": "10", "a": "1", "b": "0", "c": "0"}
    changed = comparison.changes(OLDER, newer)
    assert changed == [("b", "1", "0"), ("c", "1", "0"), ("a", "0", "1")]
    text = comparison.describe(changed, photos=4, names={"0": "2109", "1": "Niva"})
    assert text.splitlines() == ["3 of 4 photos changed:", "  Niva → 2109: 2", "  2109 → Niva: 1"]


def test_equal_submissions_say_so():
    assert comparison.describe(comparison.changes(OLDER, OLDER), photos=4, names={}) == "0 of 4 photos changed."


def test_only_ten_kinds_of_change_are_listed():
    older, newer = ({str(n): f"{side}{n}" for n in range(13)} for side in "xy")
    lines = comparison.describe(comparison.changes(older, newer), photos=13, names={}).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "  and 3 other pairs"


def test_a_label_that_is_no_class_is_printed_itself(tmp_path):
    path = tmp_path / "old.csv"
    path.write_text("Id,Category\n007,NA\n8,1\n")
    older = comparison.read_submission(path)
    assert older == {"007": "NA", "8": "1"}
    changed = comparison.changes(older, {"007": "1", "8": "1"})
    assert "NA → one: 1" in comparison.describe(changed, photos=2, names={"1": "one"})


def test_other_ids_are_refused_by_name():
    comparison.check_same_ids(OLDER, list("dcba"), path=Path("old.csv"))
    with pytest.raises(UserError, match=r"old\.csv and this prediction differ in 2 Ids, such as 'd'"):
        comparison.check_same_ids(OLDER, list("abce"), path=Path("old.csv"))


def test_the_error_for_a_missing_or_broken_old_submission_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"There is no submission .*: give one with --compare=FILE"):
        comparison.read_submission(tmp_path / "gone.csv")
    (tmp_path / "twice.csv").write_text("Id,Category\na,0\na,1\n")
    with pytest.raises(UserError, match="has the Id 'a' twice"):
        comparison.read_submission(tmp_path / "twice.csv")
