"""A server in a thread, and programs that send photos to it."""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from carclf.serving.server import bind, run_server

BOUNDARY = "border"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@contextlib.contextmanager
def serving(app) -> Iterator[int]:
    """Yields the port of a server in a thread, which is ended as by a signal."""
    opened = bind("127.0.0.1", 0)
    servers, ready = [], threading.Event()
    remember = uvicorn.Server.__init__

    def init(self, config):
        remember(self, config)
        servers.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.Server, "__init__", init)
        thread = threading.Thread(target=run_server, kwargs={"app": app, "opened": opened, "announce": ready.set})
        thread.start()
        assert ready.wait(120)
    try:
        yield opened.getsockname()[1]
    finally:
        servers[0].should_exit = True
        thread.join(120)
    assert not thread.is_alive()


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def form(content: bytes, *, field: str = "file", name: str = "photo.jpg") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def classify(
    port: int, content: bytes, query: str = "", *, headers: dict[str, str] | None = None, **how: str
) -> tuple[int, dict]:
    body = form(content, **how)
    status, given, answer = ask(port, "POST", f"/api/classify{query}", body, Content_Type=FORM, **(headers or {}))
    assert given["content-type"] == "application/json"
    return status, json.loads(answer)
