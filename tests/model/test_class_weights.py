import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carclf.errors import UserError
from carclf.model.class_weights import balanced_class_weights, parse_class_weights

NAMES = ("Lada 2107", "Lada Niva", "VW: Passat")
WITH_COMMAS = ("VW: Passat, 2107, blue", "Niva, red", "Niva")
COUNTS = (10, 20, 70)


@given(counts=st.lists(st.integers(1, 100_000), min_size=1, max_size=20))
def test_every_class_has_the_same_total_weight_and_the_mean_photo_weight_one(counts):
    weights = balanced_class_weights(counts)
    totals = weights * counts
    np.testing.assert_allclose(totals, totals[0])
    assert totals.sum() / sum(counts) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", [1, 1, 1]),
        ("", [1, 1, 1]),
        ("balanced", [100 / 30, 100 / 60, 100 / 210]),
        ("Lada Niva:2.5", [1, 2.5, 1]),
        (" VW: Passat : 0 , Lada 2107:3", [3, 1, 0]),
    ],
)
def test_valid_texts(text, expected):
    weights = parse_class_weights(text, NAMES, counts=COUNTS)
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("balance", "has 'balance': give none, balanced, or NAME:WEIGHT"),
        ("Lada Niva:2,", "has '': give none"),
        ("Lada niva:2", r"names the class 'Lada niva': did you mean Lada Niva\?"),
        ("Audi:2", "'Audi': Known are Lada 2107, Lada Niva, VW: Passat"),
        ("Lada Niva:x", "gives 'Lada Niva' the weight 'x': give a number of at least 0"),
        ("Lada Niva:-1", "the weight '-1'"),
        ("Lada Niva:inf", "the weight 'inf'"),
        ("Lada Niva:1,Lada Niva:2", "names 'Lada Niva' twice"),
        ("Lada 2107:0,Lada Niva:0,VW: Passat:0", "every class weight 0"),
    ],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse_class_weights(text, NAMES, counts=COUNTS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("VW: Passat, 2107, blue:2", [2, 1, 1]),
        ("Niva:0.5, VW: Passat, 2107, blue: 2e0 ,Niva:3", "names 'Niva' twice"),
        (" Niva : .5, VW: Passat, 2107, blue: 2e0 ", [2, 1, 0.5]),
        ("VW: Passat, 2107:2", "names the class 'VW: Passat, 2107': did you mean VW: Passat, 2107, blue"),
    ],
)
def test_a_class_may_have_commas_in_its_name(text, expected):
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            parse_class_weights(text, WITH_COMMAS, counts=COUNTS)
    else:
        np.testing.assert_allclose(parse_class_weights(text, WITH_COMMAS, counts=COUNTS), expected)


def test_of_many_classes_the_first_are_named():
    names = [f"class {label}" for label in range(20_000)]
    weights = parse_class_weights("class 19999:3", names, counts=[1] * 20_000)
    assert (weights[19_999], weights.sum()) == (3.0, 20_002.0)
    with pytest.raises(UserError, match=r"'van': Known are class 0, .*class 9, …\.$"):
        parse_class_weights("van:3", names, counts=[1] * 20_000)


@pytest.mark.parametrize("counts", [[], [3, 0]])
def test_an_empty_class_cannot_be_balanced(counts):
    with pytest.raises(UserError, match=r"--class_weights=balanced is impossible.*: use --class_weights=none"):
        balanced_class_weights(counts)
