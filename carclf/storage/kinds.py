"""Which kind of storage a path belongs to: no scheme is a local disk, and each scheme has one class."""

import difflib
import functools
import importlib.util
from collections.abc import Iterator
from typing import Protocol

from carclf.errors import StorageError
from carclf.storage.local import LocalDisk


class Storage(Protocol):
    """What each kind of storage can do. Paths are whole paths or URLs; what is said in `carclf.storage` holds."""

    def is_folder(self, path: str) -> bool:
        """Returns whether a folder is there."""

    def size_bytes(self, path: str) -> int | None:
        """Returns the size of a file, or None if there is none."""

    def names_in(self, folder: str) -> list[str]:
        """Returns the names directly in a folder; none if it does not exist."""

    def sizes_under(self, folder: str) -> dict[str, int]:
        """Returns the size of every file under a folder, by its path inside it with forward slashes."""

    def read_bytes(self, path: str) -> bytes:
        """Returns a whole file; raises FileNotFoundError."""

    def read_range(self, path: str, start: int, size: int) -> bytes:
        """Returns a part of a file; raises FileNotFoundError."""

    def stream(self, path: str) -> Iterator[bytes]:
        """Yields a whole file from its start, some MB at a time; raises FileNotFoundError."""

    def make_folder(self, path: str) -> None:
        """Creates a folder and its parents."""

    def remove(self, path: str) -> None:
        """Removes a file or a folder; none is no error."""

    def upload(self, local: str, path: str) -> None:
        """Copies a local file to `path`, where it appears in one step."""


LOCAL = LocalDisk()
BY_TENSORFLOW = ("gs", "ram")  # where TensorFlow is installed; fsspec has all others


def is_remote(path: str) -> bool:
    """Returns whether the path is a URL rather than a local file."""
    return "://" in path


def scheme_of(url: str) -> str:
    """Returns the part of a URL before '://'."""
    return url.partition("://")[0]


def backend_of(path: str) -> Storage:
    """Returns what carries out the calls for a path.

    Raises:
      StorageError: no package here knows its scheme, or the package is not installed.
    """
    if not is_remote(path):
        return LOCAL
    try:
        return _backend_of_scheme(scheme_of(path))
    except StorageError as error:
        raise StorageError(f"{path} cannot be reached: {error}") from None


@functools.cache
def _backend_of_scheme(scheme: str) -> Storage:
    if scheme in BY_TENSORFLOW and importlib.util.find_spec("tensorflow"):
        from carclf.storage.gfile import TensorFlowFiles

        return TensorFlowFiles()
    from carclf.storage.packages import PACKAGES, missing_package, prepare

    if not importlib.util.find_spec("fsspec"):
        raise StorageError(missing_package(scheme))
    import fsspec

    prepare(scheme)
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise StorageError(missing_package(scheme, str(error))) from None
    except ValueError:
        near = difflib.get_close_matches(scheme, [*PACKAGES, *fsspec.available_protocols()], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}://? " if near else ""
        raise StorageError(
            f"nothing is read by the scheme {scheme}://: {hint}Known are {', '.join(f'{name}://' for name in PACKAGES)}"
            " and whatever else fsspec has."
        ) from None
    from carclf.storage.remote import Fsspec

    return Fsspec(PACKAGES.get(scheme))
