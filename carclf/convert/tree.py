"""All files of an input under one root: folders and zips have the same form, nested archives are opened in place."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from carclf.convert import sources
from carclf.convert.sources import Entry, Reader, Source
from carclf.errors import UserError

PHOTO_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", "")
)
TRAIN_FOLDERS = ("train", "training", "train_images", "train_upload")
VALIDATION_FOLDERS = ("val", "valid", "validation")
TEST_FOLDERS = ("test", "test_upload", "testing", "test_images")
KNOWN_FOLDERS = TRAIN_FOLDERS + VALIDATION_FOLDERS + TEST_FOLDERS


@dataclasses.dataclass
class Tree:
    """The files of an input.

    Attributes:
      container: 'folder' or 'zip', followed by 'with nested zips' if it has any.
      sources: of the entries.
      entries: files that may be read.
      refused: files that must not be read; each says why.
      notes: harmless findings, one sentence each.
    """

    container: str
    sources: list[Source]
    entries: list[Entry] = dataclasses.field(default_factory=list)
    refused: list[Entry] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def read(self, entry: Entry) -> bytes:
        """Returns the bytes of a file.

        Raises:
          UserError: it cannot be read.
        """
        try:
            return Reader(tuple(self.sources)).read(entry.source - self._first_source, entry.name)
        except OSError as error:
            raise UserError(f"{entry.path} cannot be read ({error}): fix or remove it.") from None

    _first_source: int = 0


def open_tree(path: str, *, first_source: int, spool: str, flag: str) -> Tree:
    """Lists the input at `path`; reads directories only.

    Args:
      path: a folder or a zip.
      first_source: the number of its first source.
      spool: folder for archives that are deflated inside an archive; created only if there are any.
      flag: the flag that named the path, for messages.

    Raises:
      UserError: there is nothing, or an archive is damaged.
    """
    if os.path.isdir(path):
        shown = os.path.basename(os.path.normpath(path)) if first_source else ""
        tree = Tree("folder", [Source(path, shown, False)], _first_source=first_source)
        listed = sources.folder_entries(path, source=first_source)
    elif os.path.isfile(path):
        outer = Source(path, os.path.basename(path), True)
        tree = Tree("zip", [outer], _first_source=first_source)
        with sources.open_archive(outer) as archive:
            listed = sources.archive_entries(archive, source=first_source)
    else:
        raise UserError(f"There is nothing at --{flag}={path}: give an existing folder or zip.")
    tree.refused = [entry for entry in listed if entry.problem]
    listed = _without_wrapper([entry for entry in listed if not entry.problem])
    folders = {entry.path.split("/")[0] for entry in listed if "/" in entry.path}
    for entry in listed:
        if not sources.is_nested_zip(entry.name) or "/" in entry.path:
            tree.entries.append(entry)
        elif (unpacked := folders & _stands_for(entry.path)) and _photos_under(listed, unpacked):
            tree.notes.append(f"{entry.path} was ignored: {min(unpacked)}/ is the unpacked copy next to it.")
        else:
            _expand(tree, entry, number=first_source + len(tree.sources), spool=spool)
    return tree


def under(entries: Iterable[Entry], folders: Sequence[str]) -> list[Entry]:
    """Returns the entries in a top-level folder with one of these names."""
    return [e for e in entries if "/" in e.path and e.path.split("/")[0].lower() in folders]


def is_photo(entry: Entry) -> bool:
    """Returns whether a file's name is that of a photo; its bytes are checked later."""
    name = PurePosixPath(entry.path)
    return name.suffix.lower() in PHOTO_SUFFIXES and not name.name.startswith(".")


def _stands_for(path: str) -> set[str]:
    stem = PurePosixPath(path).stem.lower()
    return {stem} | (set(TEST_FOLDERS) if stem in TEST_FOLDERS else set())


def _photos_under(entries: Iterable[Entry], folders: set[str]) -> bool:
    return any(entry.path.split("/")[0] in folders and is_photo(entry) for entry in entries)


def _expand(tree: Tree, entry: Entry, *, number: int, spool: str) -> None:
    """Adds the files of a nested zip in its place: under its name, unless it has train/ or test/ itself."""
    outer = tree.sources[0]
    if outer.is_zip:
        with sources.open_archive(outer) as archive:
            nested = sources.nested_source(outer, archive, entry.name, spool=spool)
    else:
        nested = Source(os.path.join(outer.path, *entry.name.split("/")), entry.path, True)
    with sources.open_archive(nested) as archive:
        inner = sources.archive_entries(archive, source=number)
    tree.refused += [dataclasses.replace(e, path=f"{entry.path}/{e.path}") for e in inner if e.problem]
    inner = [e for e in inner if not e.problem]
    tops = {e.path.split("/")[0].lower() for e in inner if "/" in e.path}
    flat = any("/" not in e.path for e in inner if is_photo(e))
    prefix = "" if not flat and tops and tops <= set(KNOWN_FOLDERS) else f"{PurePosixPath(entry.path).stem}/"
    tree.sources.append(nested)
    tree.entries += [dataclasses.replace(e, path=prefix + e.path) for e in inner]
    tree.container = f"{tree.container.split(' with')[0]} with nested zips"


def _without_wrapper(entries: list[Entry]) -> list[Entry]:
    """Returns the entries without folders that only wrap all others, such as one with the archive's name."""
    while entries:
        tops = {entry.path.split("/")[0] for entry in entries}
        top = min(tops)
        directly = [e for e in entries if e.path.count("/") == 1]
        has_archives = any(sources.is_nested_zip(e.path) for e in directly)
        only_wraps = has_archives or (
            any(e.path.count("/") > 1 for e in entries) and not any(is_photo(e) for e in directly)
        )
        loose = any("/" not in e.path for e in entries)
        if len(tops) != 1 or loose or top.lower() in KNOWN_FOLDERS or not only_wraps:
            break
        entries = [dataclasses.replace(e, path=e.path.removeprefix(f"{top}/")) for e in entries]
    return entries
