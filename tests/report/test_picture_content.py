"""What the pictures show, read back from them: asymmetric content that no permutation, shift or transposition keeps."""

import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from PIL import Image

from carclf.inference.calibration import ReliabilityBin
from carclf.report import charts, confusion, photo_tables
from carclf.report.charts import curve_svg, draw_history, draw_learning_rates, histogram_svg, reliability_svg
from carclf.report.confusion import draw_confusion
from carclf.report.figures import PRINT_COLOURS, inline_svg, save_figure
from carclf.report.photo_tables import draw_augmentation, draw_contact_sheet

CURVES = {
    "Accuracy": (("accuracy", "training, augmented", "train"), ("val_accuracy", "validation", "val")),
    "Loss": (("loss", "training, augmented", "train"), ("val_loss", "validation", "val")),
    "Learning rate": (("learning_rate", "", "val"),),
    "Seconds": (("seconds", "", "val"),),
}
CONFUSION = np.array([[5, 4, 0, 0], [1, 0, 0, 9], [0, 0, 7, 3], [0, 2, 0, 6]])  # rows true, columns predicted
NAMES = ("saloon", "estate", "coupé", "van")


@pytest.fixture
def figures(monkeypatch):
    """The figures behind the pictures that are written, in order."""
    kept = []

    def keep_file(figure, path):
        kept.append(figure)
        save_figure(figure, path)

    def keep_svg(figure, **named):
        kept.append(figure)
        return inline_svg(figure, **named)

    for module in (charts, confusion, photo_tables):
        monkeypatch.setattr(module, "save_figure", keep_file)
    monkeypatch.setattr(charts, "inline_svg", keep_svg)
    return kept


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def rgb(colour: str) -> np.ndarray:
    return 255 * np.array(matplotlib.colors.to_rgb(colour))


def place(axes: Axes, x: float, y: float, image: np.ndarray) -> tuple[int, int]:
    """The row and the column of the picture's pixel at a point of the axes' data."""
    across, up = axes.figure.transFigure.inverted().transform(axes.transData.transform((x, y)))
    return round((1 - up) * image.shape[0]), round(across * image.shape[1])


def cell(axes: Axes, image: np.ndarray, *, true: int, predicted: int) -> np.ndarray:
    """The pixels of a cell of a matrix, without its edges."""
    top, left = place(axes, predicted - 0.4, true - 0.4, image)
    bottom, right = place(axes, predicted + 0.4, true + 0.4, image)
    return image[top:bottom, left:right]


def drawn_confusion(figures, path, confusion=CONFUSION, names=NAMES) -> tuple[Axes, np.ndarray]:
    draw_confusion(confusion, class_names=names, path=path, title="run")
    return figures[-1].axes[0], pixels(path)


def test_the_rows_of_the_confusion_picture_are_the_true_classes(figures, tmp_path):
    axes, _ = drawn_confusion(figures, tmp_path / "confusion.png")
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true", "predicted")
    for ticks, labels in ((axes.get_xticks(), axes.get_xticklabels()), (axes.get_yticks(), axes.get_yticklabels())):
        assert [(tick, label.get_text()) for tick, label in zip(ticks, labels, strict=True)] == list(enumerate(NAMES))
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares, CONFUSION / CONFUSION.sum(axis=1, keepdims=True))


def test_each_count_of_the_confusion_picture_stands_in_its_cell(figures, tmp_path):
    axes, _ = drawn_confusion(figures, tmp_path / "confusion.png")
    counts = np.zeros_like(CONFUSION)
    for text in axes.texts:
        predicted, true = text.get_position()
        counts[int(true), int(predicted)] += int(text.get_text())
    np.testing.assert_array_equal(counts, CONFUSION)


def test_the_pixels_of_the_confusion_picture_are_the_matrix(figures, tmp_path):
    axes, image = drawn_confusion(figures, tmp_path / "confusion.png")
    for (true, predicted), count in np.ndenumerate(CONFUSION):
        inside = cell(axes, image, true=true, predicted=predicted)
        share = count / CONFUSION[true].sum()
        background = 255 * np.array(matplotlib.colormaps["Blues"](share)[:3])
        np.testing.assert_allclose(np.median(inside, axis=(0, 1)), background, atol=2)
        written = (abs(inside - background).max(axis=-1) > 60).any()  # ink of a figure
        assert written == (count > 0), (true, predicted)


def test_many_classes_keep_their_places_in_the_confusion_picture(figures, tmp_path):
    confusion = np.zeros((40, 40), int)
    confusion[3, 31] = confusion[17, 2] = confusion[39, 0] = 1
    axes, image = drawn_confusion(figures, tmp_path / "confusion.png", confusion, [f"class {k}" for k in range(40)])
    full = 255 * np.array(matplotlib.colormaps["Blues"](1.0)[:3])
    dark = {
        (true, predicted)
        for true, predicted in np.ndindex(40, 40)
        if abs(image[place(axes, predicted, true, image)] - full).max() < 40
    }
    assert dark == {(3, 31), (17, 2), (39, 0)}


def history(epochs: int = 6) -> pd.DataFrame:
    """A history in which no two columns have the same shape, in any order of the epochs."""
    rng = np.random.default_rng(1)
    columns = ["loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"]
    values = pd.DataFrame(rng.uniform(0.2, 0.5, (epochs, len(columns))), columns=columns)
    values[["loss", "val_accuracy"]] += 0.4  # so that no dot hides another
    return values.assign(epoch=np.arange(1, epochs + 1))


def assert_curves(axes: Axes, frame: pd.DataFrame, *, name: str) -> None:
    assert axes.get_xlabel() == "epoch"
    lines = [line for line in axes.lines if len(line.get_xdata()) == len(frame)]
    for line, (column, legend, _) in zip(lines, CURVES[name], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), frame["epoch"])
        np.testing.assert_array_equal(line.get_ydata(), frame[column])
        assert line.get_label() == legend or not legend


def test_the_curves_of_the_history_picture_are_the_columns_of_the_history(figures, tmp_path):
    draw_history(history(), path=tmp_path / "history.png", title="run")
    axes = {each.get_title(): each for each in figures[0].axes}
    assert list(axes) == list(CURVES)
    for name, each in axes.items():
        assert_curves(each, history(), name=name)
        assert [text.get_text() for text in (each.get_legend().texts if each.get_legend() else [])] == [
            legend for _, legend, _ in CURVES[name] if legend
        ]


def test_the_pixels_of_the_history_picture_are_the_history(figures, tmp_path):
    """A dot for each epoch, in its colour, where its value is on the axis."""
    frame = history()
    draw_history(frame, path=tmp_path / "history.png", title="run")
    image = pixels(tmp_path / "history.png")
    for name, axes in zip(CURVES, figures[0].axes, strict=True):
        for column, _, colour in CURVES[name]:
            for epoch, value in zip(frame["epoch"], frame[column], strict=True):
                row, across = place(axes, epoch, value, image)
                seen = image[row - 2 : row + 3, across - 2 : across + 3].reshape(-1, 3)
                assert abs(seen - rgb(PRINT_COLOURS[colour])).max(axis=-1).min() < 40, (column, epoch)


@pytest.mark.parametrize("name", CURVES)
def test_an_inline_chart_has_the_curves_of_its_name(figures, name):
    svg = curve_svg(history(), name=name, best_epoch=4)
    (axes,) = figures[0].axes
    assert_curves(axes, history(), name=name)
    (marked,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert list(marked.get_xdata()) == [4, 4]
    for column, _, colour in CURVES[name]:
        points = curve_of(svg, colour=colour)
        np.testing.assert_allclose(np.corrcoef(points[:, 0], history()["epoch"])[0, 1], 1, atol=1e-6)
        np.testing.assert_allclose(np.corrcoef(points[:, 1], history()[column])[0, 1], -1, atol=1e-6)  # y is downwards


def curve_of(svg: str, *, colour: str) -> np.ndarray:
    """The points of the highest line of that colour, float [n, 2] in the units of the SVG, x right and y down."""
    root = ElementTree.fromstring(str(svg).replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    lines = [
        points_of(element)
        for element in root.iter()
        if f"stroke: var(--{colour})" in element.get("style", "") and "fill: none" in element.get("style", "")
    ]
    return max(lines, key=lambda points: np.ptp(points[:, 1]))  # that of the legend is flat


def points_of(element: ElementTree.Element) -> np.ndarray:
    return np.array(re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", element.get("d", "")), float).reshape(-1, 2)


def test_the_curves_of_a_sweep_are_its_losses_over_its_rates(figures, tmp_path):
    sweep = pd.DataFrame({"learning_rate": [1e-5, 1e-4, 1e-2], "loss": [2.0, 3.0, 1.0], "smoothed": [2.5, 2.0, 1.5]})
    draw_learning_rates(sweep, suggestion=3e-3, path=tmp_path / "sweep.png", title="sweep")
    (axes,) = figures[0].axes
    lines = {line.get_label(): line for line in axes.lines}
    for label, column in (("of each batch", "loss"), ("smoothed", "smoothed")):
        np.testing.assert_array_equal(lines[label].get_xdata(), sweep["learning_rate"])
        np.testing.assert_array_equal(lines[label].get_ydata(), sweep[column])
    assert list(lines["suggested: 0.003"].get_xdata()) == [3e-3, 3e-3]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("learning rate", "loss", "log")


BINS = (
    ReliabilityBin(low=0.0, high=0.2, photos=0, confidence=float("nan"), accuracy=float("nan")),
    ReliabilityBin(low=0.2, high=0.5, photos=10, confidence=0.4, accuracy=0.1),
    ReliabilityBin(low=0.5, high=0.6, photos=60, confidence=0.55, accuracy=0.8),
    ReliabilityBin(low=0.6, high=1.0, photos=30, confidence=0.9, accuracy=0.7),
)


def bars_of(svg: str, *, colour: str) -> list[tuple[float, float, float, float]]:
    """(left, right, bottom, top) of the filled rectangles of that colour, as shares of the axes from 0 to 1."""
    root = ElementTree.fromstring(str(svg).replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    boxes = []
    for element in root.iter():
        points = points_of(element)
        if len(points) >= 4 and f"fill: var(--{colour})" in element.get("style", "") and element.get("clip-path"):
            boxes.append([points[:, 0].min(), points[:, 0].max(), points[:, 1].max(), points[:, 1].min()])
    diagonal = curve_of(svg, colour="best")
    (x0, y0), (x1, y1) = diagonal[0], diagonal[-1]
    return [
        ((left - x0) / (x1 - x0), (right - x0) / (x1 - x0), (bottom - y0) / (y1 - y0), (top - y0) / (y1 - y0))
        for left, right, bottom, top in boxes
    ]


def test_the_bars_of_the_calibration_picture_are_the_bins():
    svg = reliability_svg(BINS)
    shown = [each for each in BINS if each.photos]
    for colour, heights in (("val", [0.1, 0.8, 0.7]), ("train", [0.1, 0.6, 0.3])):  # accuracy; share of 100 photos
        bars = bars_of(svg, colour=colour)
        for (left, right, bottom, top), height, each in zip(bars, heights, shown, strict=True):
            assert each.low - 1e-6 <= left < right <= each.high + 1e-6
            assert bottom == pytest.approx(0, abs=1e-4)
            assert top == pytest.approx(height, abs=1e-4)
    legend = re.findall(r">\s*(perfect[^<]*?|accuracy|fraction[^<]*?)\s*<", svg)
    assert legend == ["perfect calibration", "accuracy", "fraction of all photos"]


def test_the_steps_of_a_histogram_are_the_shares_of_their_bins(figures):
    series = {"training": np.array([1.0, 1, 1, 9]), "test": np.array([-7.0, 3, 3, 3, 99])}
    histogram_svg(series, label="pixels", edges=np.array([0.0, 2, 4, 10]), ticks={3.0: "three"})
    (axes,) = figures[0].axes
    training, test = axes.patches
    for steps, shares, legend in ((training, [75, 0, 25], "training"), (test, [20, 60, 20], "test")):
        np.testing.assert_allclose(steps.get_data().values, shares)
        np.testing.assert_array_equal(steps.get_data().edges, [0, 2, 4, 10])
        assert steps.get_label() == legend
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xlim()) == ("pixels", "% of photos", (0, 10))
    assert [
        (tick, label.get_text()) for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    ] == [(3.0, "three")]


def colours(count: int) -> np.ndarray:
    """Colours that differ in every pair, uint8 [count, 3]."""
    return np.array([(40 + 50 * (k % 5), 30 + 45 * (k // 5 % 5), 250 - 9 * k) for k in range(count)], np.uint8)


@pytest.mark.parametrize("labels", [(), ("first", "second", "third")])
def test_each_draw_of_the_augmentation_picture_stands_in_its_row_and_column(figures, tmp_path, labels):
    rows, draws = 3, 4
    table = colours(rows * (draws + 1)).reshape(rows, draws + 1, 3)
    originals = [np.full((20, 30, 3), table[row, 0], np.uint8) for row in range(rows)]
    augmented = np.broadcast_to(table[:, 1:, None, None], (rows, draws, 8, 8, 3))
    draw_augmentation(originals, augmented, path=tmp_path / "a.png", title="flip", labels=labels)
    image = pixels(tmp_path / "a.png")
    known = {
        tuple(colour): where for where, colour in zip(np.ndindex(rows, draws + 1), table.reshape(-1, 3), strict=True)
    }
    centres = {}
    for colour, where in known.items():
        seen = np.argwhere((image == colour).all(axis=-1))
        assert len(seen) > 2000, where
        centres[where] = seen.mean(axis=0)
    for (row, column), (y, x) in centres.items():
        assert x == pytest.approx((column + 0.5) * image.shape[1] / (draws + 1), abs=3)
        assert y == pytest.approx(centres[row, 0][0], abs=3)
        assert y == pytest.approx(centres[0, 0][0] + row * (centres[1, 0][0] - centres[0, 0][0]), abs=3)
    assert centres[1, 0][0] > centres[0, 0][0] + 100
    written = [(text.get_position(), text.get_text()) for text in figures[0].texts[1:]]  # the first is the title
    if labels:
        for ((_, up), text), row in zip(written, range(rows), strict=True):
            assert text == labels[row]
            assert 60 < centres[row, 0][0] - (1 - up) * image.shape[0] < 100  # above its own photos
    else:
        assert [text for _, text in written] == ["photo", "draw 1", "draw 2", "draw 3", "draw 4"]
        for column, ((across, _), _) in enumerate(written):
            assert across * image.shape[1] == pytest.approx(centres[0, column][1], abs=3)


def test_each_photo_of_a_contact_sheet_stands_above_its_caption(figures, tmp_path):
    table = colours(8)
    photos = [np.full((30, 40, 3), colour, np.uint8) for colour in table]
    captions = [f"photo {number}\nline two" for number in range(8)]
    draw_contact_sheet(photos, captions, path=tmp_path / "sheet.png", title="sheet")
    image = pixels(tmp_path / "sheet.png")
    texts = figures[0].texts[1:]
    assert [text.get_text() for text in texts] == captions
    for number, (colour, text) in enumerate(zip(table, texts, strict=True)):
        seen = np.argwhere((image == colour).all(axis=-1))
        (top, left), (bottom, _) = seen.min(axis=0), seen.max(axis=0)
        across, up = text.get_position()
        assert left == pytest.approx(number % 6 * image.shape[1] / 6, abs=8)
        assert across * image.shape[1] == pytest.approx(left, abs=8)
        assert 0 < (1 - up) * image.shape[0] - bottom < 12  # right below its photo
        assert (top > image.shape[0] / 2) == (number >= 6)
