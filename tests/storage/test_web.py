"""Web servers: with ranges and without, files whose size nobody says, and addresses with a query."""

import contextlib
import functools
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from carclf import storage
from carclf.errors import RangesIgnoredError, StorageError
from carclf.storage import copies
from carclf.storage.copies import local_path
from tests.convert.inputs import class_folders, converted, ids_of, zipped

pytest.importorskip("fsspec", reason="fsspec is not installed")
pytest.importorskip("aiohttp", reason="aiohttp is not installed")

CONTENT = bytes(range(200))


class WholeFiles(http.server.SimpleHTTPRequestHandler):
    """Python's own server, which ignores that a range is asked for."""

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):  # the client has left
            super().do_GET()


class Ranges(WholeFiles):
    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        start, end = (int(number) for number in self.headers.get("Range", "bytes=0-")[6:].split("-"))
        part = content[start : end + 1]
        self.send_response(206 if part else 416)
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


class CutOff(WholeFiles):
    def copyfile(self, source, outputfile) -> None:
        outputfile.write(source.read(150))


@pytest.fixture
def serve(tmp_path) -> Iterator:
    """Yields a function that serves a folder with a file of 200 bytes; returns its URL and the ranges asked for."""
    with contextlib.ExitStack() as stack:

        def serving(handler):
            (tmp_path / "served").mkdir(exist_ok=True)
            (tmp_path / "served" / "file").write_bytes(CONTENT)
            of_folder = functools.partial(handler, directory=str(tmp_path / "served"))
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), of_folder))
            server.asked = []  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}", server.asked  # type: ignore[attr-defined]

        yield serving
    copies._copies.forget()


def test_a_server_without_ranges_sends_a_file_once(serve, monkeypatch):
    monkeypatch.setattr(copies, "BLOCK_BYTES", 20)
    url, asked = serve(WholeFiles)
    assert local_path(f"{url}/file").read_bytes() == CONTENT
    assert asked.count(None) == 1


def test_parts_are_read_where_the_server_has_them(serve, monkeypatch):
    monkeypatch.setattr(copies, "BLOCK_BYTES", 70)
    url, _ = serve(Ranges)
    assert local_path(f"{url}/file").read_bytes() == CONTENT
    for start, size in ((0, 200), (10, 5), (198, 5), (200, 5), (300, 5)):
        assert storage.read_range(f"{url}/file", start, size) == CONTENT[start : start + size]


def test_a_part_that_cannot_be_had_is_one_sentence_and_the_file_is_downloaded_as_advised(serve, tmp_path):
    url, _ = serve(WholeFiles)
    assert storage.read_range(f"{url}/file", 0, 7) == CONTENT[:7]
    said = rf"^{url}/file cannot be read in parts, because its server sends whole files only: download it, and give its"
    for size in (5, 195, 1000):
        with pytest.raises(RangesIgnoredError, match=said):
            storage.read_range(f"{url}/file", 5, size)
    with storage.open_binary(f"{url}/file") as file:
        assert file.read(7) == CONTENT[:7]
    with storage.open_binary(f"{url}/file") as file:
        file.seek(-20, os.SEEK_END)
        with pytest.raises(RangesIgnoredError, match=said):
            file.read()
    assert storage.read_bytes(str(local_path(f"{url}/file"))) == CONTENT


def test_a_file_whose_size_is_not_said_is_fetched_as_it_arrives(serve, monkeypatch):
    url, _ = serve(WholeFiles)
    monkeypatch.setattr(storage, "size_bytes", lambda path: 0)
    assert local_path(f"{url}/file").read_bytes() == CONTENT


@pytest.mark.parametrize("block", [20, 1000])
def test_a_transfer_that_is_cut_off_is_an_error(serve, monkeypatch, block):
    monkeypatch.setattr(copies, "BLOCK_BYTES", block)
    url, _ = serve(CutOff)
    with pytest.raises(StorageError, match=rf"^{url}/file "):
        local_path(f"{url}/file")


def test_a_query_is_no_part_of_the_name(serve, tmp_path):
    url, _ = serve(WholeFiles)
    (tmp_path / "served" / "photos.zip").write_bytes(zipped(class_folders(6)))
    query = "?download=true&key=" + 300 * "/x"
    manifest = converted(f"{url}/photos.zip{query}", tmp_path / "out")
    assert len(ids_of(manifest)) == 6
    path, other = local_path(f"{url}/file?n=1"), local_path(f"{url}/file?n=2")
    assert path.name == other.name == "file"
    assert path != other != local_path(f"{url}/file")
    assert copies._copies.named(f"{path} is damaged") == f"{url}/file is damaged"
    assert copies._copies.url_of(path) == f"{url}/file?n=1"
