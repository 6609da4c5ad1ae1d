import numpy as np
import pytest

from carclf.errors import UserError
from carclf.forms import FORMS, Form, kind_of

CLASSES = ["a", "b", "c"]
PROBABILITIES = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
TWO = np.array([[0.25, 0.75], [0.999999999, 1e-9]])

# Form → a form on the columns of three (two) classes, the cells of the photos above, and the classes they speak for.
CELLS = {
    "label": (Form("label", ("id", "x"), ("x",)), [("b",), ("a",), ("a",)], "baa"),
    "probability": (Form("probability", ("id", "x"), ("x",), positive="b"), [("0.75",), ("1e-09",)], "ba"),
    "probabilities": (
        Form("probabilities", ("id", "C", "A", "B"), ("C", "A", "B"), column_classes=("c", "a", "b")),
        [("0.3", "0.2", "0.5"), ("0", "1", "0"), ("0.3333333",) * 3],
        "bac",
    ),
    "scored_label": (
        Form("scored_label", ("id", "x"), ("x",)),
        [("b 0.5",), ("a 1",), ("a 0.3333333",)],
        "baa",
    ),
    "ranking": (Form("ranking", ("id", "x"), ("x",), k=2), [("b c",), ("a b",), ("a b",)], "baa"),
}


@pytest.mark.parametrize("kind", FORMS)
def test_each_form_writes_cells_that_it_accepts_and_reads_back(kind):
    form, cells, answers = CELLS[kind]
    probabilities, classes = (TWO, CLASSES[:2]) if kind == "probability" else (PROBABILITIES, CLASSES)
    row = kind_of(form)
    written = row.cells(form, probabilities=probabilities, labels=probabilities.argmax(axis=1), class_labels=classes)
    assert written == cells
    assert [row.problem(form, each, class_labels=classes) for each in written] == [""] * len(cells)
    assert [row.answer(form, each, class_labels=classes) for each in written] == list(answers)


@pytest.mark.parametrize(
    ("kind", "cells", "text"),
    [
        ("label", ("z",), "'z' is not a class"),
        ("label", ("",), "'' is not a class"),
        ("probability", ("1.01",), "'1.01' is not a number between 0 and 1"),
        ("probability", ("nan",), "'nan' is not a number"),
        ("probability", ("1_0",), "'1_0' is not a number"),
        ("probabilities", ("0.3", "0.2", "inf"), "'inf' is not a number"),
        ("probabilities", ("0.3", "0.2", "0.6"), "its probabilities sum to 1.1000"),
        ("scored_label", ("z 0.5",), "'z' is not a class"),
        ("scored_label", ("b",), "'' is not a class"),
        ("scored_label", ("b 1.5",), "'1.5' is not a number between 0 and 1"),
        ("ranking", ("a z",), "'z' is not a class"),
        ("ranking", ("a a",), "'a a' names a class twice"),
        ("ranking", ("a b c",), "'a b c' holds more than 2 labels"),
    ],
)
def test_each_form_says_what_is_wrong_with_a_row(kind, cells, text):
    form = CELLS[kind][0]
    assert text in FORMS[kind].problem(form, cells, class_labels=CLASSES)


def test_a_label_that_was_decided_on_is_written_instead_of_the_likeliest():
    form = CELLS["label"][0]
    cells = FORMS["label"].cells(form, probabilities=PROBABILITIES, labels=np.array([2, 2, 0]), class_labels=CLASSES)
    assert cells == [("c",), ("c",), ("a",)]


def test_two_scored_labels_differ_by_their_probability_or_as_labels_do():
    row, form = FORMS["scored_label"], CELLS["scored_label"][0]
    assert row.difference(form, ("a 0.75",), ("a 0.5",)) == 0.25
    assert row.difference(form, ("a 0.75",), ("b 0.75",)) == 1.0


def test_a_ranking_of_few_classes_holds_all_of_them():
    form = Form("ranking", ("id", "x"), ("x",), k=5, separator=",")
    cells = FORMS["ranking"].cells(form, probabilities=TWO, labels=np.zeros(2, int), class_labels=["a", "b"])
    assert cells == [("b,a",), ("a,b",)]


def test_a_ranking_over_columns_has_one_label_in_each():
    form = Form("ranking", ("id", "p1", "p2", "p3"), ("p1", "p2", "p3"), k=3)
    row, two = FORMS["ranking"], ["a", "b c"]
    cells = row.cells(form, probabilities=TWO, labels=np.zeros(2, int), class_labels=two)
    assert cells == [("b c", "a", ""), ("a", "b c", "")]
    assert [row.problem(form, each, class_labels=two) for each in cells] == ["", ""]
    assert [row.answer(form, each, class_labels=two) for each in cells] == ["b c", "a"]
    assert "'b' is not a class" in row.problem(form, ("a", "b", ""), class_labels=two)
    assert "'a a' names a class twice" in row.problem(form, ("a", "a", ""), class_labels=two)
    assert row.difference(form, *cells) == 1.0
    assert row.difference(form, cells[0], ("b c", "", "")) == 0.5


def test_every_form_has_words_for_people():
    assert {kind: form.describe() for kind, (form, _, _) in CELLS.items()} == {
        "label": "label, the column x",
        "probability": "probability of b, the column x",
        "probabilities": "probabilities, 3 columns",
        "ranking": "ranking(2), the column x",
        "scored_label": "scored_label, the column x",
    }
    assert all(row.summary for row in FORMS.values())


def test_a_form_of_a_newer_version_is_refused():
    with pytest.raises(UserError, match="the form 'boxes', which this version of carclf does not know"):
        kind_of(Form("boxes", ("id", "x"), ("x",)))
