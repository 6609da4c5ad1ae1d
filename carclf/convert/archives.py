"""Opens files that hold files: zips and tars, packed or not, whole or as a part of another file."""

import dataclasses
import os

from carclf.convert import zip_names
from carclf.convert.sources import Entry, Source, open_archive
from carclf.convert.tars import head_of, is_tar, tar_source, unpacked
from carclf.convert.zips import archive_entries, member_source
from carclf.wording import counted


def file_source(source: Source, name: str, *, shown: str, spool: str) -> Source:
    """Returns a file of a source as a source of its own, in place or, from a deflating zip, unpacked into `spool`.

    Args:
      source: a folder or an archive.
      name: of the file in it.
      shown: its name in messages, if the source is a folder.
      spool: a folder, created only if it is needed.

    Raises:
      UserError: the file is damaged, or the disk has no room for it.
    """
    if source.ranges is not None:
        start, size = source.ranges[name]
        return Source(source.path, f"{source.shown}/{name}", True, start, size)
    if source.is_zip:
        with open_archive(source) as archive:
            return member_source(source, archive, name, spool=spool)
    return Source(os.path.join(source.path, *name.split("/")), shown, True)


def open_files(
    source: Source, *, number: int, spool: str, zip_encoding: str, notes: list[str]
) -> tuple[Source, list[Entry]]:
    """Returns an archive as a source, and its files.

    Args:
      source: the archive.
      number: of the source, for the entries.
      spool: a folder for packed tars, created only if it is needed.
      zip_encoding: of the names in zips that are not flagged as UTF-8; "" detects it.
      notes: added to.

    Raises:
      UserError: it is damaged, or no archive that is read.
    """
    source = unpacked(source, spool=spool)
    if is_tar(head_of(source)):
        return tar_source(source, number=number)
    source = _with_encoding(source, zip_encoding, notes)
    with open_archive(source) as archive:
        return source, archive_entries(archive, source=number)


def _with_encoding(source: Source, encoding: str, notes: list[str]) -> Source:
    """Returns the zip with the encoding of its names: `encoding`, or the one detected, with a note."""
    with open_archive(dataclasses.replace(source, encoding="")) as archive:
        names = zip_names.unflagged_names(archive)
    if not names or encoding:
        return dataclasses.replace(source, encoding=encoding)
    found = zip_names.likely_encodings(names)
    encoding = found[0] if len(found) == 1 else ""
    first, count = names[0].decode(encoding or "cp437"), counted(len(names), "name")
    notes.append(
        f"{count} in {source.shown} without the UTF-8 flag {'was' if len(names) == 1 else 'were'} read as "
        f"{encoding or 'cp437'} (first: {first}): give --zip_encoding if that is wrong."
        + (f" It may be {' or '.join(found)}." if len(found) > 1 else "")
    )
    return dataclasses.replace(source, encoding=encoding)
