"""Working copies: local files in place of URLs, for libraries that read and write nothing else.

What is at a URL is fetched once, into a temporary folder. A file that is written there (`carclf.files`) is uploaded at
once, so that the store has every state that the folder had, in the same order.
"""

import atexit
import contextlib
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from carclf import files, storage
from carclf.errors import Preempted, RangesIgnoredError, StorageError, UserError
from carclf.lock import LOCK_FILE
from carclf.progress import Progress
from carclf.scratch import Scratch

BLOCK_BYTES = 8 * 2**20  # of a file that is fetched in parts
READERS = 32  # blocks at a time
SPARE_BYTES = 2**26  # left free on the disk
NO_HOST = "%"  # in place of the missing host of a URL such as memory:///cars
QUERY = "%3F"  # begins the folder of a file whose URL has a query
QUERY_DIGITS = 16  # of the query's hash, in the folder's name

WITH_QUERIES = ("http://", "https://")

Stamp = tuple[int, int]
"""Size in bytes, and time of the last change in nanoseconds."""


class WorkingCopies:
    """The working copies of a process.

    Their paths are those of the URLs: s3://cars/runs is ROOT/s3/cars/runs. The query of a web address is replaced by a
    folder: https://host/a.zip?key=1 is ROOT/https/host/%3F0123456789abcdef/a.zip.
    """

    def __init__(self) -> None:
        self._scratch: Scratch
        self._root: Path | None = None  # of `_scratch`
        self._shown = ""  # the root, also after the working copies are removed: errors are printed last
        self._queries: dict[str, str] = {}  # folder in place of a query → the query
        self._left_out: dict[str, frozenset[str]] = {}  # URL that was fetched → the folders that were not
        self._stored: dict[Path, Stamp] = {}  # files that the store has, too, as they were then

    def local_path(self, url: str, *, without: Collection[str], fetched: bool) -> Path:
        """Returns the path of the working copy of a URL; see the function of this name."""
        address, mark, query = url.partition("?") if url.startswith(WITH_QUERIES) else (url, "", "")
        root, address = self._open(), address.rstrip("/")
        url = url if mark else address
        scheme, _, rest = address.partition("://")
        if ".." in rest.split("/"):
            raise UserError(f"{address} goes up with '..', which no store does: give the URL of the folder itself.")
        path = root / scheme / (NO_HOST + rest if rest.startswith("/") else rest)
        if mark:
            folder = QUERY + storage.sha256(query.encode())[:QUERY_DIGITS]
            self._queries[folder] = query
            path = path.parent / folder / path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.backend_of(url)  # refuses a scheme that is not known
        if fetched and not self._left_out.get(url, frozenset(without) | {""}) <= frozenset(without):
            self._fetch(url, path, without=without)
            self._left_out[url] = frozenset(without)
        return path

    def url_of(self, path: Path) -> str | None:
        """Returns the URL of a file in a working copy; None for any other."""
        if self._root is None or not path.is_relative_to(self._root):
            return None
        scheme, *parts = path.relative_to(self._root).parts
        query = "".join(f"?{self._queries[part]}" for part in parts if part in self._queries)
        rest = "/".join(part for part in parts if part not in self._queries)
        return f"{scheme}://{rest}{query}".replace(f"://{NO_HOST}/", ":///")

    def named(self, text: str) -> str:
        """Returns the text with the URL in place of the path of each working copy; without its query, often a key."""
        if not self._shown:
            return text
        text = re.sub(rf"{re.escape(self._shown)}/([\w+.-]+)/({NO_HOST}(?=/))?", r"\1://", text)
        return re.sub(rf"{QUERY}[0-9a-f]{{{QUERY_DIGITS}}}/", "", text)

    def follow(self, path: Path) -> None:
        """Uploads a file that was written in a working copy, after removing from the store what is gone here."""
        if url := self.url_of(path):
            self.remove_gone()
            storage.upload(str(path), url)
            self._stored[path] = _stamp(path)

    def finish(self) -> None:
        """Uploads what changed in working copies and was not written by `carclf.files`, such as TensorBoard's files."""
        self.remove_gone()
        for path in sorted(self._root.rglob("*") if self._root else []):
            if path.is_file() and not path.name.startswith(".") and self._stored.get(path) != _stamp(path):
                storage.upload(str(path), str(self.url_of(path)))
                self._stored[path] = _stamp(path)

    def forget(self) -> None:
        """Removes all working copies."""
        if self._root is not None:
            files.followers.remove(self.follow)
            self._scratch.remove()
        self._root = None
        self._left_out.clear()
        self._stored.clear()

    def _open(self) -> Path:
        if self._root is None:
            self._scratch = Scratch()
            self._root = self._scratch.path.resolve()
            self._shown = str(self._root)
            files.followers.append(self.follow)
            sys.stdout, sys.stderr = _Naming(sys.stdout, self), _Naming(sys.stderr, self)
        return self._root

    def _fetch(self, url: str, path: Path, *, without: Collection[str]) -> None:
        with Progress(f"Listing {url}"):
            size = storage.size_bytes(url)
            sizes = {"": size} if size is not None else _checked(storage.sizes_under(url), url)
        wanted = {name: size for name, size in sizes.items() if not _is_left_out(name, without)}
        wanted = {name: size for name, size in wanted.items() if path / name not in self._stored}
        self._check_room(url, sum(wanted.values()))
        blocks = [
            (f"{url}/{name}" if name else url, path / name, start, size)
            for name, size in wanted.items()
            for start in range(0, max(size, 1), BLOCK_BYTES)
        ]
        try:
            with Progress(f"Fetching {url}", total=len(blocks), unit="parts") as progress:
                _fetch_blocks(blocks, progress)
        except BaseException:
            for name in wanted:  # half a file must not replace the whole one in the store
                (path / name).unlink(missing_ok=True)
            raise
        self._stored |= {path / name: _stamp(path / name) for name in wanted}

    def _check_room(self, url: str, needed: int) -> None:
        free = shutil.disk_usage(self._open()).free
        if free < needed + SPARE_BYTES:
            raise UserError(
                f"{url} is fetched into {tempfile.gettempdir()} and needs {needed / 1e9:.1f} GB there, where "
                f"{free / 1e9:.1f} GB are free: free some space, or name another folder in TMPDIR."
            )

    def remove_gone(self) -> None:
        """Removes from the store what is gone here; JSON first, because it marks what is complete."""
        gone = [path for path in self._stored if not path.exists()]
        for path in sorted(gone, key=lambda path: (path.suffix != ".json", path)):
            storage.remove(str(self.url_of(path)))
            del self._stored[path]


class _Naming:
    """A text stream that shows URLs in place of the paths of working copies."""

    def __init__(self, stream: Any, copies: WorkingCopies) -> None:
        self._stream, self._copies = stream, copies

    def write(self, text: str) -> int:
        return int(self._stream.write(self._copies.named(text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_copies = WorkingCopies()
atexit.register(_copies.forget)


def local_path(path: str, *, without: Collection[str] = (), fetched: bool = True) -> Path:
    """Returns a local path as it is, with ~ for the home folder; of a URL that of its working copy.

    There is nothing at it if there is nothing at the URL.

    Args:
      path: a local path or a URL.
      without: names of folders inside it that are not needed now; a later call can fetch them.
      fetched: whether to fetch what is there; False for a file that will be replaced.

    Raises:
      UserError: the store cannot be reached, or the disk has no room.
    """
    if not storage.is_remote(path):
        return Path(path).expanduser()
    return _copies.local_path(path, without=without, fetched=fetched)


def place_of(path: Path) -> str:
    """Returns the URL of what is in a working copy, and any other path as it is."""
    return _copies.url_of(path) or str(path)


def remove_gone() -> None:
    """Removes from the stores what is gone in working copies, without waiting for the next file that is written there.

    Raises:
      UserError: a store cannot be reached.
    """
    _copies.remove_gone()


@contextlib.contextmanager
def finishing() -> Iterator[None]:
    """Brings working copies to their stores at the end of this context, and removes them; after an error, as they are.

    Raises:
      UserError: a store cannot be reached.
    """
    try:
        yield
        _copies.finish()
    except (Preempted, KeyboardInterrupt):
        with contextlib.suppress(UserError):  # what counts was uploaded when it was written
            _copies.finish()
        raise
    finally:
        _copies.forget()


def _checked(sizes: Mapping[str, int], url: str) -> Mapping[str, int]:
    """Returns the objects whose names are those of files below a folder.

    Raises:
      StorageError: a name leads elsewhere, or cannot be that of a file.
    """
    for name in sizes:
        if "\\" in name or "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
            raise StorageError(
                f"{url} holds an object named {name!r}, which cannot be a file here: rename it there, or give a "
                "folder without it."
            )
    return sizes


def _is_left_out(name: str, without: Collection[str]) -> bool:
    *folders, file = name.split("/")
    return file == LOCK_FILE or any(folder in without for folder in folders)


def _fetch_blocks(blocks: Sequence[tuple[str, Path, int, int]], progress: Progress) -> None:
    fetch = _Fetch()
    with ThreadPoolExecutor(READERS, thread_name_prefix="fetch") as threads:
        tasks = [threads.submit(fetch.block, *block) for block in blocks]
        try:
            for task in tasks:
                task.result()
                progress.add()
        finally:
            fetch.stopped.set()
            for task in tasks:
                task.cancel()


class _Fetch:
    """What the threads of one fetch share."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._streamed: dict[str, int] = {}  # URL of a file that has no parts → the block whose thread fetches it

    def block(self, url: str, path: Path, start: int, size: int) -> None:
        """Writes one block of a file; the whole file if its size is not known, or if its server has no parts of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not size:  # a web server may not say how long a file is
            self._stream(url, path)
        elif url not in self._streamed:
            expected = min(BLOCK_BYTES, size - start)
            try:
                content = storage.read_range(url, start, expected)
            except RangesIgnoredError:
                if self._streamed.setdefault(url, start) == start:
                    _check_size(url, self._stream(url, path), size)
                return
            _check_size(url, len(content), expected)
            _write(path, start, content)

    def _stream(self, url: str, path: Path) -> int:
        """Writes a file as it arrives; returns its size in bytes, or that of what arrived before the fetch stopped."""
        with open(path, "wb") as file:
            for content in storage.stream(url):
                file.write(content)
                if self.stopped.is_set():
                    break
            return file.tell()


def _check_size(url: str, found: int, expected: int) -> None:
    """Checks that as many bytes arrived as the store had said.

    Raises:
      StorageError: it were others.
    """
    if found != expected:
        raise StorageError(
            f"{url} changed while it was fetched, or was cut off ({found:,} of {expected:,} bytes arrived): run the "
            "same command again."
        )


def _write(path: Path, start: int, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.lseek(handle, start, os.SEEK_SET)
        while content:
            content = content[os.write(handle, content) :]
    finally:
        os.close(handle)


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
