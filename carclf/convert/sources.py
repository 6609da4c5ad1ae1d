"""Where photos are stored: folders, zips, and zips inside zips, read in place. Refuses hostile members by name."""

import dataclasses
import io
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import IO

from carclf.errors import UserError
from carclf.files import replacing

MAX_PHOTO_BYTES = 100 * 2**20  # no photo that fits MAX_PIXELS comes near it
MAX_RATIO = 200  # deflate reaches about 1,000; photos are already compressed and stay below 2
RATIO_FREE_BYTES = 2**20  # small members may have any ratio: that of a flat PNG or BMP is high
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)  # that Python unpacks
OTHER_METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 97: "WavPack", 98: "PPMd", 99: "AES encryption"}
OTHER_ARCHIVES: tuple[tuple[int, bytes, str], ...] = (
    (257, b"ustar", "a tar archive"),
    (0, b"\x1f\x8b", "a gzip or tar.gz archive"),
    (0, b"BZh", "a bzip2 or tar.bz2 archive"),
    (0, b"\xfd7zXZ\0", "an xz or tar.xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
)
CLUTTER = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
# Folders that programs and file systems leave beside photos. They hold copies, thumbnails or deleted files.
CLUTTER_FOLDER = re.compile(
    r"(^|/)(\.(?!\.?/)[^/]+|@eaDir|#recycle|lost\+found|\$RECYCLE\.BIN|System Volume Information|__pycache__)/",
    re.IGNORECASE,
)
_LOCAL_HEADER = struct.Struct("<4s22xHH")


@dataclasses.dataclass(frozen=True)
class Source:
    """A folder or a zip.

    Attributes:
      path: of the folder or the file on disk.
      shown: its name in messages and lists, without any folder of this machine.
      is_zip: whether it is an archive.
      offset: where the archive begins inside the file (a stored zip inside another), in bytes.
      size: its length in bytes; −1 means up to the end of the file.
      encoding: of the names in the archive that are not flagged as UTF-8; "" is cp437.
    """

    path: str
    shown: str
    is_zip: bool
    offset: int = 0
    size: int = -1
    encoding: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One file of a source.

    Attributes:
      path: its path in the whole input, with forward slashes.
      source: index of its source.
      name: its name inside the source.
      size: in bytes.
      problem: why it must not be read, or "".
      clutter: the folder of a program or a file system that contains it, or "".
      link: whether it is a symbolic link.
    """

    path: str
    source: int
    name: str
    size: int
    problem: str = ""
    clutter: str = ""
    link: bool = False


class _Window(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: IO[bytes], offset: int, size: int) -> None:
        self._file, self._offset, self._size, self._at = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._offset + self._at)
        content = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Archive(zipfile.ZipFile):
    """A zip that also closes its file."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._file = file
        super().__init__(file, metadata_encoding=encoding or None)

    def close(self) -> None:
        super().close()
        self._file.close()


def open_archive(source: Source) -> zipfile.ZipFile:
    """Returns the opened zip of a source.

    Raises:
      UserError: it is damaged or not a zip.
    """
    try:
        file: IO[bytes] = open(source.path, "rb")  # noqa: SIM115 - the archive owns it
    except OSError as error:
        raise UserError(f"{source.shown} cannot be read ({error.strerror}): give a file that can.") from None
    if source.size >= 0:
        file = io.BufferedReader(_Window(file, source.offset, source.size))
    try:
        return _Archive(file, source.encoding)
    except UnicodeDecodeError as error:
        file.close()
        raise UserError(
            f"{source.shown} has names that are not {source.encoding} ({error.reason}): give another --zip_encoding."
        ) from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError) as error:
        file.seek(0)
        head = file.read(512)
        file.close()
        if kind := next((kind for at, magic, kind in OTHER_ARCHIVES if head[at : at + len(magic)] == magic), ""):
            raise UserError(f"{source.shown} is {kind}, not a zip: unpack it and give the folder.") from None
        raise UserError(f"{source.shown} cannot be read as a zip ({error}): download it again.") from None


class Reader:
    """Reads files of the sources; a process opens each archive once."""

    def __init__(self, sources: tuple[Source, ...]) -> None:
        self._sources = sources
        self._archives: dict[int, zipfile.ZipFile] = {}

    def read(self, source: int, name: str) -> bytes:
        """Returns the bytes of one file.

        Raises:
          OSError: it cannot be read, is damaged (a zip's CRC is checked), or is longer than MAX_PHOTO_BYTES.
        """
        if not self._sources[source].is_zip:
            with open(os.path.join(self._sources[source].path, *name.split("/")), "rb") as file:
                return _bounded(file, os.fstat(file.fileno()).st_size)
        archive = self._archives.get(source)
        if archive is None:
            archive = self._archives[source] = open_archive(self._sources[source])
        try:
            info = archive.getinfo(name)
            with archive.open(info) as member:
                return _bounded(member, info.file_size)
        except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
            raise OSError(f"damaged in the zip: {error}") from None
        except Exception as error:  # zlib, lzma and bz2 have errors of their own
            if isinstance(error, OSError):
                raise
            raise OSError(f"damaged in the zip: {error}") from None


def _bounded(file: IO[bytes], size: int) -> bytes:
    content = file.read(min(size, MAX_PHOTO_BYTES) + 1)
    if len(content) > MAX_PHOTO_BYTES:
        raise OSError(f"larger than {MAX_PHOTO_BYTES // 2**20} MB")
    return content


def name_problem(name: str) -> str:
    """Returns why a file of this name must not be read (it leaves the root, or no list can hold it), or ""."""
    if not name:
        return "no name"
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", name):
        return "absolute path"
    if ".." in parts:
        return "path leaves the archive"
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in name):
        return "control characters in the name"
    return "backslash in the name" if "\\" in name else ""


def _member_problem(info: zipfile.ZipInfo, *, nested_zip: bool) -> str:
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
    if info.file_size > MAX_PHOTO_BYTES and not nested_zip:
        return f"larger than {MAX_PHOTO_BYTES // 2**20} MB"
    if info.file_size > RATIO_FREE_BYTES and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        return f"compressed more than {MAX_RATIO}:1"
    return ""


def archive_entries(archive: zipfile.ZipFile, *, source: int, prefix: str = "") -> list[Entry]:
    """Returns the files of a zip, clutter left out; those that must not be read carry a problem."""
    entries = []
    names = [info.filename for info in archive.infolist()]
    times = Counter(map(_normal, names))
    for name in dict.fromkeys(names):
        info, path = archive.getinfo(name), _normal(name)
        if name.endswith("/") or CLUTTER.search(path):
            continue
        problem = _member_problem(info, nested_zip=is_nested_zip(name))
        if times[path] > 1:  # readers disagree about which of them counts
            problem = problem or "more than once in the zip"
        entries.append(Entry(prefix + path, source, name, info.file_size, problem, clutter_folder(path)))
    return entries


def _normal(name: str) -> str:
    """Returns the path without empty parts and without '.', unless it is absolute."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/" * name.startswith("/") + "/".join(parts) + "/" * (name.endswith("/") and bool(parts))


def clutter_folder(path: str) -> str:
    """Returns the folder of a program or a file system that contains the file, or ""."""
    found = CLUTTER_FOLDER.search(path)
    return path[: found.end()] if found else ""


def is_nested_zip(name: str) -> bool:
    """Returns whether a file's name is that of an archive."""
    return name.lower().endswith(".zip")


def nested_source(outer: Source, archive: zipfile.ZipFile, name: str, *, spool: str) -> Source:
    """Returns a zip inside a zip as a source of its own: a window on the outer file if it is stored, as most are.

    If it is deflated, seeking in it would unpack it from the start each time, so the archive (not its photos) is
    unpacked once into the folder `spool`.

    Raises:
      UserError: the disk has no room for it.
    """
    info, shown = archive.getinfo(name), f"{outer.shown}/{name}"
    if info.compress_type == zipfile.ZIP_STORED:
        with open(outer.path, "rb") as file:
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            raise UserError(f"{outer.shown} is damaged at {name}: download it again.")
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        offset = info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        return Source(outer.path, shown, True, offset, info.file_size)
    os.makedirs(spool, exist_ok=True)
    free = shutil.disk_usage(spool).free
    if free < info.file_size + 2**26:
        raise UserError(
            f"Unpacking {shown} needs {info.file_size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free in the output: "
            "free space, or unpack the zip elsewhere and give that folder."
        )
    path = os.path.join(spool, f"{info.CRC:08x}-{info.file_size}.archive")
    if not os.path.exists(path):
        try:
            with (
                replacing(Path(path)) as temporary,
                archive.open(info) as member,
                open(temporary, "wb") as file,
            ):
                shutil.copyfileobj(member, file, 2**20)
        except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError) as error:
            raise UserError(f"{shown} is damaged ({error}): download it again.") from None
    return Source(path, shown, True)
