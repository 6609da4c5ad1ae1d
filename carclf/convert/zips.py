"""The members of zips: hostile ones are refused by name, and zips inside zips are read in place."""

import lzma
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from carclf.convert.file_kinds import holds_files
from carclf.convert.sources import CLUTTER, Entry, Source, clutter_folder, name_problem, size_problem
from carclf.errors import DamagedFileError, UserError
from carclf.files import replacing

MAX_RATIO = 200  # deflate reaches about 1,000; photos are already compressed and stay below 2
RATIO_FREE_BYTES = 2**20  # small members may have any ratio: that of a flat PNG or BMP is high
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)  # that Python unpacks
OTHER_METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 97: "WavPack", 98: "PPMd", 99: "AES encryption"}
CHUNK_BYTES = 2**20
SPARE_BYTES = 2**26  # left free when an archive is unpacked
_LOCAL_HEADER = struct.Struct("<4s22xHH")


def _member_problem(info: zipfile.ZipInfo, *, holds_files: bool) -> str:
    mode = info.external_attr >> 16
    if problem := name_problem(info.filename):
        return problem
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
    if info.header_offset < 0:
        return "damaged in the zip"
    if info.flag_bits & 1:
        return "encrypted"
    if info.compress_type not in METHODS:
        method = OTHER_METHODS.get(info.compress_type, f"method {info.compress_type}")
        return f"packed with {method}, which is not read: pack it again, as a usual zip"
    if not holds_files and (problem := size_problem(info.filename, info.file_size)):
        return problem
    if info.file_size > RATIO_FREE_BYTES and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        return f"compressed more than {MAX_RATIO}:1"
    return ""


def archive_entries(archive: zipfile.ZipFile, *, source: int, prefix: str = "") -> list[Entry]:
    """Returns the files of a zip, clutter left out; those that must not be read carry a problem."""
    entries = []
    names = [info.filename for info in archive.infolist()]
    times = Counter(map(normal_path, names))
    for name in dict.fromkeys(names):
        info, path = archive.getinfo(name), normal_path(name)
        if name.endswith("/") or CLUTTER.search(path):
            continue
        problem = _member_problem(info, holds_files=holds_files(name))
        if times[path] > 1:  # readers disagree about which of them counts
            problem = problem or "more than once in the zip"
        entries.append(Entry(prefix + path, source, name, info.file_size, problem, clutter_folder(path)))
    return entries


def normal_path(name: str) -> str:
    """Returns the path without empty parts and without '.', unless it is absolute."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/" * name.startswith("/") + "/".join(parts) + "/" * (name.endswith("/") and bool(parts))


def member_source(outer: Source, archive: zipfile.ZipFile, name: str, *, spool: str) -> Source:
    """Returns a file inside a zip as a source of its own: a window on the zip if it is stored, as most archives are.

    If it is deflated, seeking in it would unpack it from the start each time, so the archive (not its photos) is
    unpacked once into the folder `spool`.

    Raises:
      UserError: the disk has no room for it.
    """
    info, shown = archive.getinfo(name), f"{outer.shown}/{name}"
    if info.compress_type == zipfile.ZIP_STORED:
        with open(outer.path, "rb") as file:
            file.seek(outer.offset + info.header_offset)
            header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            raise DamagedFileError(f"{outer.shown} is damaged at {name}: download it again.")
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        offset = outer.offset + info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        return Source(outer.path, shown, True, offset, info.file_size)
    check_room(spool, info.file_size, shown=shown)
    path = os.path.join(spool, f"{info.CRC:08x}-{info.file_size}.archive")
    if not os.path.exists(path):
        try:
            with (
                replacing(Path(path)) as temporary,
                archive.open(info) as member,
                open(temporary, "wb") as file,
            ):
                file.writelines(chunks_of(member, shown=shown))
        except (zipfile.BadZipFile, struct.error, NotImplementedError) as error:
            raise DamagedFileError(f"{shown} is damaged ({error}): download it again.") from None
    return Source(path, shown, True)


def chunks_of(packed: IO[bytes], *, shown: str) -> Iterator[bytes]:
    """Yields what a packed file unpacks to.

    Raises:
      DamagedFileError: it is damaged or cut off.
    """
    try:
        while chunk := packed.read(CHUNK_BYTES):
            yield chunk
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedFileError(f"{shown} is damaged or cut off ({error}): download it again.") from None


def check_room(spool: str, size: int, *, shown: str) -> None:
    """Checks that a file of `size` bytes can be unpacked into the folder `spool`, which is created.

    Raises:
      UserError: the disk has no room for it.
    """
    os.makedirs(spool, exist_ok=True)
    free = shutil.disk_usage(spool).free
    if free < size + SPARE_BYTES:
        raise UserError(
            f"Unpacking {shown} needs {size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free in the output: free some "
            "space, or unpack it elsewhere and give that folder."
        )
