"""Opens the port and runs the server on it."""

import contextlib
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from carclf.errors import UserError

SHUTDOWN_SECONDS = 5  # for requests in progress


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
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"The server cannot listen on {host}:{port} ({reason}): give another --port, or another --host."
        ) from None
    return opened


def run_server(app: Starlette, *, opened: socket.socket, announce: Callable[[], None]) -> None:
    """Serves until Ctrl-C or SIGTERM.

    Args:
      app: the application.
      opened: the socket from `bind`.
      announce: called when the server accepts requests.
    """
    config = uvicorn.Config(
        app, log_level="warning", server_header=False, timeout_graceful_shutdown=SHUTDOWN_SECONDS, ws="none"
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its shutdown
        _Server(config, announce).run(sockets=[opened])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()
