"""What the folders above a photo say: training, validation, test, or annotations such as masks."""

import re
from collections import defaultdict
from collections.abc import Iterable

from carclf.convert.masks import masks_among

TRAIN, VALIDATION, TEST, ANNOTATION = "train", "validation", "test", "annotation"
_FORMATS = r"jpe?g|png|tiff?|tf_?rec(ord)?s?"
_KINDS = r"images?|photos?|pictures|imgs?|upload|data|set|dataset|dir|folder|split|stg|stage|v"
_WHAT = rf"([-_ ]?({_KINDS}|{_FORMATS}|\d+(x\d+)?))*"
ROLES = {  # role → the names of its folder, in lowercase
    TRAIN: re.compile(rf"train(ing)?{_WHAT}"),
    VALIDATION: re.compile(rf"(val(id(ation)?)?|dev){_WHAT}"),
    TEST: re.compile(rf"test(ing)?{_WHAT}"),
    ANNOTATION: re.compile(r"annotations?|trimaps?|segmentations?|ground[-_ ]?truths?"),
}
_SEPARATOR = re.compile(r"[-_ ]")
_WORD = re.compile(r"(?<![a-z])(train|training|val|valid|validation|dev|test|testing)(?![a-z])")


def role_of(folder: str) -> str:
    """Returns TRAIN, VALIDATION, TEST or ANNOTATION, according to a folder's name, or ""."""
    return next((role for role, names in ROLES.items() if names.fullmatch(folder.lower())), "")


def role_of_file(name: str) -> str:
    """Returns the role that a word in a file's name says, as in 'flowers_val-00001.tfrecord', or ""."""
    found = _WORD.search(name.lower())
    return role_of(found[1]) if found else ""


class Roles:
    """The roles of all photos of an input.

    A folder has the role of its name, such as `train_images`. Folders side by side that differ only in that word, such
    as `seg_train` and `seg_test`, have roles, too. The outermost folder with a role decides; annotations always do, and
    so does a photo that is the mask of another one.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        """Learns the folders of these files."""
        paths = list(paths)
        self._below: dict[str, set[str]] = defaultdict(set)
        for folder in {path.rpartition("/")[0] for path in paths}:
            while folder:
                folder, _, name = folder.rpartition("/")
                self._below[folder].add(name)
        self._known: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._pairs = {folder: _paired(names) for folder, names in self._below.items()}
        self._masks = masks_among(paths, self._below)

    def role(self, path: str) -> str:
        """Returns the role of a photo, or ""."""
        return ANNOTATION if path in self._masks else self._look(path)[0]

    def below(self, path: str) -> tuple[str, ...]:
        """Returns the folders above a photo that lie below the folder that gives it its role."""
        return self._look(path)[1]

    def may_test(self, path: str) -> bool:
        """Returns whether a photo may be one to predict: no folder above it holds training photos."""
        return self.role(path) not in (TRAIN, VALIDATION)

    def below_test(self, path: str) -> bool:
        """Returns whether a photo is a test photo, or an annotation below a folder of test photos."""
        role = self.role(path)
        return role == TEST or (role == ANNOTATION and TEST in map(role_of, path.split("/")[:-1]))

    def _look(self, path: str) -> tuple[str, tuple[str, ...]]:
        folder = path.rpartition("/")[0]
        if folder not in self._known:
            self._known[folder] = self._roles_in(folder.split("/") if folder else [])
        return self._known[folder]

    def _roles_in(self, parts: list[str]) -> tuple[str, tuple[str, ...]]:
        found = [self._role(parts, place) for place in range(len(parts))]
        if ANNOTATION in found:
            return ANNOTATION, tuple(parts[found.index(ANNOTATION) + 1 :])
        place = next((place for place, role in enumerate(found) if role), None)
        if place is None:
            return "", tuple(parts)
        role = found[place]
        while place + 1 < len(parts) and found[place + 1] == role:  # seg_train/seg_train
            place += 1
        return role, tuple(parts[place + 1 :])

    def _role(self, parts: list[str], place: int) -> str:
        name = parts[place]
        if role := role_of(name):
            return role
        if place and name == parts[place - 1]:  # the inner of two folders of one name
            return self._role(parts, place - 1)
        return self._pairs.get("/".join(parts[:place]), {}).get(name, "")


def _paired(names: Iterable[str]) -> dict[str, str]:
    """Returns name → role of folders side by side whose names are a common word and a role."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        for separator in _SEPARATOR.finditer(name):
            if (role := role_of(name[separator.end() :])) and role != ANNOTATION:
                found[name[: separator.start()].lower()][name] = role
    pairs = [roles for roles in found.values() if TRAIN in roles.values() and len(set(roles.values())) > 1]
    return {name: role for roles in pairs for name, role in roles.items()}
