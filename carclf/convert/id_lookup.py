"""Finds the photo that an Id means: the one it names, else the only one that it can mean."""

import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from carclf.convert.file_kinds import PHOTO_SUFFIXES, SOURCE_SUFFIXES, extension_of
from carclf.convert.sources import Entry
from carclf.errors import UserError
from carclf.wording import counted, first_of

Rank = Callable[[Entry], int]
Advice = Callable[[Sequence[Entry]], str]
ONLY_EXACTLY = 9  # the rank from which on a photo must be named as it is


def _equal(entry: Entry) -> int:
    return 0


def _write_or_remove(found: Sequence[Entry]) -> str:
    return "write the path, or remove one"


class Lookup:
    """Finds the photos of Ids: by path, end of a path or name, each with or without extension.

    An Id that names no photo this way is compared once more, in Unicode's composed form, with lowercase letters and
    forward slashes on both sides, and without './', spaces around names, the folders that all Ids start with, and the
    extension, of a photo or of the recording that it shows. It then means a photo if exactly one matches and no other
    Id names that one.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Indexes the photos."""
        self.entries = list(entries)
        self._first: dict[str, Entry] = {}
        self._further: dict[str, list[Entry]] = {}  # of few keys, and a list for every key would double the memory
        for entry in self.entries:
            for key in keys_of(entry):
                if self._first.setdefault(key, entry) is not entry:
                    self._further.setdefault(key, []).append(entry)

    def named(self, photo_id: str) -> str:
        """Returns the path of a photo that an Id names exactly as written, the first of several, or ""."""
        found = self._first.get(photo_id)
        return found.path if found else ""

    def get(self, photo_id: str, shown: str, *, rank: Rank = _equal, advice: Advice = _write_or_remove) -> Entry | None:
        """Returns the photo that an Id names exactly as written.

        Args:
          photo_id: the Id.
          shown: the name of its file in messages.
          rank: settles ties: of several photos the one of the lowest rank is meant.
          advice: returns what to do where an Id names these photos.

        Raises:
          UserError: it names several.
        """
        if photo_id not in self._further:
            return self._first.get(photo_id)
        found = [self._first[photo_id], *self._further[photo_id]]
        # A match with its extension beats one without.
        found = [e for e in found if e.path == photo_id or e.path.endswith(f"/{photo_id}")] or found
        if len(found) > 1:
            lowest = min(map(rank, found))
            found = [e for e in found if rank(e) == lowest]
        if len(found) > 1:
            paths = first_of([entry.path for entry in found])
            raise UserError(f"{shown} names {photo_id} and there are {paths}: {advice(found)}.")
        return found[0]

    def match(
        self,
        ids: Collection[str],
        shown: str,
        *,
        rank: Rank = _equal,
        taken: Collection[str] = (),
        advice: Advice = _write_or_remove,
    ) -> tuple[dict[str, Entry], str]:
        """Returns (Id → photo, a note or "").

        Args:
          ids: of one file.
          shown: the name of that file in messages.
          rank: settles ties: of several photos the one of the lowest rank is meant; from ONLY_EXACTLY on, none loosely.
          taken: paths of photos that another file names.
          advice: returns what to do where an Id names several photos.

        Raises:
          UserError: an Id names several photos.
        """
        found = ((photo_id, self.get(photo_id, shown, rank=rank, advice=advice)) for photo_id in ids)
        matches = {photo_id: entry for photo_id, entry in found if entry}
        missing = [photo_id for photo_id in ids if photo_id not in matches]
        if not missing:
            return matches, ""
        gone = {entry.path for entry in matches.values()} | set(taken)
        near = [e for e in self.entries if e.path not in gone and rank(e) < ONLY_EXACTLY]
        loosely = _match_loosely(missing, near, common=_common_folders(ids))
        note = ""
        if loosely:
            first, entry = next(iter(loosely.items()))
            note = (
                f"{counted(len(loosely), 'Id')} of {shown} matched one photo only without regard to case, folders, "
                f"extension, spaces or Unicode form (first: {first} is {entry.path})."
            )
        return matches | loosely, note


def _match_loosely(ids: Iterable[str], entries: Iterable[Entry], *, common: int) -> dict[str, Entry]:
    """Returns Id → the only photo that it can mean; two Ids of one photo mean none."""
    index: dict[str, set[str]] = {}
    by_path = {entry.path: entry for entry in entries}
    for path in by_path:
        parts = _loose(path)
        for start in range(len(parts)):
            key = "/".join(parts[start:])
            for form in {key, _stem(key)}:
                index.setdefault(form, set()).add(path)
    found = {photo_id: path for photo_id in ids if (path := _only(photo_id, index, common=common))}
    times: dict[str, int] = {}
    for path in found.values():
        times[path] = times.get(path, 0) + 1
    return {photo_id: by_path[path] for photo_id, path in found.items() if times[path] == 1}


def _only(photo_id: str, index: Mapping[str, set[str]], *, common: int) -> str:
    """Returns the path of the only photo that an Id can mean, or ""."""
    parts = _loose(photo_id)
    for start in range(min(common, len(parts) - 1) + 1):
        key = "/".join(parts[start:])
        for form in (key, _stem(key)):
            if paths := index.get(form):
                return next(iter(paths)) if len(paths) == 1 else ""
    return ""


def _loose(text: str) -> list[str]:
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).replace("\\", "/")
    return [part for part in map(str.strip, text.split("/")) if part not in ("", ".")]


def _stem(key: str) -> str:
    suffix = PurePosixPath(key).suffix
    return key.removesuffix(suffix) if suffix and suffix in PHOTO_SUFFIXES | SOURCE_SUFFIXES else key


def _common_folders(ids: Iterable[str]) -> int:
    """Returns the number of leading folders that all Ids share, such as those of another machine."""
    folders = [_loose(photo_id)[:-1] for photo_id in ids]
    first, last = min(folders, default=[]), max(folders, default=[])
    return next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def keys_of(entry: Entry) -> set[str]:
    """Returns the Ids that may mean a file: its path and every end of the path, with and without extension."""
    parts = entry.path.split("/")
    tails = {"/".join(parts[start:]) for start in range(len(parts))}
    suffix = extension_of(entry.path)
    return tails | ({tail.removesuffix(suffix) for tail in tails} if suffix else set())
