"""gs:// through TensorFlow, which brings its own client."""

import contextlib
from collections.abc import Iterator
from typing import Any

from carclf.errors import StorageError
from carclf.storage.range_file import STREAM_BYTES
from carclf.storage.temporary import unused_name


class TensorFlowFiles:
    """Object stores that TensorFlow knows."""

    def is_folder(self, path: str) -> bool:
        """Returns whether there is anything under `path`."""
        with _named(path, "read"):
            return bool(_gfile().isdir(path))

    def size_bytes(self, path: str) -> int | None:
        """Returns the size of an object, or None if there is none."""
        try:
            with _named(path, "read"):
                found = _gfile().stat(path)
        except FileNotFoundError:
            return None
        return None if found.is_directory else int(found.length)

    def names_in(self, folder: str) -> list[str]:
        """Returns the names directly under a folder."""
        if not self.is_folder(folder):
            return []
        with _named(folder, "read"):
            return [str(name).rstrip("/") for name in _gfile().listdir(folder)]

    def sizes_under(self, folder: str) -> dict[str, int]:
        """Returns the size of every object under a folder."""
        if not self.is_folder(folder):
            return {}
        root = folder.rstrip("/")
        with _named(folder, "read"):
            found = [f"{top.rstrip('/')}/{name}" for top, _, names in _gfile().walk(root) for name in names]
            return {path[len(root) + 1 :]: int(_gfile().stat(path).length) for path in found}

    def read_bytes(self, path: str) -> bytes:
        """Returns a whole object."""
        with _named(path, "read"), _gfile().GFile(path, "rb") as file:
            return bytes(file.read())

    def read_range(self, path: str, start: int, size: int) -> bytes:
        """Returns a part of an object."""
        with _named(path, "read"), _gfile().GFile(path, "rb") as file:
            if start >= file.size():  # it refuses to seek there
                return b""
            file.seek(start)
            return bytes(file.read(size))

    def stream(self, path: str) -> Iterator[bytes]:
        """Yields a whole object."""
        with _named(path, "read"), _gfile().GFile(path, "rb") as file:
            while content := file.read(STREAM_BYTES):
                yield bytes(content)

    def make_folder(self, path: str) -> None:
        """Creates a folder."""
        with _named(path, "written"):
            _gfile().makedirs(path)

    def remove(self, path: str) -> None:
        """Removes an object, or everything under a folder."""
        with contextlib.suppress(FileNotFoundError), _named(path, "removed"):
            if _gfile().isdir(path):
                _gfile().rmtree(path)
            elif _gfile().exists(path):
                _gfile().remove(path)

    def upload(self, local: str, path: str) -> None:
        """Copies a local file to `path`, under a temporary name first: TensorFlow leaves half a file if it fails."""
        beside = unused_name(path)
        try:
            with _named(path, "written"):
                _gfile().copy(local, beside)
                _gfile().rename(beside, path, overwrite=True)
        except BaseException:
            with contextlib.suppress(StorageError, FileNotFoundError):
                self.remove(beside)
            raise


def _gfile() -> Any:
    import tensorflow as tf  # local paths never pay for this import

    return tf.io.gfile


@contextlib.contextmanager
def _named(path: str, done: str) -> Iterator[None]:
    """Turns TensorFlow's errors into FileNotFoundError, or into one that says what to do."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.NotFoundError as error:
        if done == "written":
            raise StorageError(f"{path} could not be written ({_line(error)}): create its bucket first.") from None
        raise FileNotFoundError(2, "No such file", path) from None
    except tf.errors.OpError as error:
        raise StorageError(
            f"{path} could not be {done} ({_line(error)}): check its address, the network and the credentials (gcloud "
            "auth application-default login)."
        ) from None


def _line(error: Any) -> str:
    return " ".join(str(error.message).split())[:200]
