"""Groups of photos that look alike: the same as by a look at every pair in each round, with far fewer steps."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carclf.convert import linkage
from carclf.convert.linkage import ROUNDS_FOR_ALL, Linkage, Pair, alike_groups, picture_groups


def naive_alike(pairs: Sequence[Pair]) -> list[list[int]]:
    """Groups by complete linkage, by definition: two groups merge if every photo of one looks like all of the other."""
    alike = {*pairs, *((other, one) for one, other in pairs)}
    groups = {photo: {photo} for pair in pairs for photo in pair}
    for one, other in pairs:
        merge_naively(groups, alike, one, other)
    return several(groups)


def merge_naively(groups: dict[int, set[int]], alike: set[Pair], one: int, other: int) -> None:
    if mergeable(groups, alike, one, other):
        union = groups[one] | groups[other]
        groups.update(dict.fromkeys(union, union))


def mergeable(groups: dict[int, set[int]], alike: set[Pair], one: int, other: int) -> bool:
    first, second = groups[one], groups[other]
    return first is not second and all((a, b) in alike for a in first for b in second)


def several(groups: dict[int, set[int]]) -> list[list[int]]:
    return sorted({min(group): sorted(group) for group in groups.values() if len(group) > 1}.values())


def naive_pictures(pairs: Sequence[Pair], same: set[Pair], *, most: int, asked: list[Pair]) -> list[list[int]]:
    """The groups of pictures by a look at every pair in each round."""
    alike = {*pairs, *((other, one) for one, other in pairs)}
    groups = {photo: {photo} for pair in pairs for photo in pair}
    asking, rounds = set(groups), 0
    while True:
        waiting, chosen = {id(groups[photo]) for photo in asking}, []
        for one, other in pairs:
            ends = {id(groups[one]), id(groups[other])}
            if ends & waiting and (one, other) not in asked and mergeable(groups, alike, one, other):
                waiting -= ends
                chosen.append((one, other))
        chosen = chosen[: most - len(asked)]
        if not chosen:
            return several(groups)
        asked += chosen
        held = [pair for pair in chosen if pair in same]
        for one, other in held:
            merge_naively(groups, alike, one, other)
        rounds += 1
        if rounds >= ROUNDS_FOR_ALL:
            asking = {photo for pair in held for photo in pair}


@st.composite
def pairs_of_few(draw):
    photos = draw(st.integers(2, 12))
    every = [(one, other) for one in range(photos) for other in range(one + 1, photos)]
    chosen = draw(st.lists(st.sampled_from(every), unique=True, min_size=1))
    return [pair[::-1] if draw(st.booleans()) else pair for pair in draw(st.permutations(chosen))]


@given(pairs=pairs_of_few(), most=st.integers(0, 80), data=st.data())
def test_the_groups_are_those_of_a_look_at_every_pair_in_each_round(pairs, most, data):
    same = set(data.draw(st.lists(st.sampled_from(pairs))))
    asked: list[Pair] = []
    expected: list[Pair] = []

    def compare(chosen):
        asked.extend(chosen)
        return [pair in same for pair in chosen]

    groups = picture_groups(pairs, compare, most=most)
    assert groups == naive_pictures(pairs, same, most=most, asked=expected)
    assert asked == expected
    assert alike_groups(pairs) == naive_alike(pairs)


def test_two_large_scenes_that_one_pair_keeps_apart_are_soon_known_as_two():
    """A look at all photos of both for each pair of them took (photos of a scene)⁴ steps: 10⁹ here."""
    photos = 180
    scenes = [list(range(photos)), list(range(photos, 2 * photos))]
    inside = [(one, other) for scene in scenes for one in scene for other in scene if one < other]
    across = [(one, other) for one in scenes[0] for other in scenes[1]][:-1]
    assert alike_groups(inside + across) == scenes
    assert picture_groups(inside + across, lambda pairs: [True] * len(pairs), most=10**6) == scenes


@pytest.mark.parametrize("answer", [True, False], ids=["one picture", "other pictures"])
def test_the_steps_are_few_for_each_pair(monkeypatch, answer):
    """A photo shoot of which all photos look alike, the first of which asks the others one after the other."""
    photos, steps = 120, 0
    pairs = [(one, other) for one in range(photos) for other in range(one + 1, photos)]
    may_merge = Linkage.may_merge

    def counting(self, one, other):
        nonlocal steps
        steps += 1
        return may_merge(self, one, other)

    monkeypatch.setattr(linkage.Linkage, "may_merge", counting)
    groups = picture_groups(pairs, lambda chosen: [answer or one == 0 for one, _ in chosen], most=len(pairs))
    assert groups == [list(range(photos))] if answer else groups
    assert steps < 4 * len(pairs)
    random.Random(1).shuffle(pairs)
    steps = 0
    assert alike_groups(pairs) == [list(range(photos))]
    assert steps == len(pairs)
