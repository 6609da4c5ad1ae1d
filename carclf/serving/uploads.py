"""Receives the bodies of requests, so that uploads that stop halfway leave room for the others."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

IDLE_SECONDS = 10.0  # without a byte, after which an upload is ended
LEAST_BYTES_PER_SECOND = 5_000.0  # in the mean of `RATE_SECONDS`; the slowest mobile networks have more
RATE_SECONDS = 10.0
MAX_UPLOADS = 256  # that arrive at once
WAITING_BYTES = 512_000_000  # of all uploads that arrive or wait for the model
FORM_EXTRA_BYTES = 64_000  # allowed in a form in addition to its file


def busy() -> HTTPException:
    """Returns the answer to a request that finds no room."""
    return HTTPException(503, "The server is busy: try again in a second.", headers={"Retry-After": "1"})


class Uploads:
    """The bodies that arrive or wait.

    If they are too many or too large together, the one that has sent nothing for the longest time is ended.

    Args:
      max_bytes: largest size of a photo's file.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes, self._room = max_bytes, max(WAITING_BYTES, 2 * (max_bytes + FORM_EXTRA_BYTES))
        self._uploads: set[_Upload] = set()

    @contextlib.asynccontextmanager
    async def photo(self, request: Request) -> AsyncIterator[bytes]:
        """Yields the bytes of the field `file`, in memory; they count as waiting until this context ends.

        Raises:
          HTTPException: the file is too large or missing, the body arrives too slowly, or there is no room for it.
          ClientDisconnect: the client has gone.
        """
        upload = _Upload(self._now())
        self._uploads.add(upload)
        try:
            yield await self._file(request, await self._body(request, upload))
        finally:
            self._uploads.discard(upload)

    def stop(self) -> None:
        """Ends all uploads that arrive."""
        for upload in self._arriving():
            self._end(upload, HTTPException(503, "The server is stopping: send the photo again later."))

    async def _body(self, request: Request, upload: "_Upload") -> bytes:
        limit = self._max_bytes + FORM_EXTRA_BYTES
        announced = request.headers.get("content-length", "")
        parts = []
        try:
            if announced.isdecimal() and int(announced) > limit:
                raise self._too_large()
            async with asyncio.timeout(IDLE_SECONDS) as upload.timeout:
                async for part in _parts(request):
                    parts.append(part)
                    if not upload.receive(len(part), self._now()):
                        raise TimeoutError
                    if upload.bytes > limit:
                        raise self._too_large()
                    self._make_room()
                    if upload.refusal is not None or upload.timeout.expired():
                        raise TimeoutError
                    upload.timeout.reschedule(self._now() + IDLE_SECONDS)
        except TimeoutError:
            raise upload.refusal or HTTPException(
                408,
                f"The photo arrived too slowly: nothing arrived for {IDLE_SECONDS:g} seconds, or too little; send it "
                "again.",
            ) from None
        finally:
            upload.timeout = None
        return b"".join(parts)

    async def _file(self, request: Request, body: bytes) -> bytes:
        """Returns the file in a body; it never touches the disk."""

        async def stream() -> AsyncGenerator[bytes, None]:
            yield body
            if not parser.ended:
                raise MultiPartException("its last boundary is missing.")

        missing = HTTPException(422, "There is no photo: send one in the field `file` of a multipart form.")
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise missing
        parser = _Form(request.headers, stream(), max_files=1, max_fields=8, max_part_size=FORM_EXTRA_BYTES)
        parser.spool_max_size = len(body) + 1
        try:
            form = await parser.parse()
        except (MultiPartException, ValueError) as error:  # the second of older versions of Starlette
            raise HTTPException(400, f"The form cannot be read: {getattr(error, 'message', error)}") from None
        try:
            file = form.get("file")
            if isinstance(file, str):
                raise HTTPException(
                    422, "The field `file` has no file name: give it one, as curl does with file=@photo.jpg."
                )
            if not isinstance(file, UploadFile):
                raise missing
            raw = await file.read()
        finally:
            await form.close()
        if len(raw) > self._max_bytes:
            raise self._too_large()
        return raw

    def _make_room(self) -> None:
        """Ends uploads until the others fit."""
        while len(self._arriving()) > MAX_UPLOADS or sum(upload.bytes for upload in self._uploads) > self._room:
            self._end(min(self._arriving(), key=lambda upload: upload.newest), busy())

    def _arriving(self) -> list["_Upload"]:
        return [upload for upload in self._uploads if upload.timeout is not None]

    def _end(self, upload: "_Upload", refusal: HTTPException) -> None:
        self._uploads.discard(upload)
        upload.refusal = refusal
        if upload.timeout is not None and not upload.timeout.expired():
            upload.timeout.reschedule(self._now())

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"The photo is too large: send at most {self._max_bytes / 1e6:g} MB.")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class _Form(MultiPartParser):
    """A parser that knows whether the form has ended, and was not cut off."""

    ended = False

    def on_end(self) -> None:
        self.ended = True


class _Upload:
    """A body.

    Attributes:
      bytes: how many have arrived.
      newest: when the newest of them arrived, seconds of the event loop.
      timeout: ends the upload; None before and after its bytes arrive.
      refusal: why it was ended, if that was not its own fault.
    """

    def __init__(self, now: float) -> None:
        self.bytes = 0
        self.newest = self._began = now
        self._since_began = 0
        self.timeout: asyncio.Timeout | None = None
        self.refusal: HTTPException | None = None

    def receive(self, count: int, now: float) -> bool:
        """Counts bytes; returns whether they arrive fast enough."""
        self.bytes += count
        self.newest = now
        self._since_began += count
        seconds = now - self._began
        if seconds < RATE_SECONDS:
            return True
        fast = self._since_began >= LEAST_BYTES_PER_SECOND * seconds
        self._began, self._since_began = now, 0
        return fast


async def _parts(request: Request) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        yield message.get("body", b"")
