"""All files of an input under one root: folders and archives look the same, and nested ones are opened in place."""

import dataclasses
import functools
import os
from collections.abc import Callable, Collection, Iterable, Sequence

from carclf import storage
from carclf.convert.archives import file_source, open_files
from carclf.convert.copies import largest_only, without_copies
from carclf.convert.damaged import OnDamaged
from carclf.convert.embedded import RecordPhoto, expand_embedded
from carclf.convert.file_kinds import is_archive, is_parquet, is_photo_name, is_record_file, stem_of_archive
from carclf.convert.folders import folder_entries
from carclf.convert.roles import TEST, TRAIN, role_of
from carclf.convert.sources import Entry, Reader, Source
from carclf.errors import DamagedFileError, UserError
from carclf.storage import copies
from carclf.wording import counted, first_of


@dataclasses.dataclass
class Tree:
    """The files of an input.

    Attributes:
      container: 'folder', 'zip', 'tar' or 'file', followed by 'with nested zips' or 'with nested tars' if it has any.
      sources: of the entries.
      entries: files that may be read.
      refused: files that must not be read, with the reason.
      notes: harmless findings, one sentence each.
      records: path → what a file of records says of the photo in it.
      class_names: category → name, of a file of records that names its classes.
      label_columns: of the files of records.
    """

    container: str
    sources: list[Source]
    entries: list[Entry] = dataclasses.field(default_factory=list)
    refused: list[Entry] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    records: dict[str, RecordPhoto] = dataclasses.field(default_factory=dict)
    class_names: dict[str, str] = dataclasses.field(default_factory=dict)
    label_columns: set[str] = dataclasses.field(default_factory=set)

    @property
    def next_source(self) -> int:
        """The index of the next source."""
        return self._first_source + len(self.sources)

    def source_of(self, entry: Entry) -> Source:
        """Returns the source of an entry."""
        return self.sources[entry.source - self._first_source]

    def read(self, entry: Entry) -> bytes:
        """Returns the bytes of a file.

        Raises:
          UserError: it cannot be read.
        """
        try:
            return self._reader.read(entry.source - self._first_source, entry.name)
        except OSError as error:
            raise UserError(f"{entry.path} cannot be read ({error}): fix or remove it.") from None

    def close(self) -> None:
        """Closes the archives that were read from."""
        self._reader.close()

    _first_source: int = 0

    @functools.cached_property
    def _reader(self) -> Reader:
        return Reader(self.sources)


def open_tree(
    path: str,
    *,
    first_source: int,
    spool: str,
    flag: str,
    zip_encoding: str = "",
    label_column: str = "",
    on_damaged: OnDamaged = OnDamaged(),  # noqa: B008 - it is frozen
) -> Tree:
    """Lists the input at `path`, reading directories only.

    Args:
      path: a folder, an archive, or a file of records.
      first_source: the index of its first source.
      spool: folder for archives that are deflated inside an archive; created only if there are any.
      flag: the flag that named the path, for messages.
      zip_encoding: of the names in zips that are not flagged as UTF-8; "" detects it.
      label_column: of files of records, if they have it; "" recognises it.
      on_damaged: what is done with a damaged archive, or file of records, inside the input.

    Raises:
      UserError: nothing is there, or an archive is damaged.
    """
    if storage.is_remote(path):
        path = str(copies.local_path(path))
    if os.path.isdir(path):
        shown = os.path.basename(os.path.normpath(path)) if first_source else ""
        tree = Tree("folder", [Source(path, shown, False)], _first_source=first_source)
        listed = folder_entries(path, source=first_source)
    elif os.path.isfile(path):
        tree = Tree("", [], _first_source=first_source)
        listed = _listed_file(tree, path, number=first_source, spool=spool, zip_encoding=zip_encoding)
    else:
        raise UserError(f"There is nothing at --{flag}={path}: give an existing folder or zip.")
    listed = _readable(tree, listed, shown=lambda path: path)
    listed = _without_wrapper(without_copies(listed, tree.notes))
    _add(tree, listed, spool=spool, zip_encoding=zip_encoding, on_damaged=on_damaged)
    tree.entries = largest_only(_without_wrapper(tree.entries), tree.notes)
    embedded = expand_embedded(tree, spool=spool, label_column=label_column, on_damaged=on_damaged)
    tree.entries = [*tree.entries, *embedded]
    return tree


def _listed_file(tree: Tree, path: str, *, number: int, spool: str, zip_encoding: str) -> list[Entry]:
    """Returns the files of an archive, or the file itself if it is one of records; adds the source to the tree."""
    name = os.path.basename(path)
    if is_record_file(name) or is_parquet(name):
        tree.container = "file"
        tree.sources.append(Source(os.path.dirname(path) or ".", "", False))
        return [Entry(name, number, name, os.path.getsize(path))]
    whole = Source(path, name, True)
    source, listed = open_files(whole, number=number, spool=spool, zip_encoding=zip_encoding, notes=tree.notes)
    tree.container = "tar" if source.ranges is not None else "zip"
    tree.sources.append(source)
    return listed


def _add(tree: Tree, listed: Sequence[Entry], *, spool: str, zip_encoding: str, on_damaged: OnDamaged) -> None:
    """Adds the files of the outer source to the tree, and those of archives in it in their places.

    An archive in a folder is opened if no photo lies in a folder, or if folders with photos lie beside it.
    """
    photos = [entry.path for entry in listed if is_photo(entry)]
    packed = not any("/" in path for path in photos)
    directly = {path.rpartition("/")[0] for path in photos}
    folders = {entry.path.split("/")[0] for entry in listed if "/" in entry.path}
    present = {entry.path for entry in listed}
    for entry in listed:
        stem, folder = stem_of_archive(entry.path), entry.path.rpartition("/")[0]
        if not is_archive(entry.name):
            tree.entries.append(entry)
        elif stem in present:
            tree.notes.append(f"{entry.path} was ignored: {stem} is the unpacked copy next to it.")
        elif (copies := _stands_for(stem, _beside(directly, folder) if folder else folders)) and _photos_under(
            photos, copies
        ):
            tree.notes.append(f"{entry.path} was ignored: {min(copies)}/ is the unpacked copy next to it.")
        elif not folder or packed or (folder not in directly and _beside(directly, folder)):
            try:
                known = present if folder and not packed else ()
                _expand(tree, entry, spool=spool, zip_encoding=zip_encoding, present=known)
            except DamagedFileError as error:
                on_damaged.handle(error, entry, tree, beside=listed)
        else:
            tree.notes.append(f"{entry.path} was not opened: unpack it if its photos belong to the input.")


def _beside(folders: Collection[str], folder: str) -> set[str]:
    """Returns the folders directly in `folder` that lie above or are one of `folders`."""
    inside = f"{folder}/"
    return {inside + path.removeprefix(inside).split("/")[0] for path in folders if path.startswith(inside)}


def is_photo(entry: Entry) -> bool:
    """Returns whether a file's name is that of a photo; its bytes are checked later."""
    return is_photo_name(entry.path)


def _readable(tree: Tree, listed: Sequence[Entry], *, shown: Callable[[str], str]) -> list[Entry]:
    """Returns the entries that may be read; refuses others, and reports clutter and links in notes.

    Args:
      tree: added to.
      listed: of one source.
      shown: returns the path in the whole input.
    """
    if clutter := sorted({entry.clutter for entry in listed if entry.clutter}):
        count, verb = counted(len(clutter), "folder"), "was" if len(clutter) == 1 else "were"
        names = first_of(list(map(shown, clutter)))
        tree.notes.append(f"{count} of programs or the file system {verb} left out: {names}.")
    if empty := [shown(entry.path) for entry in listed if entry.empty]:
        tree.notes.append(f"{counted(len(empty), 'folder is', 'folders are')} empty: {first_of(empty)}.")
    listed = [entry for entry in listed if not entry.clutter and not entry.empty]
    if links := [entry.path for entry in listed if entry.link and not entry.problem]:
        followed = counted(len(links), "symbolic link was", "symbolic links were")
        tree.notes.append(f"{followed} followed: {first_of(links)}.")
    tree.refused += [dataclasses.replace(e, path=shown(e.path)) for e in listed if e.problem]
    return [entry for entry in listed if not entry.problem]


def _stands_for(stem: str, folders: set[str]) -> set[str]:
    """Returns those of `folders`, all in the folder of the archive, that by name hold the same files."""
    role = role_of(stem.rpartition("/")[2])
    return {
        folder
        for folder in folders
        if folder.lower() == stem.lower() or (role == TEST and role_of(folder.rpartition("/")[2]) == TEST)
    }


def _photos_under(photos: Iterable[str], folders: set[str]) -> bool:
    return any(path.startswith(tuple(f"{folder}/" for folder in folders)) for path in photos)


def _expand(tree: Tree, entry: Entry, *, spool: str, zip_encoding: str, present: Collection[str] = ()) -> None:
    """Adds the files of a nested archive in its place: under its name, unless it contains train/ or test/ itself.

    Args:
      tree: added to.
      entry: the archive.
      spool: as for `open_tree`.
      zip_encoding: as for `open_tree`.
      present: if folders with photos lie beside the archive: all paths, to notice that it holds the same files.
    """
    number = tree.next_source
    nested = file_source(tree.sources[0], entry.name, shown=entry.path, spool=spool)
    source, inner = open_files(nested, number=number, spool=spool, zip_encoding=zip_encoding, notes=tree.notes)
    inner = _readable(tree, inner, shown=lambda path: f"{entry.path}/{path}")
    stem, folder = stem_of_archive(entry.path), f"{entry.path.rpartition('/')[0]}/"
    name = stem.rpartition("/")[2]
    photos = [e.path for e in inner if is_photo(e)]
    if photos and present and all(folder + path in present for path in photos):
        tree.notes.append(f"{entry.path} was ignored: its photos lie unpacked next to it.")
        return
    tops = {e.path.split("/")[0] for e in inner if "/" in e.path}
    flat = any("/" not in path for path in photos)
    alone = len(inner) == 1 and inner[0].path.rpartition("/")[2] == name  # train.csv.zip
    within = not flat and bool(tops) and all(map(role_of, tops))
    prefix = "" if within else f"{stem}/"
    if present and (within or (not flat and tops == {name})):  # car.zip with car/ in it
        prefix = folder
    tree.sources.append(source)
    tree.entries += [dataclasses.replace(e, path=stem if alone else prefix + e.path) for e in inner]
    if not alone:
        kind = "zips" if source.ranges is None else "tars"
        tree.container = f"{tree.container.split(' with')[0]} with nested {kind}"


def _without_wrapper(entries: list[Entry]) -> list[Entry]:
    """Returns the entries without folders that only wrap all others, such as one with the archive's name."""
    while entries:
        tops = {entry.path.split("/")[0] for entry in entries}
        top = min(tops)
        directly = [e for e in entries if e.path.count("/") == 1]
        has_archives = any(is_archive(e.path) for e in directly)
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
