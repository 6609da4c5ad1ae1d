"""Where photos are stored: folders, zips, and files that hold photos as they are; read in place."""

import dataclasses
import io
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import IO

from carclf.convert.file_kinds import is_csv, is_json
from carclf.data.image_formats import RAR, SEVEN_ZIP
from carclf.errors import DamagedFileError, UserError
from carclf.storage.range_file import RangeFile

MAX_PHOTO_BYTES = 100 * 2**20  # no photo that fits MAX_PIXELS comes near it
MAX_LIST_BYTES = 2**30  # lists of millions of photos stay below it
OTHER_ARCHIVES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (0, SEVEN_ZIP, "a 7z archive"),
    (0, RAR, "a RAR archive"),
)
CLUTTER = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
# Folders that programs and file systems leave beside photos. They hold copies, thumbnails or deleted files.
CLUTTER_FOLDER = re.compile(
    r"(^|/)(\.(?!\.?/)[^/]+|@eaDir|#recycle|lost\+found|\$RECYCLE\.BIN|System Volume Information|__pycache__)/",
    re.IGNORECASE,
)


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
      ranges: name → (start, size) in the file on disk, bytes, if the files of the source lie there as they are.
    """

    path: str
    shown: str
    is_zip: bool
    offset: int = 0
    size: int = -1
    encoding: str = ""
    ranges: Mapping[str, tuple[int, int]] | None = dataclasses.field(default=None, compare=False, repr=False)


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
      empty: whether it is no file but a folder without any.
    """

    path: str
    source: int
    name: str
    size: int
    problem: str = ""
    clutter: str = ""
    link: bool = False
    empty: bool = False


class _Window(RangeFile):
    """A part of a file as a file of its own."""

    def __init__(self, file: IO[bytes], offset: int, size: int) -> None:
        self._file = file

        def read_range(start: int, size: int) -> bytes:
            file.seek(offset + start)
            return file.read(size)

        super().__init__(read_range, size)

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


def open_window(source: Source) -> IO[bytes]:
    """Returns the file of a source, or the part of a file that it is.

    Raises:
      DamagedFileError: it cannot be opened.
    """
    try:
        file: IO[bytes] = open(source.path, "rb")  # noqa: SIM115 - the caller owns it
    except OSError as error:
        raise DamagedFileError(
            f"{source.shown} cannot be read ({error.strerror}): make it readable, or give a copy of it."
        ) from None
    return io.BufferedReader(_Window(file, source.offset, source.size)) if source.size >= 0 else file


def open_archive(source: Source) -> zipfile.ZipFile:
    """Returns the opened zip of a source.

    Raises:
      DamagedFileError: it is damaged or not a zip.
    """
    file = open_window(source)
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
            raise DamagedFileError(f"{source.shown} is {kind}, not a zip: unpack it and give the folder.") from None
        raise DamagedFileError(f"{source.shown} cannot be read as a zip ({error}): download it again.") from None


class Reader:
    """Reads files of the sources; a process opens each archive once."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._archives: dict[int, zipfile.ZipFile] = {}

    def read(self, source: int, name: str) -> bytes:
        """Returns the bytes of one file.

        Raises:
          OSError: it cannot be read, is damaged (a zip's CRC is checked), or is too large (`size_problem`).
        """
        if self._sources[source].ranges is not None:
            return self._read_range(source, name)
        if not self._sources[source].is_zip:
            with open(os.path.join(self._sources[source].path, *name.split("/")), "rb") as file:
                return _bounded(file, os.fstat(file.fileno()).st_size, name)
        archive = self._archives.get(source)
        if archive is None:
            archive = self._archives[source] = open_archive(self._sources[source])
        try:
            info = archive.getinfo(name)
            with archive.open(info) as member:
                return _bounded(member, info.file_size, name)
        except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
            raise OSError(f"damaged in the zip: {error}") from None
        except Exception as error:  # zlib, lzma and bz2 have errors of their own
            if isinstance(error, OSError):
                raise
            raise OSError(f"damaged in the zip: {error}") from None

    def close(self) -> None:
        """Closes the archives; the next read opens one again."""
        while self._archives:
            self._archives.popitem()[1].close()

    def _read_range(self, source: int, name: str) -> bytes:
        start, size = (self._sources[source].ranges or {})[name]
        with open(self._sources[source].path, "rb") as file:
            file.seek(start)
            content = _bounded(file, size, name)[:size]
        if len(content) < size:
            raise OSError("the file ends before it")
        return content


def _bounded(file: IO[bytes], size: int, name: str) -> bytes:
    content = file.read(min(size, _max_bytes(name)) + 1)
    if problem := size_problem(name, len(content)):
        raise OSError(problem)
    return content


def size_problem(name: str, size: int) -> str:
    """Returns why a photo or a list of this name and size in bytes must not be read into memory, or ""."""
    if size <= _max_bytes(name):
        return ""
    return f"{'a list ' if _is_list(name) else ''}larger than {_max_bytes(name) // 2**20} MB"


def _max_bytes(name: str) -> int:
    return MAX_LIST_BYTES if _is_list(name) else MAX_PHOTO_BYTES


def _is_list(name: str) -> bool:
    return is_csv(name) or is_json(name)


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


def clutter_folder(path: str) -> str:
    """Returns the folder of a program or a file system that contains the file, or ""."""
    found = CLUTTER_FOLDER.search(path)
    return path[: found.end()] if found else ""
