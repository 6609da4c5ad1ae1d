"""The exceptions that a command prints as one sentence, without a traceback."""

import errno
import os
import re
from collections.abc import Iterator

# How a framework shows an error from a function that it called: class name, text, then its own traceback.
_SHOWN = re.compile(r"\b(?:UserError|DamagedShardError|DamagedFileError|StorageError|RangesIgnoredError): ([^\n]+)")

# How systems, HDF5, TensorFlow and SQLite say that nothing more can be written.
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", None))  # Windows has no quota
_REMEDIES = {  # of those that free space does not help
    os.strerror(errno.EFBIG): "raise the limit on the size of a file (ulimit -f)",
    os.strerror(errno.EROFS): "make it writable",
}
_FULL_TEXT = re.compile(
    r"(?:(?P<path>/[^\s;]+); )?"  # TensorFlow's way to name the file
    r"(?P<reason>No space left on device|Disk quota exceeded|File too large|Read-only file system|"
    r"database or disk is full)"
)


class UserError(Exception):
    """An error that the user can fix: the message says in one sentence what was found, where, and what to do."""


class DamagedShardError(UserError):
    """A shard does not contain what its data set says; the message names the shard."""


class DamagedFileError(UserError):
    """An archive or a file of records cannot be read; the message names it first, then says what to do."""

    @property
    def problem(self) -> str:
        """What is wrong with the file, in words: the message without what to do."""
        return str(self).rpartition(": ")[0]


class StorageError(UserError):
    """What lies at a URL cannot be read or written; the message names the URL, the reason and what to do."""


class RangesIgnoredError(StorageError):
    """A server sends whole files where parts are asked for; the message names the URL and what to do."""


class Preempted(BaseException):
    """The machine is being preempted (SIGTERM) and everything is saved: one sentence, exit code 75.

    Like KeyboardInterrupt, it is not an Exception, so that no handler on its way mistakes it for a failure.
    """


def sentence_in(error: BaseException) -> str | None:
    """Returns the sentence for an error that users can fix, even if a framework wrapped it; None for any other.

    That is a UserError, or what libraries raise where a disk is full or a file may not be opened.
    """
    if isinstance(error, UserError):
        return str(error)
    if shown := _SHOWN.search(str(error)):
        return shown.group(1)
    return full_disk(error) or _forbidden(error)


def _forbidden(error: BaseException) -> str | None:
    """Returns a sentence if this user may not open a file or write to its folder; otherwise None."""
    for one in _chain(error):
        if isinstance(one, PermissionError) and one.filename:
            return (
                f"{one.filename} could not be opened ({os.strerror(one.errno or 0)}): make it and its folder readable "
                "and writable, or name another place."
            )
    return None


def full_disk(error: BaseException, *, path: str = "") -> str | None:
    """Returns a sentence if the error came from a file system on which nothing more can be written; otherwise None.

    Args:
      error: any exception.
      path: what was being written; '' for what the error names.
    """
    for one in _chain(error):
        path = path or str(getattr(one, "filename", None) or "")
        if isinstance(one, OSError) and one.errno is not None and one.errno in _FULL:
            reason = os.strerror(one.errno)  # HDF5 adds lines of its own
        elif found := _FULL_TEXT.search(str(one)):
            path, reason = path or found["path"], found["reason"]
        else:
            continue
        return (
            f"{path or 'A file'} could not be written ({reason}): {_REMEDIES.get(reason, 'free some space there')}, "
            "and run the same command again; what was written before is whole."
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
