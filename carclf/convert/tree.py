"""All files of an input under one root: folders and zips look the same, and nested archives are opened in place."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from carclf.convert import sources, zip_names
from carclf.convert.copies import largest_only, without_copies
from carclf.convert.folders import folder_entries
from carclf.convert.labels import named
from carclf.convert.roles import TEST, TRAIN, role_of
from carclf.convert.sources import Entry, Reader, Source
from carclf.errors import UserError

PHOTO_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"))
PHOTO_SUFFIXES |= {".avif", ".heic", ".heif", ".hif", ".jxl", ".jp2", ""}
TEXTS = frozenset(
    ["readme", "license", "licence", "copying", "notice", "authors", "changelog", "version", "makefile", "dockerfile"]
)


@dataclasses.dataclass
class Tree:
    """The files of an input.

    Attributes:
      container: 'folder' or 'zip', followed by 'with nested zips' if it has any.
      sources: of the entries.
      entries: files that may be read.
      refused: files that must not be read, with the reason.
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


def open_tree(path: str, *, first_source: int, spool: str, flag: str, zip_encoding: str = "") -> Tree:
    """Lists the input at `path`, reading directories only.

    Args:
      path: a folder or a zip.
      first_source: the index of its first source.
      spool: folder for archives that are deflated inside an archive; created only if there are any.
      flag: the flag that named the path, for messages.
      zip_encoding: of the names in zips that are not flagged as UTF-8; "" detects it.

    Raises:
      UserError: nothing is there, or an archive is damaged.
    """
    if os.path.isdir(path):
        shown = os.path.basename(os.path.normpath(path)) if first_source else ""
        tree = Tree("folder", [Source(path, shown, False)], _first_source=first_source)
        listed = folder_entries(path, source=first_source)
    elif os.path.isfile(path):
        tree = Tree("zip", [], _first_source=first_source)
        outer = _named_source(tree, Source(path, os.path.basename(path), True), zip_encoding)
        tree.sources.append(outer)
        with sources.open_archive(outer) as archive:
            listed = sources.archive_entries(archive, source=first_source)
    else:
        raise UserError(f"There is nothing at --{flag}={path}: give an existing folder or zip.")
    listed = _readable(tree, listed, shown=lambda path: path)
    listed = _without_wrapper(largest_only(without_copies(listed, tree.notes), tree.notes))
    folders = {entry.path.split("/")[0] for entry in listed if "/" in entry.path}
    for entry in listed:
        if not sources.is_nested_zip(entry.name) or "/" in entry.path:
            tree.entries.append(entry)
        elif (unpacked := _stands_for(entry.path, folders)) and _photos_under(listed, unpacked):
            tree.notes.append(f"{entry.path} was ignored: {min(unpacked)}/ is the unpacked copy next to it.")
        else:
            number = first_source + len(tree.sources)
            _expand(tree, entry, number=number, spool=spool, zip_encoding=zip_encoding)
    return tree


def is_photo(entry: Entry) -> bool:
    """Returns whether a file's name is that of a photo; its bytes are checked later."""
    name = PurePosixPath(entry.path)
    known = name.suffix.lower() in PHOTO_SUFFIXES and name.name.lower() not in TEXTS
    return known and not name.name.startswith(".")


def _readable(tree: Tree, listed: Sequence[Entry], *, shown: Callable[[str], str]) -> list[Entry]:
    """Returns the entries that may be read; refuses others, and reports clutter and links in notes.

    Args:
      tree: added to.
      listed: of one source.
      shown: returns the path in the whole input.
    """
    if clutter := sorted({entry.clutter for entry in listed if entry.clutter}):
        count, verb = ("1 folder", "was") if len(clutter) == 1 else (f"{len(clutter):,} folders", "were")
        names = named(list(map(shown, clutter)))
        tree.notes.append(f"{count} of programs or the file system {verb} left out: {names}.")
    listed = [entry for entry in listed if not entry.clutter]
    if links := [entry.path for entry in listed if entry.link and not entry.problem]:
        tree.notes.append(f"{len(links):,} symbolic links were followed: {named(links)}.")
    tree.refused += [dataclasses.replace(e, path=shown(e.path)) for e in listed if e.problem]
    return [entry for entry in listed if not entry.problem]


def _named_source(tree: Tree, source: Source, encoding: str) -> Source:
    """Returns the source with the encoding of its names: `encoding`, or the one detected, with a note."""
    with sources.open_archive(dataclasses.replace(source, encoding="")) as archive:
        names = zip_names.unflagged_names(archive)
    if not names or encoding:
        return dataclasses.replace(source, encoding=encoding)
    found = zip_names.likely_encodings(names)
    encoding = found[0] if len(found) == 1 else ""
    first = names[0].decode(encoding or "cp437")
    count = "1 name" if len(names) == 1 else f"{len(names):,} names"
    tree.notes.append(
        f"{count} in {source.shown} without the UTF-8 flag {'was' if len(names) == 1 else 'were'} read as "
        f"{encoding or 'cp437'} (first: {first}): give --zip_encoding if that is wrong."
        + (f" It may be {' or '.join(found)}." if len(found) > 1 else "")
    )
    return dataclasses.replace(source, encoding=encoding)


def _stands_for(path: str, folders: set[str]) -> set[str]:
    """Returns those of `folders` that, by name, hold the same files as the archive."""
    stem = PurePosixPath(path).stem.lower()
    role = role_of(stem)
    return {name for name in folders if name.lower() == stem or (role == TEST and role_of(name) == TEST)}


def _photos_under(entries: Iterable[Entry], folders: set[str]) -> bool:
    return any(entry.path.split("/")[0] in folders and is_photo(entry) for entry in entries)


def _expand(tree: Tree, entry: Entry, *, number: int, spool: str, zip_encoding: str) -> None:
    """Adds the files of a nested zip in its place: under its name, unless it contains train/ or test/ itself."""
    outer = tree.sources[0]
    if outer.is_zip:
        with sources.open_archive(outer) as archive:
            nested = sources.nested_source(outer, archive, entry.name, spool=spool)
    else:
        nested = Source(os.path.join(outer.path, *entry.name.split("/")), entry.path, True)
    nested = _named_source(tree, nested, zip_encoding)
    with sources.open_archive(nested) as archive:
        inner = sources.archive_entries(archive, source=number)
    inner = _readable(tree, inner, shown=lambda path: f"{entry.path}/{path}")
    tops = {e.path.split("/")[0] for e in inner if "/" in e.path}
    flat = any("/" not in e.path for e in inner if is_photo(e))
    prefix = "" if not flat and tops and all(map(role_of, tops)) else f"{PurePosixPath(entry.path).stem}/"
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
        inner = {entry.path.split("/")[1] for entry in entries if entry.path.count("/") > 1}
        splits = role_of(top) and not any(role_of(name) == TRAIN for name in inner - tops)
        if len(tops) != 1 or loose or splits or not only_wraps:
            break
        entries = [dataclasses.replace(e, path=e.path.removeprefix(f"{top}/")) for e in entries]
    return entries
