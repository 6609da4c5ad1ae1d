"""Groups photos that look alike by complete linkage, and finds the groups of one picture among them."""

import collections
import heapq
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
        # Group → every other with photos that look like some of it → the number of such pairs; all of them may merge
        # if it is the product of the groups' sizes, which needs no look at the photos.
        self._links: dict[int, dict[int, int]] = collections.defaultdict(dict)
        for one, other in alike:
            self._links[one][other] = self._links[other][one] = 1
        self._photos = {photo: [photo] for photo in self._links}
        self._group_of = {photo: photo for photo in self._links}

    def group(self, photo: int) -> int:
        """Returns a number that the photos of one group share."""
        return self._group_of[photo]

    def may_merge(self, one: int, other: int) -> bool:
        """Returns whether the groups of two photos differ, and all photos of both look alike."""
        first, second = self._group_of[one], self._group_of[other]
        alike = self._links[first].get(second, 0)
        return first != second and alike == len(self._photos[first]) * len(self._photos[second])

    def merge(self, one: int, other: int) -> tuple[int, int] | None:
        """Makes the groups of two photos one, if they may merge; returns (its number, the number that is gone)."""
        if not self.may_merge(one, other):
            return None
        gone, kept = sorted((self._group_of[one], self._group_of[other]), key=self._weight)
        for other_group, alike in self._links.pop(gone).items():
            links = self._links[other_group]
            del links[gone]
            if other_group != kept:
                links[kept] = self._links[kept][other_group] = links.get(kept, 0) + alike
        self._group_of.update(dict.fromkeys(self._photos[gone], kept))
        self._photos[kept] += self._photos.pop(gone)
        return kept, gone

    def groups(self) -> list[list[int]]:
        """Returns the groups of at least two photos, each ascending, by first photo."""
        return sorted(sorted(photos) for photos in self._photos.values() if len(photos) > 1)

    def _weight(self, group: int) -> int:
        return len(self._links[group]) + len(self._photos[group])


class Queues:
    """For each group the pairs of its photos, the most similar first, without those that are done with."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        """Starts with every photo alone.

        Args:
          pairs: the most similar first.
        """
        self._ranks: dict[int, list[int]] = collections.defaultdict(list)  # heaps, since they ascend
        for rank, pair in enumerate(pairs):
            for photo in pair:
                self._ranks[photo].append(rank)

    def first(self, group: int, is_open: Callable[[int], bool]) -> int | None:
        """Returns the place of the first pair for which `is_open` holds, if any; the pairs before it are dropped."""
        ranks = self._ranks[group]
        while ranks and not is_open(ranks[0]):
            heapq.heappop(ranks)
        return ranks[0] if ranks else None

    def merge(self, kept: int, gone: int) -> None:
        """Gives the pairs of one group to another."""
        fewer, more = sorted((self._ranks.pop(gone), self._ranks[kept]), key=len)
        for rank in fewer:
            heapq.heappush(more, rank)
        self._ranks[kept] = more


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
    linkage, queues, asked, rounds = Linkage(pairs), Queues(pairs), set[Pair](), 0
    asking = {photo for pair in pairs for photo in pair}
    while chosen := _closest(pairs, linkage, queues, asked, asking)[: most - len(asked)]:
        asked.update(chosen)
        same = [pair for pair, holds in zip(chosen, compare(chosen), strict=True) if holds]
        for pair in same:
            if merged := linkage.merge(*pair):
                queues.merge(*merged)
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


def _closest(pairs: Sequence[Pair], linkage: Linkage, queues: Queues, asked: set[Pair], asking: set[int]) -> list[Pair]:
    """Returns the most similar pair that may merge and was not asked yet, for each group of the photos in `asking`."""

    def is_open(rank: int) -> bool:  # a pair that is not will never be again
        return pairs[rank] not in asked and linkage.may_merge(*pairs[rank])

    waiting = {linkage.group(photo) for photo in asking}
    firsts = sorted((rank, group) for group in waiting if (rank := queues.first(group, is_open)) is not None)
    chosen: list[Pair] = []
    for rank, group in firsts:
        if group in waiting:
            waiting -= {linkage.group(photo) for photo in pairs[rank]}
            chosen.append(pairs[rank])
    return chosen
