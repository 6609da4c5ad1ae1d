"""The page in a real browser, and answers to programs, also hostile ones: one server for all, with a tiny run."""

import http.client
import json
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carclf.data.photos import read_photos
from carclf.errors import UserError
from carclf.model import photo_classifier
from carclf.model.render import Render
from carclf.runs import Member
from carclf.serving import model as served
from carclf.serving.app import build_app
from carclf.serving.guards import SECURITY_HEADERS, is_loopback
from carclf.serving.model import ServedModel, Task
from carclf.serving.server import bind
from tests.inference.made_runs import make_run
from tests.serving.clients import BOUNDARY, FORM, ask, classify, form, serving

CLIENTS = 8
MAX_BYTES = 100_000


@pytest.fixture(scope="module", autouse=True)
def render_not_compiled():
    """XLA takes seconds for each Render, and so do the gathers; matrix products without it give the same images."""

    def render(**options):
        return Render(**(options | {"jit": False, "method": "separable"}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_classifier, "Render", render)
        yield


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "one", dataset, fit="crop", image_size="24x32")


@pytest.fixture(scope="module")
def model(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "BATCH_SIZES", (1, 8))  # one less to compile
        made = ServedModel([Member(run.name, run.directory, (run,))], jit=False)
        made.warm_up()
        yield made


@pytest.fixture(scope="module")
def port(model) -> Iterator[int]:
    """The port of a server that runs in a thread."""
    with serving(build_app(model, name="one", host="127.0.0.1", max_bytes=MAX_BYTES)) as port:
        yield port


@pytest.fixture(scope="module")
def photos(dataset):
    return [encoded for _, encoded in sorted(read_photos(dataset, split="train", folds=[0], rows=range(8)).items())]


def test_a_photo_gets_the_probabilities_of_the_run(port, model, run, photos):
    started = time.perf_counter()
    status, answer = classify(port, photos[0])
    elapsed = time.perf_counter() - started
    assert status == 200
    expected = model.answer([Task(model.prepare(photos[0]), with_heat=False)])[0].probabilities
    found = {entry["name"]: entry["probability"] for entry in answer["classes"]}
    assert list(found) == [run.class_names[k] for k in np.argsort(-expected)]
    for name, probability in zip(run.class_names, expected, strict=True):
        assert found[name] == pytest.approx(probability, abs=1e-5)
    assert 0 < answer["seconds"] <= elapsed
    assert "heat" not in answer


def test_the_heat_map_covers_the_part_that_the_network_saw(port, photos):
    _, answer = classify(port, photos[0], query="?heat=1")
    values = np.array(answer["heat"]["values"])
    assert values.ndim == 2
    assert 0 <= values.min() <= values.max() <= 1
    # A photo of 48x64 has the image's shape; one of 64x48 is cropped to 36 of its 64 rows.
    assert answer["heat"]["box"] == pytest.approx([0, 0, 1, 1])
    _, answer = classify(port, photos[1], query="?heat=1")
    assert answer["heat"]["box"] == pytest.approx([14 / 64, 0, 50 / 64, 1])


def test_eight_clients_at_once_get_their_own_answers(port, photos):
    alone = [classify(port, photo)[1]["classes"] for photo in photos]

    def again(number: int) -> list:
        return [classify(port, photos[(number + turn) % 8])[1]["classes"] for turn in range(6)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        together = list(pool.map(again, range(CLIENTS)))
    for number, answers in enumerate(together):
        for turn, classes in enumerate(answers):
            expected = {entry["name"]: entry["probability"] for entry in alone[(number + turn) % 8]}
            assert {entry["name"]: entry["probability"] for entry in classes} == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<html><script>alert(1)</script>", "not an image"),
        (b"%PDF-1.7", "PDF is not read"),
        (b"\xff\xd8\xff\xe0" + bytes(200), "damaged"),
    ],
    ids=["empty", "html", "pdf", "zeros"],
)
def test_the_error_for_a_hostile_file_is_one_sentence(port, content, reason):
    status, answer = classify(port, content)
    assert status == 422
    assert list(answer) == ["error"]
    assert answer["error"].startswith("The photo cannot be used: ")
    assert reason in answer["error"]


def test_a_bomb_is_refused_by_its_header(port, tmp_path):
    Image.new("1", (14_000, 14_000)).save(tmp_path / "bomb.png")
    content = (tmp_path / "bomb.png").read_bytes()
    assert len(content) < MAX_BYTES
    status, answer = classify(port, content)
    assert status == 422
    assert "too large: 14000x14000 pixels" in answer["error"]


def test_the_size_limit_holds_with_and_without_content_length(port):
    sentence = {"error": "The photo is too large: send at most 0.1 MB."}
    assert classify(port, bytes(MAX_BYTES + 1)) == (413, sentence)
    assert classify(port, bytes(2 * MAX_BYTES)) == (413, sentence)
    chunks = (part for part in [form(bytes(2 * MAX_BYTES))])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("POST", "/api/classify", chunks, kind, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (413, sentence)
    connection.close()


def test_the_error_for_a_missing_file_or_form_is_one_sentence(port, photos):
    assert classify(port, photos[0], field="other")[0] == 422
    for kind in ("application/json", f"multipart/form-data; boundary={BOUNDARY}", "multipart/form-data"):
        status, _, answer = ask(port, "POST", "/api/classify", b"{}", Content_Type=kind)
        assert status in (400, 422)
        assert list(json.loads(answer)) == ["error"]


def sent(port: int, body: bytes, query: str = "") -> tuple[int, str]:
    status, _, answer = ask(port, "POST", f"/api/classify{query}", body, Content_Type=FORM)
    return status, json.loads(answer).get("error", "")


def test_a_form_that_is_cut_off_is_unreadable(port, photos):
    whole = form(photos[0])
    end = len(f"\r\n--{BOUNDARY}--\r\n")
    for cut in (2 + end, end, 4, 3):
        said = "The form cannot be read: its last boundary is missing."
        assert sent(port, whole[:-cut]) == (400, said)
    assert sent(port, whole) == sent(port, whole[:-2]) == (200, "")


def test_a_field_without_a_file_name_gets_one_as_advised(port, photos):
    nameless = form(b"abc").replace(b'; filename="photo.jpg"', b"")
    assert sent(port, nameless) == (
        422, "The field `file` has no file name: give it one, as curl does with file=@photo.jpg.",
    )  # fmt: skip
    assert sent(port, form(photos[0])) == (200, "")


def test_what_the_query_says_of_heat_is_heeded_or_refused(port, photos):
    for word, with_heat in {"1": True, "true": True, "0": False, "false": False}.items():
        assert ("heat" in classify(port, photos[0], query=f"?heat={word}")[1]) == with_heat
    assert sent(port, form(photos[0]), "?heat=yes") == (
        422, "The query says heat=yes: give one of 1, true, 0, false.",
    )  # fmt: skip


def test_a_parser_of_forms_says_nothing_in_the_log(port, caplog):
    assert sent(port, b"--wrong\r\n")[0] == 400
    assert caplog.records == []


def test_health_describes_the_served_run(port):
    status, _, answer = ask(port, "GET", "/health")
    assert status == 200
    assert json.loads(answer) == {"status": "ready", "run": "one", "classes": 3, "max_bytes": MAX_BYTES}


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/health", "/nothing"])
def test_every_response_has_the_security_headers(port, path):
    _, headers, _ = ask(port, "GET", path)
    assert {name: headers[name.lower()] for name in SECURITY_HEADERS} == SECURITY_HEADERS


@pytest.mark.parametrize("path", ["/../carclf/serve.py", "/..%2f..%2fetc%2fpasswd", "/page.html", "/etc/passwd"])
def test_no_path_reaches_the_disk(port, path):
    status, _, answer = ask(port, "GET", path)
    assert (status, json.loads(answer)) == (404, {"error": "Not Found"})


def test_a_request_without_a_host_is_told_to_name_one(port):
    for head in (b"", b"Host: [::\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(b"GET /health HTTP/1.0\r\n" + head + b"\r\n")
            answer = connection.makefile("rb").read()
        said = "The request has no valid Host header: send one with the name of this server."
        assert (answer.split()[1], json.loads(answer.partition(b"\r\n\r\n")[2])) == (b"400", {"error": said})
    assert ask(port, "GET", "/health", Host="localhost")[0] == 200


def test_another_host_name_is_refused(port):
    assert ask(port, "GET", "/health", Host="evil.example")[0] == 400
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "car.example")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_the_error_for_a_port_in_use_is_one_sentence(port):
    with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port} .*: give another --port"):
        bind("127.0.0.1", port)
    for name in ("a..b", f"{'a' * 64}.example"):
        with pytest.raises(UserError, match=f"cannot listen on {name}:0 .*: give another --port, or another --host"):
            bind(name, 0)


@pytest.fixture(scope="module")
def browser():
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_photos_dropped_on_the_page_show_classes_and_heat(browser, port, photos, tmp_path, width, height):
    hostile = "<img src=x onerror=alert(1)>.jpg"
    (tmp_path / "good.jpg").write_bytes(photos[0])
    (tmp_path / "portrait.jpg").write_bytes(photos[1])
    Path(tmp_path / hostile).write_bytes(b"<html>")
    page = browser.new_page(viewport={"width": width, "height": height})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append("dialog"), dialog.dismiss()))
    page.goto(f"http://127.0.0.1:{port}/")
    page.locator("#limit", has_text="Up to 0.1 MB each.").wait_for()
    page.set_input_files("#files", [tmp_path / name for name in ("good.jpg", hostile, "portrait.jpg")])
    good, bad, portrait = (page.locator("article").nth(index) for index in range(3))
    good.locator("li").nth(2).wait_for()
    assert good.locator("li").count() == 3
    likeliest = classify(port, photos[0])[1]["classes"][0]
    assert good.locator("li").first.locator("bdi").inner_text() == likeliest["name"]
    assert good.locator("li span span").first.inner_text() == f"{100 * likeliest['probability']:.1f} %"
    assert good.locator(".time").inner_text().endswith(" ms")
    assert good.locator("canvas").is_visible()
    portrait.locator("li").nth(2).wait_for()
    around, inside = (portrait.locator(part).bounding_box() for part in (".photo", "img"))
    assert inside["width"] / inside["height"] == pytest.approx(48 / 64, abs=0.01)
    assert inside["height"] == pytest.approx(around["height"], abs=1)
    bad.locator(".failure").wait_for()
    assert "not an image" in bad.locator(".failure").inner_text()
    assert bad.locator(".name").inner_text() == hostile
    assert bad.locator(".name img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator(".switch").click()
    assert page.evaluate("document.body.className") == "plain"
    page.get_by_role("button", name="Clear").click()
    assert page.locator("article").count() == 0
    assert problems == []
    page.close()


def test_a_file_that_is_too_large_is_not_sent(browser, port, tmp_path):
    (tmp_path / "large.jpg").write_bytes(bytes(MAX_BYTES + 1))
    page = browser.new_page()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.goto(f"http://127.0.0.1:{port}/")
    page.locator("#limit", has_text="Up to 0.1 MB each.").wait_for()
    page.set_input_files("#files", tmp_path / "large.jpg")
    page.locator(".failure", has_text="The photo is too large").wait_for()
    assert not any("classify" in url for url in sent)
    page.close()
