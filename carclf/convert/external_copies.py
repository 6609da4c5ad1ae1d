"""External photos that are copies of training photos: they would be trained on while their originals are held out."""

from collections.abc import Sequence

from carclf.convert.duplicates import Group
from carclf.convert.validated import Validated
from carclf.data.lists import SCENE
from carclf.wording import counted, first_of


def without_copies(validated: Validated, groups: Sequence[Group]) -> tuple[Validated, list[Group]]:
    """Leaves out external photos that are the same picture as a training photo; those of the same scene stay.

    Args:
      validated: the photos to be stored.
      groups: of `carclf.convert.duplicates.find_groups`.

    Returns:
      Both without these photos. The copies are among the rejected ones, and a note counts them.
    """
    originals: dict[int, int] = {}
    for group in groups:
        splits = {index: validated.photos[index].split for index in group.members}
        trained = [index for index, split in splits.items() if split == "train"]
        if trained and group.kind != SCENE:
            originals |= {index: trained[0] for index, split in splits.items() if split == "extra"}
    if not originals:
        return validated, list(groups)
    copies = {copy: validated.photos[original] for copy, original in sorted(originals.items())}
    note = (
        f"{counted(len(copies), 'external photo is a copy', 'external photos are copies')} of a training photo and "
        "left out, since training would see photos that are held out: "
        f"{first_of([validated.shown(validated.photos[copy]) for copy in copies])}."
    )
    reasons = {copy: f"is a copy of the training photo {original.id}" for copy, original in copies.items()}
    stored = [index for index in range(len(validated.photos)) if index not in copies]
    number_of = {index: number for number, index in enumerate(stored)}
    left = [Group(group.kind, tuple(number_of[i] for i in group.members if i in number_of)) for group in groups]
    return validated.without(reasons, kind="copy", note=note), [group for group in left if len(group.members) > 1]
