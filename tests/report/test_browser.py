"""The pages in a real browser, on a desktop and on a phone: nothing overflows, nothing is loaded or refused."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from test_page import make_evaluation, make_run, page_text

from carclf.report.eda import write_eda
from carclf.report.page import MistakePictures
from carclf.report.thumbnails import to_jpeg

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE, DESK = 390, 1280
# The page reports its layout when it is complete; the test removes the page's policy to allow this script.
PROBE = """<script>addEventListener("load", () => { const wide = document.documentElement.clientWidth;
const out = [...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > wide + 1
  && !e.closest(".scroll, .film, .tall, .ids, .seen span, svg")).map(e => e.tagName + "." + e.className);
document.body.innerHTML = "";
document.body.append("PROBE" + JSON.stringify({wide, scrolls: document.documentElement.scrollWidth, out,
  dark: matchMedia("(prefers-color-scheme: dark)").matches}) + "END"); })</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")


def browse(*arguments: str) -> subprocess.CompletedProcess[str]:
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=2000"]
    return subprocess.run([str(CHROMIUM), *flags, *arguments], capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture(scope="module")
def page(tmp_path_factory, dataset):
    path = tmp_path_factory.mktemp("page") / "eda.html"
    write_eda(dataset, path=path, show=["train000.jpg"])
    return path


def scheme(dark: bool) -> str:
    return f"--blink-settings=preferredColorScheme={0 if dark else 1}"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    run = make_run(
        tmp_path_factory.mktemp("runs") / "a_stage_with_a_long_name",
        class_names=tuple(f"a class with a long name {number}" for number in range(12)),
        metrics={"val_accuracy": 0.8, "best_epoch": 2, "train_seconds": 192.0, "epochs": 3},
        augment="flip|rotate(10)|shift(0.1)|brightness(0.5,1.5)|cutmix(1.0)",
    )
    evaluation = make_evaluation(class_names=run.class_names, photos=60, wrong=4)
    jpeg = to_jpeg(np.zeros((120, 160, 3), np.uint8))
    pictures = {mistake.id: MistakePictures(jpeg, jpeg, jpeg) for mistake in evaluation.mistakes[:3]}
    page_text(run, evaluation=evaluation, pictures=pictures, parents=[run])
    return run.directory / "report.html"


@pytest.mark.parametrize(
    ("name", "width", "dark"), [("page", PHONE, True), ("page", DESK, False), ("report", PHONE, False)]
)
def test_nothing_overflows(name, width, dark, tmp_path, request):
    # Chromium's window is at least 500 pixels wide; a frame is as narrow as a phone.
    html = request.getfixturevalue(name).read_text(encoding="utf-8")
    probed = re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", f"{PROBE}</body>")
    (tmp_path / "probed.html").write_text(probed, encoding="utf-8")
    frame = f'<iframe src="probed.html" style="width:{width}px;height:900px;border:0"></iframe>'
    (tmp_path / "frame.html").write_text(
        f'{frame}<script>addEventListener("load", () => setTimeout(() => {{'
        'document.body.append(document.querySelector("iframe").contentDocument.body.textContent)}, 200))</script>'
    )
    answer = browse(
        "--allow-file-access-from-files", "--window-size=1400,1000", scheme(dark), "--dump-dom",
        f"file://{tmp_path}/frame.html",
    )  # fmt: skip
    seen = json.loads(re.search(r"PROBE(.*?)END", answer.stdout)[1])
    assert seen == {"wide": width, "scrolls": width, "out": [], "dark": dark}


def test_it_follows_the_readers_light_or_dark_mode(page, tmp_path):
    brightness = {}
    for dark in (False, True):
        path = tmp_path / f"{dark}.png"
        answer = browse(scheme(dark), "--window-size=800,1200", f"--screenshot={path}", f"file://{page}")
        assert "Refused to" not in answer.stderr  # by the page's own policy
        pixels = np.asarray(Image.open(path).convert("L"), np.float64)
        brightness[dark] = np.median(pixels)
        assert pixels.std() > 15  # there is something on it
    assert brightness[True] < 60
    assert brightness[False] > 200
