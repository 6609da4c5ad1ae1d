"""The rule of folders: the class is the folder directly above the photo, at whatever depth."""

from collections.abc import Mapping, Sequence

from carclf.convert.labels import named
from carclf.convert.photos import Findings, Photo, composed, ids_of
from carclf.convert.roles import VALIDATION, Roles, role_of
from carclf.convert.sources import Entry
from carclf.errors import UserError
from carclf.wording import counted

NO_CLASSES = frozenset(("images", "imgs", "photos", "pictures", "annotations", "masks", "jpg", "jpeg", "jpegs", "png"))
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
        findings.notes.append(f"{count} in no class folder, left out: {named(loose)}.")
    usable = [entry for entry in entries if entry.path in classes]
    _note_several(classes, roles, findings)
    return [
        Photo(photo_id, split, classes[entry.path], entry)
        for photo_id, entry in zip(ids_of(usable, roles), usable, strict=True)
    ]


def _note_several(classes: Mapping[str, str], roles: Roles, findings: Findings) -> None:
    """Notes that class folders of the same names lie in several folders, such as color/ and grayscale/."""
    above: dict[str, set[tuple[str, ...]]] = {}
    for path, name in classes.items():
        folders = tuple(map(composed, roles.below(path)))
        above.setdefault(name, set()).add(folders[: folders.index(name)] if name in folders else folders)
    several = {folders for found in above.values() if len(found) > 1 for folders in found}
    if several:
        names = named(sorted("/".join(folders) or "." for folders in several))
        findings.notes.append(f"Class folders of the same names lie in {names}: the photos of all of them were taken.")


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
