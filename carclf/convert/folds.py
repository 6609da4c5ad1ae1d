"""The fold of every training photo: a function of Ids, labels, groups and seed."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence


def order_key(seed: int, photo_id: str) -> bytes:
    """Returns the sort key of a photo in the seed's random order, the same on any machine."""
    return hashlib.blake2b(f"{seed}:{photo_id}".encode(), digest_size=16).digest()


def stratified_folds(
    *,
    ids: Sequence[str],
    labels: Sequence[int],
    groups: Sequence[int],
    folds: int,
    seed: int,
    kept: Mapping[str, int] | None = None,
) -> list[int]:
    """Returns the fold of every photo: classes are even within ±1 if groups allow it, a group is always in one fold.

    Groups are assigned one by one, largest first and otherwise in the seed's random order, each to the fold with
    the fewest photos of its classes so far (then with the fewest photos).

    Args:
      ids: of the photos.
      labels: of the photos.
      groups: photos with the same number stay together.
      folds: number of folds.
      seed: of the order.
      kept: Id → fold that a photo and its group keep; if a group has several, the fold of most of its photos.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    ordered = sorted(members.values(), key=lambda group: (-len(group), min(order_key(seed, ids[i]) for i in group)))
    by_class = [[0] * folds for _ in range(max(labels, default=-1) + 1)]
    totals, result = [0] * folds, [0] * len(ids)
    kept = kept or {}
    fixed = [group for group in ordered if any(ids[i] in kept for i in group)]
    free = [group for group in ordered if not any(ids[i] in kept for i in group)]
    for together in fixed + free:
        votes = Counter(kept[ids[i]] for i in together if ids[i] in kept)
        if votes:
            fold = min(votes, key=lambda f: (-votes[f], f))
        else:
            counts = [sum(by_class[labels[i]][f] for i in together) for f in range(folds)]
            fold = min(range(folds), key=lambda f: (counts[f], totals[f], f))
        for i in together:
            result[i] = kept.get(ids[i], fold)
            by_class[labels[i]][result[i]] += 1
            totals[result[i]] += 1
    return result


def joined(numbers: Sequence[int], names: Sequence[str]) -> list[int]:
    """Returns each photo's group number: photos with the same number or the same name, directly or by others, are one.

    Args:
      numbers: of the photos, such as those of near-duplicates.
      names: of the photos' groups; "" is none.
    """
    parent = {number: number for number in numbers}

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    first: dict[str, int] = {}
    for number, name in zip(numbers, names, strict=True):
        if name:
            one, other = sorted((root(number), root(first.setdefault(name, number))))
            parent[other] = one
    return [root(number) for number in numbers]


def lone_classes(*, labels: Sequence[int], groups: Sequence[int]) -> set[int]:
    """Returns the labels whose photos would all fall into one fold: a single photo, or photos of one picture.

    A class that is entirely held out is not trained, so its photos belong to no fold. If nearly all classes are like
    that, none is returned.
    """
    groups_of: dict[int, set[int]] = defaultdict(set)
    labels_of: dict[int, set[int]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        groups_of[label].add(group)
        labels_of[group].add(label)
    lone = {
        label for label, its in groups_of.items() if len(its) == 1 and all(labels_of[group] == {label} for group in its)
    }
    return lone if 2 * sum(label in lone for label in labels) < len(labels) else set()


def bridges(*, ids: Sequence[str], groups: Sequence[int], kept: Mapping[str, int]) -> list[str]:
    """Returns a sentence for every new photo that duplicates photos of two kept folds: one may leak into the other."""
    members: dict[int, list[str]] = defaultdict(list)
    for photo_id, group in zip(ids, groups, strict=True):
        members[group].append(photo_id)
    result = []
    for together in members.values():
        old = {kept[photo_id] for photo_id in together if photo_id in kept}
        new = [photo_id for photo_id in together if photo_id not in kept]
        if len(old) > 1 and new:
            result.append(
                f"{', '.join(new[:3])} shows the same picture as kept photos of the folds "
                f"{', '.join(map(str, sorted(old)))}: they stay in their folds, so validation may see a training photo."
            )
    return result


def first_files_folds(*, ids: Sequence[str], labels: Sequence[int], fraction: float) -> list[int]:
    """Returns fold 0 for the first int(fraction · n) of each class's n photos, sorted by Id, and 1 for the others.

    Source: the notebook's `ImageDataGenerator(validation_split=fraction)`, which splits the sorted files of each class.
    """
    result = [1] * len(ids)
    members: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        members[label].append(index)
    for indices in members.values():
        for index in sorted(indices, key=lambda i: ids[i])[: int(fraction * len(indices))]:
            result[index] = 0
    return result


def stratified_subset(*, ids: Sequence[str], labels: Sequence[int], size: int, seed: int) -> list[int]:
    """Returns the ascending indices of `size` random photos, every class in proportion (largest remainders)."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        members[label].append(index)
    if size >= len(ids):
        return list(range(len(ids)))
    quotas = {label: size * len(indices) / len(ids) for label, indices in members.items()}
    taken = {label: int(quota) for label, quota in quotas.items()}
    missing = size - sum(taken.values())
    for label in sorted(quotas, key=lambda k: (taken[k] - quotas[k], k))[:missing]:
        taken[label] += 1
    chosen = [
        index
        for label, indices in members.items()
        for index in sorted(indices, key=lambda i: order_key(seed, ids[i]))[: taken[label]]
    ]
    return sorted(chosen)
