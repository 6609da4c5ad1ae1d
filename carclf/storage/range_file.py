"""A file object whose bytes are read range by range."""

import io
import os
from collections.abc import Callable
from typing import IO, cast

BUFFER_BYTES = 8 * 2**20  # a request takes as long as the transfer of some MB
STREAM_BYTES = 2**20  # of a file that is read from its start to its end, at a time


class RangeFile(io.RawIOBase):
    """A file that can only be read, at any position."""

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        """Creates a file.

        Args:
          read_range: (start, size) to bytes.
          size: of the file, bytes.
        """
        self._read_range, self._size, self._at = read_range, size, 0

    def buffered(self) -> IO[bytes]:
        """Returns the file with a buffer of some MB."""
        return cast(IO[bytes], io.BufferedReader(self, BUFFER_BYTES))

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the position, bytes."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position and returns it."""
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills the buffer, or a part of it at the end of the file; returns the number of bytes."""
        size = min(len(buffer), self._size - self._at)
        content = self._read_range(self._at, size) if size > 0 else b""
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
