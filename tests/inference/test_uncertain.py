"""Which answers come first in the list for a person, and what the list says of each."""

import numpy as np
import pandas as pd
import pytest

from carclf.inference.held_out import HeldOut
from carclf.inference.uncertain import photos_with_half_of_the_errors, top_two, uncertain_answers

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.34, 0.3, 0.36]])


def test_the_margin_is_between_the_answer_and_the_likeliest_other_class():
    found = top_two(PROBABILITIES, temperature=1.0)
    assert (found.first.tolist(), found.second.tolist()) == ([0, 1, 2], [1, 2, 0])
    np.testing.assert_allclose(found.margins, [0.5, 0.1, 0.02])
    np.testing.assert_allclose(found.wrong, [0.3, 0.5, 0.64])


def test_the_probabilities_are_calibrated():
    found = top_two(np.array([[0.8, 0.2]]), temperature=2.0)  # √0.8 and √0.2 are as 2 and 1
    assert (found.margins[0], found.wrong[0]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_where_a_decision_answers_with_another_class_the_likeliest_is_second():
    found = top_two(PROBABILITIES[:1], temperature=1.0, answers=np.array([2]))
    assert (found.first[0], found.second[0], found.margins[0]) == (2, 0, pytest.approx(-0.6))


def test_each_answer_is_compared_with_held_out_photos_of_the_same_two_classes():
    known = np.array([[0.5, 0.4, 0.1], [0.4, 0.5, 0.1], [0.4, 0.5, 0.1], [0.0, 0.4, 0.6]])
    held_out = HeldOut(known, np.array([0, 0, 1, 2]), temperature=1.0)
    found = top_two(PROBABILITIES, temperature=1.0)
    table = uncertain_answers(found, held_out, ids=["x", "y", "z"], id_name="image", class_names=["a", "b", "c"])
    expected = pd.DataFrame(
        {
            "image": ["z", "y", "x"],
            "class": ["c", "b", "a"],
            "second": ["a", "c", "b"],
            "margin": [0.02, 0.1, 0.5],
            "held_out": [0, 1, 3],
            "right": [0, 1, 2],
        }
    )
    pd.testing.assert_frame_equal(table.reset_index(drop=True), expected, check_dtype=False)


def test_half_of_the_errors_to_expect_are_among_the_closest_answers():
    assert photos_with_half_of_the_errors(top_two(PROBABILITIES, temperature=1.0)) == 2  # 0.64 + 0.5 of 1.44
    sure = np.array([[1.0, 0.0]] * 3 + [[0.5, 0.5]])
    assert photos_with_half_of_the_errors(top_two(sure, temperature=1.0)) == 1
