"""What every request passes first: whose page sent it, under which host name, and the headers of each response."""

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

App = Callable[..., Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_name(authority: str) -> str:
    """Returns the name in a Host header or an Origin's authority, without port and brackets, in lower case."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def _authority(origin: str) -> str:
    """Returns host and port of an Origin header; "" if it has none or is malformed."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def check_same_origin(request: Request, *, allowed: Iterable[str]) -> None:
    """Checks that no page of another origin sent the request; programs other than browsers pass.

    Args:
      request: one that costs work.
      allowed: names of hosts whose pages may send it, behind a proxy that changes the Host header.

    Raises:
      HTTPException: another page sent it.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        same = site in ("same-origin", "none")
    elif origin is not None:  # browsers say no more over plain HTTP
        authority = _authority(origin)
        own = authority.lower() == request.headers.get("host", "").lower()
        same = bool(authority) and (own or host_name(authority) in allowed)
    else:
        same = True
    if not same:
        raise HTTPException(403, "Another page sent this photo: open this server's own page, or send it by a program.")


class KnownHosts:
    """Refuses requests under other host names, so that no web page reaches the server under a name of its own."""

    def __init__(self, app: App, names: Iterable[str]) -> None:
        self._app, self._names = app, {name.lower() for name in names}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes the request on, or answers 400."""
        if scope["type"] == "http":
            given = Headers(scope=scope).get("host", "")
            name = host_name(given)
            if name not in self._names:
                text = f"This server does not answer under the name {name}: start it with --allow_host={name}."
                if not name:
                    text = "The request has no valid Host header: send one with the name of this server."
                await JSONResponse({"error": text}, status_code=400)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class SecurityHeaders:
    """Adds SECURITY_HEADERS to every response."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes the request on."""

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)
