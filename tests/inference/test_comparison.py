"""Two submissions side by side."""

from pathlib import Path

import pytest

from carclf.errors import UserError
from carclf.forms import Form
from carclf.inference import comparison

LABEL = Form("label", ("Id", "Category"), ("Category",))
OLDER = {"a": "0", "b": "1", "c": "1", "d": "10"}


def test_the_most_frequent_change_comes_first():
    newer = {"d": "10", "a": "1", "b": "0", "c": "0"}
    changed = comparison.changed_labels(OLDER, newer)
    assert changed == [("b", "1", "0"), ("c", "1", "0"), ("a", "0", "1")]
    text = comparison.describe_changes(changed, photos=4, names={"0": "2109", "1": "Niva"})
    assert text.splitlines() == ["3 of 4 photos changed:", "  Niva → 2109: 2", "  2109 → Niva: 1"]


def test_equal_submissions_say_so():
    assert (
        comparison.describe_changes(comparison.changed_labels(OLDER, OLDER), photos=4, names={})
        == "0 of 4 photos changed."
    )


def test_only_ten_kinds_of_change_are_listed():
    older, newer = ({str(n): f"{side}{n}" for n in range(13)} for side in "xy")
    lines = comparison.describe_changes(comparison.changed_labels(older, newer), photos=13, names={}).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "  and 3 other pairs"


def test_a_label_that_is_no_class_is_printed_itself(tmp_path):
    path = tmp_path / "old.csv"
    path.write_text("Id,Category\n007,NA\n8,1\n")
    older = comparison.read_submission(path, form=LABEL, class_labels=["0", "1"])
    assert older == {"007": ("NA",), "8": ("1",)}
    labels = comparison.labels_in(older, form=LABEL, class_labels=["0", "1"])
    changed = comparison.changed_labels(labels, {"007": "1", "8": "1"})
    assert "NA → one: 1" in comparison.describe_changes(changed, photos=2, names={"1": "one"})


def test_other_ids_are_refused_by_name():
    comparison.check_same_ids(OLDER, list("dcba"), path=Path("old.csv"))
    with pytest.raises(UserError, match=r"old\.csv and this prediction differ in 2 Ids, such as 'd'"):
        comparison.check_same_ids(OLDER, list("abce"), path=Path("old.csv"))


def test_the_error_for_a_missing_or_broken_old_submission_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"There is no submission .*: give a submission of this form with"):
        comparison.read_submission(tmp_path / "gone.csv", form=LABEL, class_labels=[])
    (tmp_path / "twice.csv").write_text("Id,Category\na,0\na,1\n")
    with pytest.raises(UserError, match="has the Id 'a' twice"):
        comparison.read_submission(tmp_path / "twice.csv", form=LABEL, class_labels=[])


CLASSES = ["a", "b", "c"]
# Kind → a form, an older and a newer submission of two photos, their labels, and how far they are apart.
FORMS = {
    "probability": (
        Form("probability", ("Id", "x"), ("x",), positive="b"), "Id,x\n1,0.2\n2,0.9\n", "Id,x\n1,0.6\n2,0.9\n",
        "ab", "bb", 0.2,
    ),
    "probabilities": (
        Form("probabilities", ("Id", "C", "A", "B"), ("C", "A", "B"), column_classes=("c", "a", "b")),
        "Id,C,A,B\n1,0.5,0.3,0.2\n2,0,1,0\n", "Id,C,A,B\n1,0.1,0.7,0.2\n2,0,1,0\n", "ca", "aa", 0.2,
    ),
    "ranking": (
        Form("ranking", ("Id", "x"), ("x",), k=2), "Id,x\n1,a b\n2,c a\n", "Id,x\n1,b a\n2,c b\n", "ac", "bc", 0.75,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMS)
def test_any_form_is_compared_by_its_labels_and_by_how_far_it_is_apart(tmp_path, kind):
    form, *texts, before, after, apart = FORMS[kind]
    classes = CLASSES[:2] if kind == "probability" else CLASSES
    answers = []
    for name, text in zip(("old.csv", "new.csv"), texts, strict=True):
        (tmp_path / name).write_text(text)
        answers.append(comparison.read_submission(tmp_path / name, form=form, class_labels=classes))
    labels = [comparison.labels_in(each, form=form, class_labels=classes) for each in answers]
    assert labels == [dict(zip("12", before, strict=True)), dict(zip("12", after, strict=True))]
    assert comparison.mean_difference(*answers, form=form) == pytest.approx(apart)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Id,C,A\n1,1,0\n", "has no column 'B', which this submission has"),
        ("Id,C,A,B\n1,1,0,?\n", r"an answer for 1 that is not the probability of every class, .*'\?' is not a number"),
    ],
)
def test_an_older_submission_of_another_form_is_refused(tmp_path, text, said):
    (tmp_path / "old.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        comparison.read_submission(tmp_path / "old.csv", form=FORMS["probabilities"][0], class_labels=CLASSES)
