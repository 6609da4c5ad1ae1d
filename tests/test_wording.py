"""Messages say one photo, and several photos."""

import pytest

from carclf.wording import counted, first_of


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("photo",), "0 photos"),
        (1, ("photo",), "1 photo"),
        (2, ("photo",), "2 photos"),
        (2_000, ("photo is kept", "photos are kept"), "2,000 photos are kept"),
        (1, ("photo is kept", "photos are kept"), "1 photo is kept"),
    ],
)
def test_the_words_follow_the_number(number, words, said):
    assert counted(number, *words) == said


def test_a_long_list_is_named_by_its_first():
    assert first_of(["a", "b", "c"], most=3) == "a, b, c"
    assert first_of(["a", "b", "c"], most=2) == "a, b, …"
    assert first_of([]) == ""
