"""Tars, packed or not, read in place: their photos lie in the file as they are. Refuses hostile members by name."""

import bz2
import contextlib
import dataclasses
import gzip
import hashlib
import lzma
import os
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from carclf.convert.file_kinds import holds_files
from carclf.convert.sources import CLUTTER, Entry, Source, clutter_folder, name_problem, open_window, size_problem
from carclf.convert.zips import CHUNK_BYTES, MAX_RATIO, RATIO_FREE_BYTES, check_room, chunks_of, normal_path
from carclf.errors import DamagedFileError
from carclf.files import replacing

PACKERS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {  # first bytes → what unpacks the rest
    b"\x1f\x8b": lambda file: cast(IO[bytes], gzip.open(file)),  # noqa: SIM115 - the caller reads it
    b"BZh": lambda file: cast(IO[bytes], bz2.open(file)),  # noqa: SIM115 - the caller reads it
    b"\xfd7zXZ\0": lambda file: cast(IO[bytes], lzma.open(file)),  # noqa: SIM115 - the caller reads it
}
HEAD_BYTES = 512
_AT_MAGIC = 257  # Source: POSIX.1-1988, the ustar header


def is_tar(head: bytes) -> bool:
    """Returns whether a file with these first 512 bytes is a tar."""
    return head[_AT_MAGIC : _AT_MAGIC + 5] == b"ustar"


def head_of(source: Source) -> bytes:
    """Returns the first bytes of a source, at most HEAD_BYTES."""
    with open_window(source) as file:
        return file.read(HEAD_BYTES)


def unpacked(source: Source, *, spool: str) -> Source:
    """Returns a gzip, bzip2 or xz file as the file in it, unpacked once into the folder `spool`; others as they are.

    Raises:
      UserError: it is damaged or cut off, its content is absurdly large, or the disk has no room for it.
    """
    head = head_of(source)
    packer = next((packer for magic, packer in PACKERS.items() if head.startswith(magic)), None)
    if packer is None:
        return source
    with open_window(source) as file:
        packed_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(0, packed_bytes - HEAD_BYTES))
        key = hashlib.sha256(head + file.read() + str(packed_bytes).encode()).hexdigest()
        path = os.path.join(spool, f"{key[:24]}.archive")
        if not os.path.exists(path):
            file.seek(0)
            _unpack(packer(file), path, packed_bytes=packed_bytes, shown=source.shown)
    return Source(path, source.shown, True)


def _unpack(content: IO[bytes], path: str, *, packed_bytes: int, shown: str) -> None:
    check_room(os.path.dirname(path), packed_bytes, shown=shown)
    written = 0
    with replacing(Path(path)) as temporary, open(temporary, "wb") as file:
        for chunk in chunks_of(content, shown=shown):
            written += len(chunk)
            if written > RATIO_FREE_BYTES and written > MAX_RATIO * packed_bytes:
                raise DamagedFileError(
                    f"{shown} is compressed more than {MAX_RATIO}:1 and is not unpacked here: unpack it if you trust "
                    "it, and give the folder."
                )
            if written % (64 * CHUNK_BYTES) == 0:
                check_room(os.path.dirname(path), 64 * CHUNK_BYTES, shown=shown)
            file.write(chunk)


def tar_source(source: Source, *, number: int) -> tuple[Source, list[Entry]]:
    """Returns a tar as a source, and its files; clutter is left out, and those that must not be read carry a problem.

    Args:
      source: the file, not packed.
      number: of the source, for the entries.

    Raises:
      DamagedFileError: it is damaged or cut off.
    """
    with open_window(source) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        members = _members(file, source.shown)
    times = Counter(normal_path(member.name) for member in members)
    ranges, entries = {}, []
    for member in members:
        path = normal_path(member.name)
        if CLUTTER.search(path) or member.name in ranges:
            continue
        problem = _problem(member, end=end) or ("more than once in the tar" if times[path] > 1 else "")
        ranges[member.name] = (source.offset + member.offset_data, member.size)
        entries.append(Entry(path, number, member.name, member.size, problem, clutter_folder(path)))
    return dataclasses.replace(source, is_zip=False, ranges=ranges), entries


def _members(file: IO[bytes], shown: str) -> list[tarfile.TarInfo]:
    """Returns the members that are no folders, after checking that the tar has an end."""
    try:
        with contextlib.closing(tarfile.TarFile(fileobj=file, errorlevel=2)) as archive:
            members = archive.getmembers()
            file.seek(archive.offset)
            whole = file.read(HEAD_BYTES) == bytes(HEAD_BYTES)
    except (tarfile.TarError, OSError, ValueError, OverflowError, EOFError, MemoryError, RecursionError) as error:
        raise DamagedFileError(f"{shown} cannot be read as a tar ({error}): download it again.") from None
    if not whole:
        raise DamagedFileError(f"{shown} is damaged or cut off after {len(members):,} files: download it again.")
    return [member for member in members if not member.isdir()]


def _problem(member: tarfile.TarInfo, *, end: int) -> str:
    if problem := name_problem(member.name):
        return problem
    if member.issym() or member.islnk():
        return "symbolic link" if member.issym() else "hard link"
    if not member.isreg():
        return "not a regular file"
    if member.issparse():
        return "a sparse file, which is not read"
    if member.size < 0 or member.offset_data + member.size > end:
        return "damaged in the tar"
    return "" if holds_files(member.name) else size_problem(member.name, member.size)
