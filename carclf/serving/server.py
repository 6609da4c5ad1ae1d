"""Opens the port and runs the server on it."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from carclf import preemption
from carclf.errors import UserError

SHUTDOWN_SECONDS = 5  # for requests in progress
HEAD_SECONDS = 10.0  # for the first line and the headers of a request
MAX_CONNECTIONS = 512


def bind(host: str, port: int) -> socket.socket:
    """Returns a bound socket that is not listening yet, so that a port in use is reported before the model loads.

    Raises:
      UserError: the port is in use or not allowed, or the host is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as closed_on_error:
            opened = closed_on_error.enter_context(socket.socket(family, kind, protocol))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            closed_on_error.pop_all()
    except (OSError, UnicodeError) as error:  # the latter for a name with an empty or a long part
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UserError(
            f"The server cannot listen on {host}:{port} ({reason}): give another --port, or another --host."
        ) from None
    return opened


def run_server(app: Starlette, *, opened: socket.socket, announce: Callable[[], None]) -> None:
    """Serves until Ctrl-C or SIGTERM.

    Args:
      app: the application; its `state.stop` ends the uploads that arrive.
      opened: the socket from `bind`.
      announce: called when the server accepts requests.
    """
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # the client is told what is wrong with its form
    config = uvicorn.Config(
        app,
        http=_TimedHeads,
        limit_concurrency=MAX_CONNECTIONS,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ws="none",
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its shutdown
        _Server(config, announce, stop=app.state.stop).run(sockets=[opened])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, announce: Callable[[], None], *, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce, self._stop = announce, stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    async def on_tick(self, counter: int) -> bool:
        return preemption.noted() or await super().on_tick(counter)  # after SIGHUP, which uvicorn does not handle

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop()
        await super().shutdown(sockets)


class _TimedHeads(H11Protocol):
    """Closes a connection whose request does not begin, or whose headers do not end, in time."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_head()
        elif self._head is None:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._head = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.transport.close)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
