"""Augmented copies, recognised by the names that programs give them: copies of one photo stay in one fold."""

import collections
import dataclasses
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from carclf.convert.file_kinds import extension_of
from carclf.convert.photos import Photo
from carclf.wording import counted

# The name of a copy without its extension, by the program that wrote it. `original` is the name of the photo.
COPY_NAMES: dict[str, re.Pattern[str]] = {
    "Roboflow": re.compile(r"(?P<original>.+)\.rf\.[0-9A-Za-z]{16,}"),
    "Augmentor": re.compile(r"[^/]+_original_(?P<original>.+)_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "augmentation": re.compile(
        r"(?P<original>.+?)([-_ ](aug(mented|mentation)?|[hv]?_?flip(ped)?|mirror(ed)?|rot(ated?|ation)?|"
        r"bright(er|ness)?|dark(er)?|blur(red)?|nois[ey]|zoom(ed)?|shear(ed)?|crop(ped)?)[-_ ]?\d{0,4})+",
        re.IGNORECASE,
    ),
}
MOST_COPIES = 100  # of one photo; a name that more photos share is no photo's


def with_copies(photos: Sequence[Photo], *, unnamed: Collection[str] = ()) -> tuple[list[Photo], str]:
    """Returns (the photos, copies of one in a group of their own, a note or "").

    A photo that has a group keeps it.

    Args:
      photos: of the input.
      unnamed: paths of photos without a name of their own, such as those in records without Ids.
    """
    copies = _copies(photos, unnamed=unnamed)
    group_of = {number: name for name, numbers in copies.items() for number in numbers}
    marked = [
        dataclasses.replace(photo, group=photo.group or group_of.get(number, "")) for number, photo in enumerate(photos)
    ]
    if not copies:
        return marked, ""
    first = " and ".join(photos[number].id for number in min(copies.values())[:2])
    found = f"{len(group_of):,} photos are copies of {counted(len(copies), 'picture')} by their names"
    return marked, f"{found} (first: {first}): those of one picture stay in one fold."


def _copies(photos: Iterable[Photo], *, unnamed: Collection[str]) -> dict[str, list[int]]:
    """Returns the numbers of the training photos of each picture that has several, by a name for the picture.

    Photos of an original's name belong to its copies. Names after which nothing tells the pictures of a class apart,
    such as `bmw_dark_1` and `bmw_dark_2` without a photo `bmw`, are no copies.
    """
    named, originals = collections.defaultdict(list), {}
    for number, photo in enumerate(photos):
        if photo.split != "train" or photo.entry.path in unnamed:
            continue
        stem = PurePosixPath(photo.entry.path).name.removesuffix(extension_of(photo.entry.path))
        original = original_of(stem)
        named[photo.category, original or stem].append(number)
        originals[number] = original
    return {
        f"copies of {category}/{name}": numbers
        for (category, name), numbers in named.items()
        if 1 < len(numbers) <= MOST_COPIES
        and any(originals[number] for number in numbers)
        and (any(character.isdigit() for character in name) or not all(originals[number] for number in numbers))
    }


def original_of(stem: str) -> str:
    """Returns the name of the photo that a file of this name, without its extension, is a copy of, or ""."""
    found = next((match for pattern in COPY_NAMES.values() if (match := pattern.fullmatch(stem))), None)
    return found["original"] if found else ""
