"""Uploads that stop, drip or are too large leave the server free for others; other pages and names are refused."""

import contextlib
import html.parser
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from carclf.serve import exposure, host_names
from carclf.serving import server, uploads
from carclf.serving.app import build_app
from carclf.serving.model import Answer
from tests.serving.clients import FORM, ask, classify, form, serving

ROOT = Path(__file__).parents[2]
MAX_BYTES = 100_000
CLASS_NAMES = ("a", "b")
TOO_LARGE = {"error": "The photo is too large: send at most 0.1 MB."}


class Model:
    """Stands for a run; whatever is sent is a photo of class b."""

    class_names = CLASS_NAMES

    def prepare(self, raw: bytes) -> bytes:
        return raw

    def answer(self, tasks: list) -> list[Answer]:
        return [Answer(np.array([0.25, 0.75]), None) for _ in tasks]


def app_of(**changes):
    return build_app(Model(), **({"name": "one", "host": "127.0.0.1", "max_bytes": MAX_BYTES} | changes))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "IDLE_SECONDS", 1.0)
        patch.setattr(uploads, "RATE_SECONDS", 0.5)
        patch.setattr(server, "HEAD_SECONDS", 1.0)
        with serving(app_of()) as port:
            yield port


def begin(port: int, content: bytes, *, length: int | None = None) -> socket.socket:
    """Returns a connection that has sent a request up to the end of `content`, of a body of `length` bytes."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    length = 2 * len(content) if length is None else length
    head = f"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


def answer_of(connection: socket.socket) -> tuple[int, dict]:
    with contextlib.closing(connection):
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, json.loads(answer.read())


def test_seventy_uploads_that_stop_halfway_leave_the_server_free_and_are_ended(port):
    stopped = [begin(port, form(b"photo")[:60]) for _ in range(70)]
    status, answer = classify(port, b"photo")
    assert (status, answer["classes"][0]["name"]) == (200, "b")
    for connection in stopped:
        status, answer = answer_of(connection)
        assert status == 408
        assert answer["error"].startswith("The photo arrived too slowly: nothing arrived for")


def test_an_upload_that_drips_is_ended(port):
    connection = begin(port, form(b"photo")[:30], length=10_000)
    with contextlib.suppress(OSError):
        for _ in range(100):
            connection.sendall(b".")
            time.sleep(0.05)
    assert answer_of(connection)[0] == 408


@pytest.mark.parametrize("head", [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "], ids=["empty", "begun"])
def test_a_connection_whose_head_does_not_end_is_closed(port, head):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head)
        assert connection.recv(1000) == b""


def test_a_second_head_on_a_connection_must_end_too(port):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(10_000).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /health HTT")
        while part := connection.recv(10_000):
            assert b"max_bytes" in part  # the end of the first answer


def test_uploads_that_are_too_large_together_end_the_one_that_is_silent_longest(monkeypatch):
    monkeypatch.setattr(uploads, "WAITING_BYTES", 0)  # the room of two of the largest photos
    monkeypatch.setattr(uploads, "IDLE_SECONDS", 60.0)
    with serving(app_of()) as port:
        body = form(bytes(90_000))
        stopped = []
        for _ in range(3):
            stopped.append(begin(port, body[:90_000], length=len(body)))
            time.sleep(0.1)
        assert answer_of(begin(port, body, length=len(body)))[0] == 200
        assert answer_of(stopped[0]) == (503, {"error": "The server is busy: try again in a second."})
        for connection in stopped[1:]:
            connection.sendall(body[90_000:])
            assert answer_of(connection)[0] == 200


def test_a_chunked_body_over_the_limit_is_answered_while_the_client_still_sends(port):
    chunks = (bytes(100_000) for _ in range(200))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/api/classify", chunks, {"Content-Type": FORM}, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (413, TOO_LARGE)
    connection.close()


def test_a_body_over_the_limit_is_answered_while_the_client_still_sends(port):
    assert classify(port, bytes(20_000_000)) == (413, TOO_LARGE)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://proxy.example"}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site", "Origin": "http://localhost:1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Origin": "http://localhost:{port}", "Host": "localhost:{port}"}, 200),
    ],
    ids=str,
)
def test_a_photo_from_another_page_is_refused(port, headers, status):
    given = {name: value.format(port=port) for name, value in headers.items()}
    found, answer = classify(port, b"photo", headers=given)
    assert found == status
    if status == 403:
        assert answer == {
            "error": "Another page sent this photo: open this server's own page, or send it by a program."
        }


def test_another_name_is_refused_until_the_advice_is_followed(port):
    status, _, content = ask(port, "GET", "/health", Host="notebooks.example:8888")
    assert status == 400
    advised = re.search(r"start it with --allow_host=(\S+)\.$", json.loads(content)["error"])[1]
    with serving(app_of(allowed_hosts=[advised])) as other:
        assert ask(other, "GET", "/health", Host="notebooks.example:8888")[0] == 200
        assert ask(other, "GET", "/health", Host="127.0.0.1:80")[0] == 200
        assert ask(other, "GET", "/health", Host="evil.example")[0] == 400
    with serving(app_of(host="0.0.0.0", allowed_hosts=["cars.example"])) as open_to_all:
        assert ask(open_to_all, "GET", "/health", Host="evil.example")[0] == 400


@pytest.mark.parametrize(
    ("host", "warned"), [("0.0.0.0", True), ("192.168.0.7", True), ("127.0.0.1", False), ("localhost", False)]
)
def test_a_server_for_the_whole_network_says_so(host, warned):
    assert bool(exposure(host)) == warned
    assert not warned or f"whoever reaches {host} can use this server, without a password" in exposure(host)


def test_an_address_may_stand_for_its_name():
    assert host_names("a.example, https://B.example:8443/user/ann/,[::1]:80") == ["a.example", "b.example", "::1"]
    assert host_names("") == []


STOPPING = """
import contextlib, sys
from carclf import preemption
from carclf.command import run_command
from carclf.flags import Options
from carclf.serving.server import bind, run_server
from carclf.serving.uploads import Uploads
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route
import dataclasses

@dataclasses.dataclass(frozen=True)
class NoOptions(Options):
    pass

async def classify(request):
    print("begun", flush=True)
    async with uploads.photo(request):
        return JSONResponse({})

async def refuse(request, error):
    return JSONResponse({"error": error.detail}, status_code=error.status_code)

def main(options):
    routes = [Route("/api/classify", classify, methods=["POST"])]
    app = Starlette(routes=routes, exception_handlers={HTTPException: refuse})
    app.state.stop = uploads.stop
    opened = bind("127.0.0.1", 0)
    run_server(app, opened=opened, announce=lambda: print(opened.getsockname()[1], flush=True))
    print("Stopped.")

uploads = Uploads(max_bytes=100_000)
run_command(main, NoOptions, description="")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_during_an_upload_ends_in_order(number):
    with subprocess.Popen(
        [sys.executable, "-c", STOPPING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        connection = begin(int(process.stdout.readline()), form(b"photo")[:60])
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        try:
            assert answer_of(connection) == (503, {"error": "The server is stopping: send the photo again later."})
            said, error = process.communicate(timeout=60)
        finally:
            process.kill()  # where it did not stop, this test would never end
    assert (process.returncode, said, error) == (0, "Stopped.\n", "")


PREFIX = "/user/ann/proxy/8080"


class _Proxy(http.server.BaseHTTPRequestHandler):
    """Passes on what lies below PREFIX, without it, as the proxies of notebooks do."""

    protocol_version = "HTTP/1.1"
    port = 0

    def do_GET(self) -> None:
        if not self.path.startswith(f"{PREFIX}/"):
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        kept = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        connection.request(self.command, self.path.removeprefix(PREFIX), body, kept)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_POST = do_GET  # noqa: N815 - the name that the base class looks for

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def proxied(port) -> Iterator[str]:
    """The address of the page behind a proxy with a prefix."""
    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Proxy", (_Proxy,), {"port": port}))
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{proxy.server_port}{PREFIX}/"
    proxy.shutdown()
    thread.join()
    proxy.server_close()


class _Addresses(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("href", "src") and not value.startswith("data:")]


def test_behind_a_prefix_every_address_of_the_page_leads_to_the_server(proxied):
    page = _Addresses()
    with urllib.request.urlopen(proxied, timeout=60) as answer:
        page.feed(answer.read().decode())
    with urllib.request.urlopen(urllib.parse.urljoin(proxied, "page.js"), timeout=60) as answer:
        called = re.findall(r'fetch\("([^"]+)"', answer.read().decode())
    assert sorted(page.found) == ["page.css", "page.js"]
    assert sorted(called) == ["api/classify?heat=1", "health"]
    for address in (*page.found, "health"):
        with urllib.request.urlopen(urllib.parse.urljoin(proxied, address), timeout=60) as answer:
            assert answer.status == 200
    request = urllib.request.Request(
        urllib.parse.urljoin(proxied, "api/classify?heat=1"), form(b"photo"), {"Content-Type": FORM}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.loads(answer.read())["classes"][0] == {"name": "b", "probability": 0.75}


def test_behind_a_prefix_the_page_works_in_a_browser(proxied, tmp_path):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    (tmp_path / "photo.jpg").write_bytes(b"photo")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(proxied)
        page.locator("#limit", has_text="Up to 0.1 MB each.").wait_for()
        page.set_input_files("#files", tmp_path / "photo.jpg")
        page.locator("article li").nth(1).wait_for()
        assert page.locator("article li bdi").first.inner_text() == "b"
        browser.close()
