"""Chooses the fold of every photo, by what the options ask for."""

import math
import sys
from collections import Counter
from collections.abc import Sequence

from carclf.convert import duplicates, folds
from carclf.convert.duplicates import Group
from carclf.convert.options import ConvertOptions
from carclf.convert.photos import Photo
from carclf.convert.validated import Validated
from carclf.data import manifest as manifests
from carclf.errors import UserError
from carclf.wording import first_of


def choose_folds(
    options: ConvertOptions, validated: Validated, *, categories: Sequence[str], groups: Sequence[Group]
) -> list[int | None]:
    """Returns the fold of every photo, or None if it has none.

    Raises:
      UserError: --split leaves nothing to validate on, or as for `kept_folds`.
    """
    numbers = folds.joined(
        duplicates.fold_groups(groups, photos=len(validated.photos)), [photo.group for photo in validated.photos]
    )
    training = [index for index, photo in enumerate(validated.photos) if photo.split == "train"]
    ids = [validated.photos[index].id for index in training]
    label_of = {category: label for label, category in enumerate(categories)}
    label = [label_of[validated.photos[index].category] for index in training]
    grouped = [numbers[index] for index in training]
    if (fraction := options.first_files_fraction) is not None:
        chosen: Sequence[int | None] = folds.first_files_folds(ids=ids, labels=label, fraction=fraction)
        if 0 not in chosen:
            raise _none_held_out(options, fraction)
    else:
        chosen = _stratified(options, ids=ids, labels_of=label, groups=grouped, categories=categories)
    result: list[int | None] = [None] * len(validated.photos)
    for index, fold in zip(training, chosen, strict=True):
        result[index] = fold
    return result


def check_choice(options: ConvertOptions, photos: Sequence[Photo]) -> None:
    """Checks whether the folds that are asked for can be chosen at all, if every photo can be used.

    Raises:
      UserError: as for `choose_folds`.
    """
    kept_folds(options)
    fraction = options.first_files_fraction
    counts = Counter(photo.category for photo in photos if photo.split == "train")
    if fraction is not None and int(fraction * max(counts.values())) == 0:
        raise _none_held_out(options, fraction)


def _none_held_out(options: ConvertOptions, fraction: float) -> UserError:
    return UserError(
        f"--split={options.split} holds out no photo, since no class of {options.input} has "
        f"{math.ceil(1 / fraction)}: give a larger fraction."
    )


def _stratified(
    options: ConvertOptions,
    *,
    ids: Sequence[str],
    labels_of: Sequence[int],
    groups: Sequence[int],
    categories: Sequence[str],
) -> list[int | None]:
    """Returns every training photo's fold; None if its class can be trained on or held out, but not both."""
    kept = kept_folds(options)
    for text in folds.bridges(ids=ids, groups=groups, kept=kept):
        print(f"Note: {text}", file=sys.stderr)
    dealt = folds.stratified_folds(
        ids=ids, labels=labels_of, groups=groups, folds=options.folds, seed=options.seed, kept=kept
    )
    lone = folds.lone_classes(labels=labels_of, groups=groups)
    result = [
        None if label in lone and photo_id not in kept else fold
        for photo_id, label, fold in zip(ids, labels_of, dealt, strict=True)
    ]
    if None in result:
        names = first_of([categories[label] for label in sorted(lone)])
        print(
            f"Note: the classes of one picture only ({len(lone):,}: {names}) are in no fold: their photos are always "
            "trained on, never held out.",
            file=sys.stderr,
        )
    return result


def kept_folds(options: ConvertOptions) -> dict[str, int]:
    """Returns Id → fold of the photos whose folds --keep_folds keeps; empty without the flag.

    Raises:
      UserError: it is not a data set, or has more folds than --folds.
    """
    if not options.keep_folds:
        return {}
    old = manifests.load_manifest(options.keep_folds.removesuffix(manifests.MANIFEST_FILE).rstrip("/") or ".")
    ids = old.read_ids("train")
    kept = {photo: int(fold) for photo, fold in zip(ids["id"], ids["fold"], strict=True) if fold >= 0}
    if kept and max(kept.values()) >= options.folds:
        raise UserError(
            f"--keep_folds={options.keep_folds} has {max(kept.values()) + 1} folds and --folds={options.folds}: give "
            "the same number."
        )
    return kept
