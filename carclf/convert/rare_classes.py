"""Classes with very few training photos: names them, and leaves them out on request."""

from collections import Counter
from collections.abc import Mapping, Sequence, Sized

from carclf.convert.photos import Photo
from carclf.errors import UserError
from carclf.forms import Sample
from carclf.wording import counted

NAMED = 5  # classes in a message


def rare_classes(photos: Sequence[Photo], *, least: int) -> dict[str, int]:
    """Returns category → number of training photos of every class with fewer than `least`, the rarest first."""
    counts = Counter(photo.category for photo in photos if photo.split == "train")
    rare = sorted((count, category) for category, count in counts.items() if count < least)
    return {category: count for count, category in rare}


def reason(least: int) -> str:
    """Returns why a photo of such a class is not stored, for rejected.csv."""
    return f"its class has fewer than {least} training photos"


def check_left_out(rare: Mapping[str, int], photos: Sequence[Photo], *, least: int, sample: Sample | None) -> None:
    """Checks that some classes remain, and that the sample submission has no column for one that is left out.

    Args:
      rare: what is left out.
      photos: all that can be used.
      least: the option.
      sample: the sample submission, or None.

    Raises:
      UserError: no class remains, or the sample submission has such a column.
    """
    counts = Counter(photo.category for photo in photos if photo.split == "train")
    if counts and len(rare) == len(counts):
        raise UserError(
            f"--min_photos_per_class={least} leaves no class, since the largest has {max(counts.values())} training "
            "photos: give a smaller number."
        )
    columns = {name.strip() for name in sample.header if name != sample.id_column} if sample else set()
    if missing := [category for category in rare if category in columns]:
        raise UserError(
            f"--min_photos_per_class={least} would leave out {described({name: rare[name] for name in missing})}, for "
            "which the sample submission has a column: give a smaller number."
        )


def described(rare: Mapping[str, int]) -> str:
    """Returns the classes with their counts, such as 'coupe (1), van (2)'; only the first if there are many."""
    shown = [f"{category} ({count})" for category, count in list(rare.items())[:NAMED]]
    return ", ".join(shown) + (f" and {len(rare) - NAMED} more" if len(rare) > NAMED else "")


def notes(rare: Mapping[str, int], single: Mapping[str, int], *, least: int) -> list[str]:
    """Returns what a reader should know: which classes were left out, and which have a single training photo.

    Args:
      rare: those that are left out.
      single: those with one photo that stay.
      least: the option.
    """
    said = []
    if rare:
        said.append(
            f"{_have(rare)} fewer than {least} training photos and were left out, with their external photos: "
            f"{described(rare)}. Test photos of such a class stay, and cannot be predicted right."
        )
    if single:
        said.append(
            f"{_have(single)} a single training photo, so no figure tells how well it is recognised: "
            f"{described(single)}; --min_photos_per_class=2 leaves such classes out."
        )
    return said


def _have(classes: Sized) -> str:
    return counted(len(classes), "class has", "classes have")
