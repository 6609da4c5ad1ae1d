"""Parts of files on web servers, which may ignore that only a part is asked for and send the whole file."""

from typing import Any

from carclf.errors import RangesIgnoredError

PARTIAL, NOT_FOUND, BEHIND_THE_END = 206, 404, 416  # Source: RFC 9110, 15.3.7, 15.5.5 and 15.5.17


def is_web(system: Any) -> bool:
    """Returns whether a file system of fsspec reads from web servers."""
    return "http" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,))


def read_range(system: Any, url: str, start: int, size: int) -> bytes:
    """Returns a part of a file, or less if the file ends earlier.

    Args:
      system: fsspec's file system of web servers.
      url: of the file.
      start: of the part, bytes.
      size: of the part, bytes.

    Raises:
      FileNotFoundError: there is no file.
      RangesIgnoredError: the server sends the whole file, and the part is not its start.
    """
    from fsspec.asyn import sync

    return bytes(sync(system.loop, _read_range, system, url, start, size)) if size > 0 else b""


async def _read_range(system: Any, url: str, start: int, size: int) -> bytes:
    session = await system.set_session()
    asked = {"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "identity"}
    options = system.kwargs | {"headers": system.kwargs.get("headers", {}) | asked}
    async with session.get(system.encode_url(url), **options) as answer:
        if answer.status == BEHIND_THE_END:
            return b""
        if answer.status == NOT_FOUND:
            raise FileNotFoundError(url)
        answer.raise_for_status()
        if answer.status != PARTIAL and start:  # the rest of the answer is not read
            raise ranges_ignored(url)
        content = bytearray()
        while len(content) < size and (more := await answer.content.read(size - len(content))):
            content += more
        return bytes(content)


def ranges_ignored(url: str) -> RangesIgnoredError:
    """Returns the error about a server that cannot be read in parts."""
    return RangesIgnoredError(
        f"{url} cannot be read in parts, because its server sends whole files only: download it, and give its path on "
        "this machine."
    )
