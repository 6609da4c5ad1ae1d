"""The HTTP interface: the page's three files, POST /api/classify, GET /health."""

import asyncio
import contextlib
import importlib.resources
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from carclf.data.validation import UnusableError
from carclf.serving.batcher import Batcher, BusyError
from carclf.serving.model import BATCH_SIZES, Answer, ServedModel, Task
from carclf.workers import usable_cores

WAIT_SECONDS = 0.025  # for the first photo of a batch, while others are decoded; little compared with the model
MAX_PENDING = 64  # photos in progress; further requests are told to retry
FORM_EXTRA_BYTES = 64_000  # allowed in a form in addition to its file

FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def build_app(model: ServedModel, *, name: str, host: str, max_bytes: int) -> Starlette:
    """Returns the application.

    Args:
      model: the model, warmed up.
      name: display name of the run.
      host: the address to listen on. On a loopback address requests with another Host are refused, so that no web page
        can reach the server under a domain of its own.
      max_bytes: largest size of a photo's file.
    """
    service = _Service(model, name=name, max_bytes=max_bytes)
    middleware = [Middleware(_SecurityHeaders)]
    if is_loopback(host):
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", host]))
    return Starlette(
        routes=[
            *(Route(path, _file_endpoint(*file), methods=["GET"]) for path, file in FILES.items()),
            Route("/health", service.health, methods=["GET"]),
            Route("/api/classify", service.classify, methods=["POST"]),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: _refusal, ClientDisconnect: _gone, Exception: _failure},
        lifespan=service.lifespan,
    )


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Service:
    def __init__(self, model: ServedModel, *, name: str, max_bytes: int) -> None:
        self._model, self._name, self._max_bytes = model, name, max_bytes
        self._pending = 0
        self._received = 0  # pending photos with their file complete
        self._batcher: Batcher[Task, Answer]
        self._decoders: ThreadPoolExecutor

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Keeps the threads alive as long as the server."""
        self._decoders = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")
        self._batcher = Batcher(
            self._model.answer,
            expected=lambda: self._received,
            largest=max(BATCH_SIZES),
            wait_seconds=WAIT_SECONDS,
            max_waiting=MAX_PENDING,
        )
        yield
        self._decoders.shutdown(cancel_futures=True)
        self._batcher.close()

    async def health(self, request: Request) -> Response:
        """Answers that the model is ready, with its name and limits."""
        return JSONResponse(
            {
                "status": "ready",
                "run": self._name,
                "classes": len(self._model.class_names),
                "max_bytes": self._max_bytes,
            }
        )

    async def classify(self, request: Request) -> Response:
        """Answers with the classes of the photo in the field `file`, likeliest first, and with ?heat=1 its heat map."""
        if self._pending >= MAX_PENDING:
            raise _busy()
        self._pending += 1
        try:
            return await self._classify(request)
        finally:
            self._pending -= 1

    async def _classify(self, request: Request) -> Response:
        raw = await self._read_file(request)
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        self._received += 1
        try:
            photo = await loop.run_in_executor(self._decoders, self._model.prepare, raw)
            task = Task(photo, with_heat=request.query_params.get("heat") == "1")
            answer = await asyncio.wrap_future(self._batcher.submit(task))
        except UnusableError as error:
            raise HTTPException(422, f"The photo cannot be used: {error}.") from None
        except BusyError:
            raise _busy() from None
        finally:
            self._received -= 1
        return JSONResponse(self._to_json(answer, seconds=time.perf_counter() - started))

    async def _read_file(self, request: Request) -> bytes:
        limit = self._max_bytes + FORM_EXTRA_BYTES
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise self._too_large()
        limited = Request(request.scope, self._limited(request.receive, limit))
        async with limited.form(max_files=1, max_fields=8, max_part_size=FORM_EXTRA_BYTES) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise HTTPException(422, "There is no photo: send one in the field `file` of a multipart form.")
            raw = await file.read()
        if len(raw) > self._max_bytes:
            raise self._too_large()
        return raw

    def _limited(self, receive: Receive, limit: int) -> Receive:
        read = 0

        async def next_part() -> MutableMapping[str, Any]:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise self._too_large()
            return message

        return next_part

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"The photo is too large: send at most {self._max_bytes / 1e6:g} MB.")

    def _to_json(self, answer: Answer, *, seconds: float) -> dict[str, Any]:
        order = answer.probabilities.argsort(kind="stable")[::-1]
        names = self._model.class_names
        content: dict[str, Any] = {
            "classes": [{"name": names[k], "probability": round(float(answer.probabilities[k]), 6)} for k in order],
            "seconds": round(seconds, 4),
        }
        if answer.heat is not None:
            values = [[round(float(value), 3) for value in row] for row in answer.heat.values]
            content["heat"] = {"values": values, "box": list(answer.heat.box)}
        return content


def _busy() -> HTTPException:
    return HTTPException(503, "The server is busy: try again in a second.", headers={"Retry-After": "1"})


def _file_endpoint(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = importlib.resources.files(__package__).joinpath(name).read_bytes()

    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return endpoint


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _failure(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "The server failed: see the error in its terminal."}, status_code=500)


class _SecurityHeaders:
    """Adds SECURITY_HEADERS to every response."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)
