"""Every URL that fsspec knows: S3, Google Cloud Storage, Azure, Hugging Face, HTTP, SFTP and others."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

from carclf.errors import StorageError, UserError
from carclf.storage import web
from carclf.storage.packages import Package
from carclf.storage.range_file import STREAM_BYTES
from carclf.storage.temporary import unused_name

LONGEST_REASON = 200  # characters; some libraries quote whole answers of a server


class Fsspec:
    """The stores that fsspec has a package for."""

    def __init__(self, package: Package | None) -> None:
        """Creates the storage of one scheme.

        Args:
          package: of an object store; None for all others, which have folders and can rename a file.
        """
        self._package = package

    def is_folder(self, path: str) -> bool:
        """Returns whether a folder is there, or anything under it."""
        return (self._info(path) or {}).get("type") == "directory"

    def size_bytes(self, path: str) -> int | None:
        """Returns the size of a file, or None if there is none."""
        found = self._info(path) or {}
        return int(found["size"] or 0) if found.get("type") == "file" else None

    def names_in(self, folder: str) -> list[str]:
        """Returns the names directly in a folder."""
        with self._reaching(folder, "read") as (system, root):
            system.invalidate_cache()  # others write, too
            try:
                found = system.ls(root, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        names = (str(path).rstrip("/") for path in found)
        return [path.rpartition("/")[2] for path in names if path != root.rstrip("/")]

    def sizes_under(self, folder: str) -> dict[str, int]:
        """Returns the size of every file under a folder."""
        with self._reaching(folder, "read") as (system, root):
            system.invalidate_cache()
            try:
                found = system.find(root, detail=True)
            except FileNotFoundError:  # there is no such bucket
                return {}
        below = root.rstrip("/") + "/"
        sizes = {str(path): entry for path, entry in found.items() if str(path).startswith(below)}
        return {path.removeprefix(below): int(entry["size"] or 0) for path, entry in sizes.items()}

    def read_bytes(self, path: str) -> bytes:
        """Returns a whole file."""
        with self._reaching(path, "read") as (system, name):
            return bytes(system.cat_file(name))

    def read_range(self, path: str, start: int, size: int) -> bytes:
        """Returns a part of a file."""
        try:
            with self._reaching(path, "read") as (system, name):
                if web.is_web(system):
                    return web.read_range(system, name, start, size)
                if system.async_impl:
                    content = bytes(system.cat_file(name, start=start, end=start + size))
                    if len(content) > size:
                        raise web.ranges_ignored(path)
                    return content
                with system.open(name, "rb", cache_type="none") as file:  # by default it reads some MB ahead
                    file.seek(start)
                    return bytes(file.read(size))
        except StorageError:
            if start >= (self.size_bytes(path) or 0):  # stores refuse a range behind the end
                return b""
            raise

    def stream(self, path: str) -> Iterator[bytes]:
        """Yields a whole file."""
        with self._reaching(path, "read") as (system, name):
            whole = {"block_size": 0} if web.is_web(system) else {}  # otherwise it would be read in parts
            with system.open(name, "rb", **whole) as file:
                while content := file.read(STREAM_BYTES):
                    yield bytes(content)

    def make_folder(self, path: str) -> None:
        """Creates a folder; object stores have none, and their packages would create a bucket."""
        if self._package is None:
            with self._reaching(path, "written") as (system, name):
                system.makedirs(name, exist_ok=True)

    def remove(self, path: str) -> None:
        """Removes a file or a folder."""
        with self._reaching(path, "removed") as (system, name), contextlib.suppress(FileNotFoundError):
            system.invalidate_cache()
            system.rm(name, recursive=True)

    def upload(self, local: str, path: str) -> None:
        """Copies a local file to `path`, where it appears in one step."""
        with self._reaching(path, "written") as (system, name):
            if self._package is not None:  # an object appears when its upload has ended
                system.put_file(local, name)
                return
            system.makedirs(name.rpartition("/")[0], exist_ok=True)
            beside = unused_name(name)
            try:
                system.put_file(local, beside)
                system.mv(beside, name)
            except BaseException:
                with contextlib.suppress(Exception):
                    system.rm_file(beside)
                raise

    def _info(self, path: str) -> dict[str, Any] | None:
        with self._reaching(path, "read") as (system, name):
            system.invalidate_cache()
            try:
                return dict(system.info(name))
            except (FileNotFoundError, NotADirectoryError):
                return None

    @contextlib.contextmanager
    def _reaching(self, path: str, done: str) -> Iterator[tuple[Any, str]]:
        """Yields (the file system, the path in it); every error but a missing file says what to do."""
        try:
            root = "/".join(path.split("/")[:3])
            system = _open_system(root, self._package, os.getpid())
            yield system, str(system._strip_protocol(path))
        except UserError:
            raise
        except FileNotFoundError as error:
            if done == "written":
                raise StorageError(
                    f"{path} could not be written ({_line(error)}): create its bucket or folder first, or correct the "
                    "address."
                ) from None
            raise FileNotFoundError(2, "No such file", path) from None
        except Exception as error:  # each package has its own
            where = f" ({self._package.credentials})" if self._package else ""
            raise StorageError(
                f"{path} could not be {done} ({_line(error)}): check its address, the network and the credentials"
                f"{where}."
            ) from None


@functools.lru_cache(maxsize=64)
def _open_system(root: str, package: Package | None, process: int) -> Any:
    """Returns the file system of the URLs that start with `root`; a forked process opens its own."""
    import fsspec

    return fsspec.url_to_fs(root, **(package.options if package else {}))[0]


def _line(error: Exception) -> str:
    """Returns what an error says as one line without a full stop."""
    text = " ".join((str(error) or type(error).__name__).split()).rstrip(".:")
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"
