"""Temporary folders: removed at the end, or after SIGKILL by the next process that makes one in the same place.

Each is locked by its process. The system releases the lock however the process ends, so a folder that can be locked
is nobody's.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

PREFIX = "carclf-tmp-"  # of the names in TMPDIR
TRIES = 100


class Scratch:
    """A new folder of this process.

    Attributes:
      path: the folder.
    """

    def __init__(
        self, *, within: Path | None = None, prefix: str = PREFIX, rescue: Callable[[Path], None] | None = None
    ) -> None:
        """Makes the folder, after removing those of the same prefix whose processes are gone.

        Args:
          within: where; None is TMPDIR.
          prefix: of its name.
          rescue: as for `remove_abandoned`.

        Raises:
          OSError: it cannot be made.
        """
        parent = Path(within or tempfile.gettempdir())
        remove_abandoned(parent, prefix=prefix, rescue=rescue)
        self._process = os.getpid()
        for _ in range(TRIES):
            path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            with contextlib.suppress(FileNotFoundError):  # another process took it for abandoned before it was locked
                self._handle, locked = _lock(path)
                if locked or self._handle is None:
                    self.path = path
                    return
                os.close(self._handle)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(parent))

    def remove(self) -> None:
        """Removes the folder, unless this process is a fork of the one that made it."""
        if os.getpid() == self._process:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@contextlib.contextmanager
def scratch_folder(*, within: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """Yields the path of a `Scratch`, which is removed at the end of this context; arguments and errors are its own."""
    scratch = Scratch(within=within, prefix=prefix)
    try:
        yield scratch.path
    finally:
        scratch.remove()


def remove_abandoned(parent: Path, *, prefix: str, rescue: Callable[[Path], None] | None = None) -> None:
    """Removes the folders in `parent` that killed processes of this user left; where there are no locks, none.

    Args:
      parent: the folder.
      prefix: of their names.
      rescue: called with each of them before it is removed; after an OSError it stays.
    """
    with contextlib.suppress(OSError):
        for entry in [entry for entry in os.scandir(parent) if entry.name.startswith(prefix)]:
            with contextlib.suppress(OSError):
                _remove_if_abandoned(Path(entry.path), rescue)


def _remove_if_abandoned(path: Path, rescue: Callable[[Path], None] | None) -> None:
    handle, locked = _lock(path)
    if handle is None:
        return
    try:
        if locked and os.fstat(handle).st_uid == os.getuid():
            if rescue:
                rescue(path)
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)


def _lock(path: Path) -> tuple[int | None, bool]:
    """Returns an open descriptor of the folder, None where folders have no locks, and whether this process locked it.

    Raises:
      OSError: it is no folder, or not to be opened.
    """
    if os.name != "posix":  # Windows cannot open a folder
        return None, False
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle, path.exists() and os.path.samestat(os.fstat(handle), path.stat())
    except BlockingIOError:
        return handle, False
    except OSError:  # a network file system without locks
        os.close(handle)
        return None, False
