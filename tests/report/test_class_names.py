"""Short class names can be told apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carclf.report.names import captions, plain_text, short_names

E_CLASS = ["Mercedes-Benz E-Class Coupe 2012", "Mercedes-Benz E-Class Cabriolet 2012"]


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (E_CLASS, ["… Coupe 2012", "… Cabriolet 2012"]),
        (["land_cruiser_prado_150_restyled", "land_cruiser_prado_150_sedan"], ["… restyled", "… sedan"]),
        (["Mercedes-Benz E-Class", "Mercedes-Benz E-Class Cabriolet"], ["… E-Class", "… E-Class Cabriolet"]),
        (["bmw_x5", "vaz_2110"], ["bmw_x5", "vaz_2110"]),
        (["bmw_x5", E_CLASS[0]], ["bmw_x5", plain_text(E_CLASS[0], length=20)]),
    ],
)
def test_two_names_lose_the_words_that_both_begin_with(names, short):
    assert short_names(names, length=20) == short


def test_among_many_names_only_those_that_would_be_the_same_lose_their_beginning():
    others = ["Chevrolet Silverado 1500 Extended Cab", "Acura RL Sedan 2012"]
    alike = ["Mercedes-Benz E-Class Coupe Long 2012", "Mercedes-Benz E-Class Sedan Long 2012"]
    assert plain_text(alike[0], length=20) == plain_text(alike[1], length=20)
    short = short_names([*others, *alike], length=20)
    assert short == [plain_text(others[0], length=20), others[1], "… Coupe Long 2012", "… Sedan Long 2012"]


def test_a_difference_in_the_middle_of_a_word_is_shown():
    names = [f"{'a' * 30}{sign}{'b' * 30}" for sign in "xyz"]
    short = short_names(names, length=16)
    assert len(set(short)) == 3
    assert [line[:2] for line in short] == ["…x", "…y", "…z"]


@given(
    st.lists(st.text(st.sampled_from("ab _"), min_size=1, max_size=40), min_size=1, max_size=12, unique=True),
    st.integers(10, 24),
)
def test_no_line_is_too_long_and_no_two_long_names_share_one(names, length):
    short = short_names(names, length=length)
    assert all(len(line) <= length for line in short)
    long = [line for name, line in zip(names, short, strict=True) if len(name) > length]
    assert len(set(long)) == len(long)


def test_captions_are_whole_unless_they_begin_alike():
    assert captions(E_CLASS) == ["… Coupe 2012", "… Cabriolet 2012"]
    assert captions([E_CLASS[0], "vaz_2110"]) == [E_CLASS[0], "vaz_2110"]
    assert captions(["bmw x5", "bmw x6"]) == ["bmw x5", "bmw x6"]
