"""Photos that are masks of other photos, such as images/1.png and masks/1.png, or 1.png and 1_mask.png."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

_FOLDER = re.compile(r"masks?")
_IMAGES = re.compile(r"(train|training|val|valid|validation|test|testing)?[-_ ]?(images?|imgs?|photos?|pictures|data|"
                     r"jpe?gs?|pngs?)?")  # fmt: skip
_OF_ANOTHER = re.compile(r"(.+?)[-_ ](mask|segmentation|superpixel|trimap)s?([-_ ]?\d+)?", re.IGNORECASE)
_WORD = re.compile("mask|segmentation|superpixel|trimap", re.IGNORECASE)


def masks_among(paths: Iterable[str], below: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Returns the paths of masks: photos that are named after another one, in its folder or in masks/ beside images/.

    Args:
      paths: of all photos.
      below: folder → the names of the folders in it.
    """
    paths = list(paths)
    marked = [path for path in paths if _WORD.search(path)]
    stems = {path.rpartition(".")[0] for path in paths} if marked else set()
    return frozenset(path for path in marked if any(original in stems for original in _originals(path, below)))


def _originals(path: str, below: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yields the paths, without extension, of photos that a photo may be the mask of."""
    *folders, name = path.rpartition(".")[0].split("/")
    of_another = _OF_ANOTHER.fullmatch(name)
    names = [of_another[1]] if of_another else []
    yield from ("/".join([*folders, other]) for other in names)
    for place, folder in enumerate(folders):
        if _FOLDER.fullmatch(folder.lower()):
            for beside in below["/".join(folders[:place])]:
                if beside != folder and _IMAGES.fullmatch(beside.lower()):
                    inner = [*folders[:place], beside, *folders[place + 1 :]]
                    yield from ("/".join([*inner, other]) for other in (name, *names))
