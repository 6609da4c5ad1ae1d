"""Groups photos that look alike by complete linkage, and finds the groups of one picture among them."""

import collections
from collections.abc import Callable, Iterable, Sequence

Pair = tuple[int, int]
Compare = Callable[[Sequence[Pair]], Iterable[bool]]
"""For each pair of photos' indices: whether both are the same picture."""

ROUNDS_FOR_ALL = 4  # a copy is not always the photo that its original resembles most, least so in one studio


class Linkage:
    """Groups of photos in which every two look alike, so that likeness does not chain."""

    def __init__(self, alike: Sequence[Pair]) -> None:
        """Starts with every photo alone.

        Args:
          alike: all pairs of photos that look alike.
        """
        self._alike: dict[int, set[int]] = collections.defaultdict(set)
        for one, other in alike:
            self._alike[one].add(other)
            self._alike[other].add(one)
        self._group_of = {photo: {photo} for photo in self._alike}

    def group(self, photo: int) -> int:
        """Returns a number that the photos of one group share."""
        return id(self._group_of[photo])

    def may_merge(self, one: int, other: int) -> bool:
        """Returns whether the groups of two photos differ, and all photos of both look alike."""
        first, second = self._group_of[one], self._group_of[other]
        return first is not second and all(second <= self._alike[photo] for photo in first)

    def merge(self, one: int, other: int) -> None:
        """Makes the groups of two photos one, if they may merge."""
        if self.may_merge(one, other):
            first, second = self._group_of[one], self._group_of[other]
            first |= second
            self._group_of.update(dict.fromkeys(second, first))

    def groups(self) -> list[list[int]]:
        """Returns the groups of at least two photos, each ascending, by first photo."""
        return sorted({min(group): sorted(group) for group in self._group_of.values() if len(group) > 1}.values())


def alike_groups(pairs: Sequence[Pair]) -> list[list[int]]:
    """Returns the groups of photos that look alike; the most similar photos are the first to be put together.

    Args:
      pairs: of photos that look alike, the most similar first.
    """
    linkage = Linkage(pairs)
    for one, other in pairs:
        linkage.merge(one, other)
    return linkage.groups()


def picture_groups(pairs: Sequence[Pair], compare: Compare, *, most: int) -> list[list[int]]:
    """Returns the groups of photos of one picture.

    A copy is usually the photo that its original resembles most. In each round, every group (a photo alone is one, too)
    is therefore compared with the group that it resembles most among those that it was not yet compared with. After
    ROUNDS_FOR_ALL rounds only the groups that have just grown go on.

    Args:
      pairs: of photos that look alike, the most similar first.
      compare: decides about pairs.
      most: pairs to compare in all.
    """
    linkage, asked, rounds = Linkage(pairs), set[Pair](), 0
    asking = {photo for pair in pairs for photo in pair}
    while chosen := _closest(pairs, linkage, asked, asking)[: most - len(asked)]:
        asked.update(chosen)
        same = [pair for pair, holds in zip(chosen, compare(chosen), strict=True) if holds]
        for one, other in same:
            linkage.merge(one, other)
        rounds += 1
        if rounds >= ROUNDS_FOR_ALL:
            asking = {photo for pair in same for photo in pair}
    return linkage.groups()


def scenes_among(alike: Sequence[list[int]], pictures: Sequence[list[int]]) -> list[list[int]]:
    """Returns the groups of photos that look alike and are not all of one picture.

    Args:
      alike: the groups of `alike_groups`.
      pictures: the groups of `picture_groups`; no two share a photo.
    """
    picture_of = {photo: number for number, picture in enumerate(pictures) for photo in picture}
    return [
        group
        for group in alike
        if (first := picture_of.get(group[0])) is None or any(picture_of.get(photo) != first for photo in group)
    ]


def _closest(pairs: Sequence[Pair], linkage: Linkage, asked: set[Pair], asking: set[int]) -> list[Pair]:
    """Returns the most similar pair that may merge and was not asked yet, for each group of the photos in `asking`."""
    waiting = {linkage.group(photo) for photo in asking}
    chosen: list[Pair] = []
    for pair in pairs:
        ends = {linkage.group(photo) for photo in pair}
        if ends & waiting and pair not in asked and linkage.may_merge(*pair):
            waiting -= ends
            chosen.append(pair)
    return chosen
