"""The rule of names: the class stands in the path of a photo, as in cat.0.jpg."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from carclf.convert.columns import divide_alike
from carclf.convert.photos import Findings, Photo, composed, ids_of
from carclf.convert.roles import Roles
from carclf.convert.sources import Entry
from carclf.errors import UserError
from carclf.wording import counted, first_of

_WORD_AND_NUMBER = re.compile(r"([A-Za-z]{2,})[._]\d+")
_WORDS_BEFORE_NUMBER = re.compile(r"(\D+?)[-_. ]?\d+")
_FIRST_WORDS = (r"^0*(\d+)_", "^([^_]+)_")
MOST_WORDS = 20  # more are no few classes
OF_CAMERAS = frozenset(
    (
        *("dsc", "dscf", "dscn", "dcim", "gopr", "mvi", "pano", "pict", "pxl", "sam", "vid", "wp"),
        *("image", "images", "img", "imgs", "jpeg", "jpg", "png", "photo", "photos", "pic", "picture", "video"),
        *("file", "frame", "id", "item", "row", "sample", "scan", "screenshot", "untitled", "train", "val", "test"),
    )
)


def check_pattern(text: str) -> None:
    """Checks that --label_pattern is a regular expression with a group.

    Raises:
      UserError: it is not.
    """
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise UserError(f"--label_pattern={text} is not a regular expression ({error}): correct it.") from None
    if not groups:
        raise UserError(f"--label_pattern={text} has no group: put the class in parentheses, as in '(cat|dog)\\.\\d+'.")


def by_pattern(entries: Sequence[Entry], roles: Roles, pattern: str, *, split: str, findings: Findings) -> list[Photo]:
    """Returns the photos whose class is the first group of the pattern.

    A pattern without a slash is searched in the names of the photos, or in their paths if no name fits.

    Args:
      entries: the photos.
      roles: of these and all other photos.
      pattern: the regular expression.
      split: of the photos.
      findings: added to; photos that do not fit are noted.
    """
    compiled = re.compile(pattern)
    texts = {entry.path: PurePosixPath(entry.path).name for entry in entries}
    if "/" in pattern or not any(map(compiled.search, texts.values())):
        texts = {entry.path: entry.path for entry in entries}
    matches = ((path, compiled.search(text)) for path, text in texts.items())
    classes = {path: found[1] for path, found in matches if found and found[1]}
    left = [path for path in texts if path not in classes]
    if left:
        count = counted(len(left), "photo does", "photos do")
        findings.notes.append(f"{count} not fit --label_pattern, left out: {first_of(left)}.")
    usable = [entry for entry in entries if entry.path in classes]
    return [
        Photo(photo_id, split, composed(classes[entry.path]), entry)
        for photo_id, entry in zip(ids_of(usable, roles), usable, strict=True)
    ]


def likely_pattern(entries: Sequence[Entry]) -> tuple[str, list[str]]:
    """Returns (pattern, words) of names that may be words and numbers, such as cloudy12.jpg, for a proposal; or "".

    Unlike `usual_pattern` this may be wrong, so it is never taken without asking.
    """
    found = [_WORDS_BEFORE_NUMBER.match(PurePosixPath(entry.path).name) for entry in entries]
    words = Counter(match[1] for match in found if match)
    if sum(words.values()) < len(found) or not 2 <= len(words) <= max(MOST_WORDS, len(found) // 3):
        return "", []
    if any(word.lower() in OF_CAMERAS for word in words):
        return "", []
    return (_WORDS_BEFORE_NUMBER.pattern, sorted(words)) if min(words.values()) > 1 else ("", [])


def folder_like_pattern(folders: Mapping[str, str]) -> str:
    """Returns a pattern of names that divides photos as their folders do, such as 00101__7.jpg in 001/01/; or "".

    Args:
      folders: path of a photo → the folders above it.
    """
    for pattern in _FIRST_WORDS:
        found = [re.match(pattern, PurePosixPath(path).name) for path in folders]
        if all(found) and divide_alike([match[1] for match in found if match], list(folders.values())):
            return pattern
    return ""


def usual_pattern(entries: Sequence[Entry]) -> str:
    """Returns the pattern that explains names such as cat.0.jpg and dog.0.jpg, or "".

    Every name must be a word and a number. There must be several words, each of several photos, and none may be one
    that cameras and programs write.
    """
    found = [_WORD_AND_NUMBER.fullmatch(PurePosixPath(entry.path).stem) for entry in entries]
    words = Counter(match[1] for match in found if match)
    if sum(words.values()) < len(found) or not 2 <= len(words) <= MOST_WORDS or min(words.values()) < 2:
        return ""
    if len({word.lower() for word in words}) < len(words) or any(word.lower() in OF_CAMERAS for word in words):
        return ""
    return rf"({'|'.join(sorted(words))})[._]\d+"
