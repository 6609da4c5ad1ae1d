"""The HTTP interface: the page's three files, POST /api/classify, GET /health."""

import asyncio
import contextlib
import importlib.resources
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from carclf.data.validation import UnusableError
from carclf.serving.batcher import Batcher, BusyError
from carclf.serving.guards import LOOPBACK_NAMES, KnownHosts, SecurityHeaders, check_same_origin, is_loopback
from carclf.serving.model import BATCH_SIZES, Answer, ServedModel, Task
from carclf.serving.uploads import Uploads, busy
from carclf.workers import usable_cores

WAIT_SECONDS = 0.025  # for the first photo of a batch, while others are decoded; little compared with the model
MAX_PENDING = 64  # complete photos in progress; further ones are told to retry

HEAT = {"1": True, "true": True, "0": False, "false": False}  # what the query ?heat= may say
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


def build_app(
    model: ServedModel, *, name: str, host: str, max_bytes: int, allowed_hosts: Sequence[str] = ()
) -> Starlette:
    """Returns the application; its `state.stop` ends the uploads that arrive.

    Args:
      model: the model, warmed up.
      name: display name of the run.
      host: the address to listen on. On a loopback address requests with another Host are refused, so that no web page
        can reach the server under a domain of its own.
      max_bytes: largest size of a photo's file.
      allowed_hosts: further names under which the server answers, such as a proxy's; if there are any, no others than
        these and this machine's own.
    """
    service = _Service(model, name=name, max_bytes=max_bytes, allowed_hosts=allowed_hosts)
    middleware = [Middleware(SecurityHeaders)]
    if is_loopback(host) or allowed_hosts:
        middleware.append(Middleware(KnownHosts, names=[*LOOPBACK_NAMES, host, *allowed_hosts]))
    app = Starlette(
        routes=[
            *(Route(path, _file_endpoint(*file), methods=["GET"]) for path, file in FILES.items()),
            Route("/health", service.health, methods=["GET"]),
            Route("/api/classify", service.classify, methods=["POST"]),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: _refusal, ClientDisconnect: _gone, Exception: _failure},
        lifespan=service.lifespan,
    )
    app.state.stop = service.uploads.stop
    return app


class _Service:
    def __init__(self, model: ServedModel, *, name: str, max_bytes: int, allowed_hosts: Sequence[str]) -> None:
        self._model, self._name, self._max_bytes, self._allowed_hosts = model, name, max_bytes, allowed_hosts
        self.uploads = Uploads(max_bytes=max_bytes)
        self._pending = 0  # photos with their file complete
        self._batcher: Batcher[Task, Answer]
        self._decoders: ThreadPoolExecutor

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Keeps the threads alive as long as the server."""
        self._decoders = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")
        self._batcher = Batcher(
            self._model.answer,
            expected=lambda: self._pending,
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
        check_same_origin(request, allowed=self._allowed_hosts)
        with_heat = _wants_heat(request.query_params.get("heat", "0"))
        async with self.uploads.photo(request) as raw:
            if self._pending >= MAX_PENDING:
                raise busy()
            return await self._classify(raw, with_heat=with_heat)

    async def _classify(self, raw: bytes, *, with_heat: bool) -> Response:
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        self._pending += 1
        try:
            photo = await loop.run_in_executor(self._decoders, self._model.prepare, raw)
            answer = await asyncio.wrap_future(self._batcher.submit(Task(photo, with_heat=with_heat)))
        except UnusableError as error:
            raise HTTPException(422, f"The photo cannot be used: {error}.") from None
        except BusyError:
            raise busy() from None
        finally:
            self._pending -= 1
        return JSONResponse(self._to_json(answer, seconds=time.perf_counter() - started))

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


def _wants_heat(word: str) -> bool:
    if word not in HEAT:
        raise HTTPException(422, f"The query says heat={word}: give one of {', '.join(HEAT)}.")
    return HEAT[word]


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
