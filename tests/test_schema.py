import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from carclf.schema import WrongTypeError, typed, typed_fields


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    count: int = 0


@dataclasses.dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    rate: float = 1.0
    on: bool = False
    fold: int | None = None
    by_name: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    kind: Literal["a", "b"] = "a"
    rest: Any = None


def test_json_becomes_what_the_hints_say():
    found = typed(
        {"parts": [{"name": "x", "count": 3}], "rate": 2, "fold": 1, "by_name": {"y": {"name": "y"}}, "rest": [1]},
        Whole,
        at="whole",
    )
    assert found == Whole((Part("x", 3),), rate=2.0, fold=1, by_name={"y": Part("y")}, rest=[1])
    assert isinstance(found.rate, float)
    assert typed({"parts": [], "fold": None}, Whole, at="whole") == Whole(())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "the content is [] instead of an object"),
        ({}, "parts is missing"),
        ({"parts": None}, "parts is None instead of a list"),
        ({"parts": {"0": 1}}, "parts is {'0': 1} instead of a list"),
        ({"parts": [7]}, "parts[0] is 7 instead of an object"),
        ({"parts": [{"name": "x"}, {"count": 1}]}, "parts[1].name is missing"),
        ({"parts": [{"name": 5}]}, "parts[0].name is 5 instead of a text"),
        ({"parts": [{"name": "x", "count": "3"}]}, "parts[0].count is '3' instead of a whole number"),
        ({"parts": [{"name": "x", "count": 3.0}]}, "parts[0].count is 3.0 instead of a whole number"),
        ({"parts": [{"name": "x", "count": True}]}, "parts[0].count is True instead of a whole number"),
        ({"parts": [{"name": "x", "extra": 1}]}, "parts[0].extra is not known"),
        ({"parts": [], "rate": True}, "rate is True instead of a number"),
        ({"parts": [], "rate": 10**400}, f"rate is {'1' + '0' * 39}… instead of a number"),
        ({"parts": [], "on": 1}, "on is 1 instead of true or false"),
        ({"parts": [], "fold": "0"}, "fold is '0' instead of a whole number"),
        ({"parts": [], "by_name": []}, "by_name is [] instead of an object"),
        ({"parts": [], "by_name": {"y": 2}}, "by_name.y is 2 instead of an object"),
        ({"parts": [], "kind": "c"}, "kind is c instead of one of a, b"),
        ({"parts": [], "new": 1}, "new is not known"),
    ],
    ids=str,
)
def test_a_wrong_type_is_placed(content, sentence):
    with pytest.raises(WrongTypeError) as caught:
        typed_fields(content, Whole)
    assert str(caught.value) == sentence


def test_other_entries_may_be_allowed_and_fields_left_out():
    assert typed_fields({"parts": [], "new": 1}, Whole, others=True) == {"parts": ()}
    inner = {"parts": [{"name": "x", "new": 1}], "by_name": {"y": {"name": "y", "new": {}}}}
    assert typed(inner, Whole, at="whole", others=True) == Whole((Part("x"),), by_name={"y": Part("y")})
    assert typed_fields({"rate": 0.5}, Whole, without=["parts"]) == {"rate": 0.5}
