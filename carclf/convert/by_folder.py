"""The rule of folders: the class is the folder directly above the photo, at whatever depth."""

import re
from collections.abc import Collection, Mapping, Sequence

from carclf.convert.photos import Findings, Photo, composed, ids_of
from carclf.convert.roles import VALIDATION, Roles, role_of
from carclf.convert.sources import Entry
from carclf.errors import UserError
from carclf.wording import counted, first_of

NO_CLASSES = frozenset(("images", "imgs", "photos", "pictures", "annotations", "masks", "jpg", "jpeg", "jpegs", "png"))
_VARIANT = re.compile(  # a folder that holds the classes of the folders beside it once more
    r"(colou?rs?|gr[ae]y([-_ ]?scale)?|rgb|bw|segmented|raw|originals?|augmented|aug|cropped|resized|(pre)?processed)"
    r"([-_ ]?(images?|photos?|data))?|(batch|fold|part|session|set|split)[-_ ]?(\d+|[a-z])"
)
Folders = dict[str, tuple[str, ...]]  # path of a photo → the folders above it that count


def by_folder(entries: Sequence[Entry], roles: Roles, *, split: str, findings: Findings) -> list[Photo]:
    """Returns the photos of class folders; notes those that lie in none. Photos of validation need a class of training.

    Args:
      entries: the photos.
      roles: of these and all other photos.
      split: of the photos.
      findings: added to.

    Raises:
      UserError: photos lie at different depths.
    """
    held = [entry for entry in entries if roles.role(entry.path) == VALIDATION]
    classes = folder_classes([entry for entry in entries if roles.role(entry.path) != VALIDATION], roles)
    validation = folder_classes(held, roles)
    if not classes or set(classes.values()) & set(validation.values()):
        classes |= validation
    loose = [entry.path for entry in entries if entry.path not in classes]
    if loose:
        count = counted(len(loose), "photo lies", "photos lie")
        findings.notes.append(f"{count} in no class folder, left out: {first_of(loose)}.")
    usable = [entry for entry in entries if entry.path in classes]
    _note_several(classes, roles, findings)
    return [
        Photo(photo_id, split, classes[entry.path], entry)
        for photo_id, entry in zip(ids_of(usable, roles), usable, strict=True)
    ]


def _note_several(classes: Mapping[str, str], roles: Roles, findings: Findings) -> None:
    """Notes that class folders of the same names lie in several folders, such as color/ and grayscale/."""
    several = {folders for found in _above(classes, roles).values() if len(found) > 1 for folders in found}
    if several:
        names = first_of(sorted("/".join(folders) or "." for folders in several))
        findings.notes.append(f"Class folders of the same names lie in {names}: the photos of all of them were taken.")


def _above(classes: Mapping[str, str], roles: Roles) -> dict[str, set[tuple[str, ...]]]:
    """Returns class → the folders that its folders lie in."""
    above: dict[str, set[tuple[str, ...]]] = {}
    for path, name in classes.items():
        above.setdefault(name, set()).add(_outside(path, name, roles))
    return above


def _outside(path: str, name: str, roles: Roles) -> tuple[str, ...]:
    """Returns the folders above the class folder of a photo."""
    folders = tuple(map(composed, roles.below(path)))
    return folders[: len(folders) - 1 - folders[::-1].index(name)] if name in folders else folders


def merged(classes: Mapping[str, str], roles: Roles) -> dict[str, list[str]]:
    """Returns class → the folders that its folders lie in, of classes that may be several, as 000/01/ and 001/01/ are.

    Folders such as color/ and grayscale/, and folders of the same photos, hold the same classes.

    Args:
      classes: path of a photo → its class.
      roles: of the photos.
    """
    several = {name: found for name, found in _above(classes, roles).items() if len(found) > 1}
    names = {folder for found in several.values() for folders in found for folder in folders}
    shared = set.intersection(*(set(folders) for found in several.values() for folders in found)) if several else set()
    if all(map(_VARIANT.fullmatch, map(str.casefold, names - shared))) or _same_photos(classes, several, roles):
        return {}
    return {name: sorted("/".join(folders) or "." for folders in found) for name, found in several.items()}


def _same_photos(classes: Mapping[str, str], several: Collection[str], roles: Roles) -> bool:
    """Returns whether the photos in each of several folders have the same names, and each name is of one class."""
    stems: dict[tuple[str, ...], dict[str, str]] = {}
    for path, name in classes.items():
        if name in several:
            stem = path.rpartition("/")[2].rpartition(".")[0]
            if stems.setdefault(_outside(path, name, roles), {}).setdefault(stem, name) != name:
                return False
    first, *others = stems.values() or [{}]
    return all(other == first for other in others)


def folder_classes(entries: Sequence[Entry], roles: Roles) -> dict[str, str]:
    """Returns path → class of the photos that lie in class folders.

    Folders that all photos share are no classes, whether they lie outside, as `data/`, or inside, as `0/images/` and
    `1/images/`. A photo directly in a folder that all others share lies in no class folder.

    Raises:
      UserError: photos lie at different depths.
    """
    folders = _below_shared({entry.path: roles.below(entry.path) for entry in entries})
    while len({below[-1] for below in folders.values()}) == 1 and all(len(below) > 1 for below in folders.values()):
        folders = {path: below[:-1] for path, below in folders.items()}
    _check_depths(folders)
    return {path: composed(below[-1]) for path, below in folders.items()}


def _below_shared(folders: Folders) -> Folders:
    """Returns the folders below those that all photos share, without the photos that lie directly in these."""
    folders = {path: below for path, below in folders.items() if below}
    while len({below[0] for below in folders.values()}) == 1 and any(len(below) > 1 for below in folders.values()):
        folders = {path: below[1:] for path, below in folders.items() if len(below) > 1}
    return folders


def _check_depths(folders: Folders) -> None:
    depths: dict[int, str] = {}
    for path, below in folders.items():
        depths.setdefault(len(below), path)
    if len(depths) > 1:
        shallow, deep = depths[min(depths)], depths[max(depths)]
        raise UserError(
            f"Photos lie at different depths below the class folders, such as {shallow} and {deep}: give the folder "
            "directly above the class folders, or move the others out of it."
        )


def other_folders(classes: Mapping[str, str], roles: Roles) -> dict[str, str]:
    """Returns path → folder of photos below a folder that is called as one of another purpose usually is.

    Args:
      classes: path of a photo → its class.
      roles: of the photos.
    """
    folders = {path: {composed(name) for name in roles.below(path)} for path in classes}
    shared = set.intersection(*folders.values()) if folders else set()
    found = {}
    for path, name in classes.items():
        wrong = [name] if name.lower() in NO_CLASSES else []
        wrong += [folder for folder in sorted(folders[path] - shared | {name}) if _has_role(folder)]
        if wrong:
            found[path] = wrong[0]
    return found


def _has_role(name: str) -> bool:
    """Returns whether a folder's name is that of a split, alone or as its last word."""
    return bool(role_of(name) or role_of(name.replace("_", " ").replace("-", " ").rpartition(" ")[2]))


def folder_pattern(path: str, name: str, *, folders: int = 1) -> str:
    """Returns the argument that reads the classes from the folders at the depth of one above a photo.

    Args:
      path: of the photo.
      name: of the folder.
      folders: how many folders make the class; the last one is that of this name.
    """
    inside = [composed(folder) for folder in path.split("/")][::-1].index(name)
    return f"--label_pattern='({'/'.join(['[^/]+'] * folders)}){'/[^/]+' * inside}$'"
