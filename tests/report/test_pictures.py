import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from carclf.inference.metrics import ConfusedPair
from carclf.report.charts import CURVES, charts_of, curve_svg, draw_history
from carclf.report.confusion import draw_confusion, draw_pairs
from carclf.report.figures import PAGE_COLOURS
from carclf.report.names import plain_text
from carclf.report.photo_tables import draw_augmentation

HOSTILE = ["<script>alert(1)</script>", "$\\frac{$", "車クラス", "two\nlines\x00\u202e", "a" * 300]
RED, GREEN = (255, 0, 0), (0, 255, 0)


def history(epochs: int) -> pd.DataFrame:
    steps = np.arange(epochs)
    return pd.DataFrame(
        {
            "epoch": steps + 1,
            "loss": 1.0 * 0.9**steps,
            "accuracy": 1 - 0.5 * 0.9**steps,
            "val_loss": 0.8 * 0.9**steps,
            "val_accuracy": 1 - 0.4 * 0.9**steps,
            "learning_rate": 1e-3 * 0.9**steps,
            "seconds": np.full(epochs, 12.5),
        }
    )


def scored(epochs: int) -> pd.DataFrame:
    """Returns the history of a metric other than the accuracy."""
    return history(epochs).assign(score=0.1, val_score=0.2)


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def has_colour(image: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((abs(image - np.array(colour)).max(axis=-1) <= 12).any())


@pytest.mark.parametrize("epochs", [0, 1, 10, 200])
def test_a_history_of_any_length_is_drawn(tmp_path, epochs):
    draw_history(history(epochs), path=tmp_path / "history.png", title="b3_512")
    image = pixels(tmp_path / "history.png")
    assert image.shape[0] > 500
    assert image.shape[1] > 900
    assert has_colour(image, (0x1F, 0x6F, 0xEB)) == (epochs > 0)  # the validation curve


def test_an_older_history_with_gaps_is_drawn(tmp_path):
    frame = history(4).drop(columns=["seconds"]).assign(val_loss=[np.nan, 0.5, np.nan, 0.3], learning_rate=np.nan)
    draw_history(frame, path=tmp_path / "history.png", title="gaps")
    assert has_colour(pixels(tmp_path / "history.png"), (0x1F, 0x6F, 0xEB))


@pytest.mark.parametrize("title", HOSTILE)
def test_any_title_and_any_class_name_can_be_drawn(tmp_path, title):
    draw_history(history(2), path=tmp_path / "history.png", title=title)
    draw_confusion(np.eye(2, dtype=int), class_names=[title, "dog"], path=tmp_path / "confusion.png", title=title)
    photo = np.zeros((8, 8, 3), np.uint8)
    draw_augmentation([photo], photo[None, None], path=tmp_path / "augmentation.png", title=title)
    assert {path.name for path in tmp_path.iterdir()} == {"history.png", "confusion.png", "augmentation.png"}


@pytest.mark.parametrize("classes", [2, 10, 200])
def test_a_confusion_matrix_of_any_size_has_a_reasonable_picture(tmp_path, classes):
    names = [f"class {k}" for k in range(classes)]
    draw_confusion(np.eye(classes, dtype=int), class_names=names, path=tmp_path / "confusion.png", title="run")
    image = pixels(tmp_path / "confusion.png")
    assert max(image.shape) < 2000
    assert has_colour(image, (8, 48, 107))  # the darkest blue: all of a class


def test_the_pairs_of_very_many_classes_are_drawn_as_bars(tmp_path):
    pairs = [ConfusedPair(f"class {k}", title, 30 - k) for k, title in enumerate(HOSTILE * 6)]
    draw_pairs(pairs, path=tmp_path / "confusion.png", title="run")
    assert has_colour(pixels(tmp_path / "confusion.png"), (0x1F, 0x6F, 0xEB))
    draw_pairs([], path=tmp_path / "none.png", title="run without a mistake")
    assert (tmp_path / "none.png").stat().st_size > 1000


def test_another_metric_has_a_chart_of_its_own(tmp_path):
    plain = history(3)
    assert charts_of(plain) == ["Accuracy", "Loss", "Learning rate", "Seconds"]
    assert charts_of(scored(3)) == list(CURVES)
    for name, frame in (("plain", plain), ("scored", scored(3))):
        draw_history(frame, path=tmp_path / f"{name}.png", title="run", metric="Log loss")
    heights = [pixels(tmp_path / f"{name}.png").shape[0] for name in ("plain", "scored")]
    assert heights[1] == pytest.approx(1.5 * heights[0], rel=0.01)


def test_a_class_without_photos_has_an_empty_row(tmp_path):
    draw_confusion(np.array([[3, 1], [0, 0]]), class_names=["a", "b"], path=tmp_path / "confusion.png", title="run")
    assert (tmp_path / "confusion.png").stat().st_size > 1000


@pytest.mark.parametrize("size", [(64, 64), (48, 64), (64, 32)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_originals_are_left_of_their_draws(tmp_path, size, dtype):
    originals = [np.full((30, 40, 3), RED, np.uint8), np.full((40, 20, 3), RED, np.uint8)]
    augmented = np.full((2, 8, *size, 3), GREEN, dtype)
    if dtype == np.float32:
        augmented = augmented * 1.02 - 0.4  # colours of a render may be slightly outside 0..255
    draw_augmentation(originals, augmented, path=tmp_path / "augmentation.png", title="flip")
    image = pixels(tmp_path / "augmentation.png")
    first, rest = np.split(image, [image.shape[1] // 9], axis=1)
    assert has_colour(first, RED)
    assert not has_colour(rest, RED)
    for column in np.array_split(rest, 8, axis=1):
        assert has_colour(column, GREEN)


@pytest.mark.parametrize(
    ("originals", "shape"), [(0, (0, 8, 8, 8, 3)), (2, (1, 8, 8, 8, 3)), (1, (1, 8, 8, 3)), (1, (1, 8, 8, 8, 1))]
)
def test_mismatched_draws_are_refused(tmp_path, originals, shape):
    photos = [np.zeros((8, 8, 3), np.uint8)] * originals
    with pytest.raises(ValueError, match=rf"Received: {originals} originals, draws \[{shape[0]}, "):
        draw_augmentation(photos, np.zeros(shape), path=tmp_path / "augmentation.png", title="flip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CURVES)
def test_an_inline_chart_is_well_formed_and_follows_the_colours_of_the_page(name):
    svg = curve_svg(scored(5), name=name, best_epoch=4)
    # HTML needs no namespace for links, XML does.
    root = ElementTree.fromstring(str(svg).replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    assert root.get("aria-label") == f"{name} by epoch"
    assert {"var(--ink)", "var(--grid)", "var(--val)", "var(--best)"} <= set(re.findall(r"var\(--\w+\)", svg))
    assert not set(re.findall(r"#[0-9a-f]{6}\b", svg)) & {*PAGE_COLOURS.values(), "#000000", "#ffffff"}
    assert "<style" not in svg
    assert svg == curve_svg(scored(5), name=name, best_epoch=4)


def test_charts_of_one_page_share_no_id():
    charts = [set(re.findall(r' id="([^"]+)"', curve_svg(scored(5), name=name, best_epoch=4))) for name in CURVES]
    assert all(charts)
    assert len(set.union(*charts)) == sum(map(len, charts))


@pytest.mark.parametrize("epochs", [0, 1, 100])
def test_an_inline_chart_of_any_length_is_made(epochs):
    assert ("var(--val)" in curve_svg(history(epochs), name="Loss", best_epoch=None)) == (epochs > 0)


@given(st.text(), st.integers(4, 40))
def test_plain_text_is_short_and_printable(text, length):
    plain = plain_text(text, length=length)
    assert len(plain) <= length
    assert plain.isprintable()
    if text.isprintable() and len(text) <= length:
        assert plain == text


def test_a_long_name_keeps_both_ends():
    assert plain_text("porsche_911_carrera_2019_facelift", length=16) == "porsche_91…elift"


def test_no_global_figure_is_involved():
    modules = "carclf.report.charts, carclf.report.confusion, carclf.report.photo_tables"
    code = f"import sys, {modules}; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
