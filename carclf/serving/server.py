"""A port, and the server on it."""

import contextlib
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from carclf.errors import UserError

SECONDS_TO_END = 5  # for requests under way


def bind(host: str, port: int) -> socket.socket:
    """A socket on which nobody is listening yet: taken before the model loads, so that a taken port is said at once.

    Raises:
      UserError: the port is taken or not allowed, or the host is not this machine's.
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
            f"{host}:{port} cannot be listened on ({reason}): give another --port, or another --host."
        ) from None
    return opened


def run_server(app: Starlette, *, opened: socket.socket, announce: Callable[[], None]) -> None:
    """Serves until Ctrl-C or SIGTERM.

    Args:
      app: what answers.
      opened: of `bind`.
      announce: is called when requests are taken.
    """
    config = uvicorn.Config(
        app, log_level="warning", server_header=False, timeout_graceful_shutdown=SECONDS_TO_END, ws="none"
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when it has ended
        _Server(config, announce).run(sockets=[opened])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()
