"""Draws figures as files, and as SVG in the colours of the surrounding page. No pyplot, so no global figure."""

import io
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from carclf.files import write_atomically
from carclf.inference.calibration import ReliabilityBin
from carclf.inference.metrics import ConfusedPair
from carclf.report.names import plain_text, short_names

# The content of each chart: columns of history.csv, with their legend and their colour (see below).
CURVES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "Metric": (("score", "training, augmented", "train"), ("val_score", "validation", "val")),
    "Accuracy": (("accuracy", "training, augmented", "train"), ("val_accuracy", "validation", "val")),
    "Loss": (("loss", "training, augmented", "train"), ("val_loss", "validation", "val")),
    "Learning rate": (("learning_rate", "", "val"),),
    "Seconds": (("seconds", "", "val"),),
}
PRINT_COLOURS = {"ink": "#30363d", "grid": "#d8dee4", "train": "#d9822b", "val": "#1f6feb", "best": "#8b949e"}
# Placeholders that become CSS variables of the page, for light and dark mode.
PAGE_COLOURS = {"ink": "#010101", "grid": "#020202", "train": "#030303", "val": "#040404", "best": "#050505"}
TABLE_BACKGROUND, TABLE_INK = "#1b1f24", "#d0d7de"  # photos look right on a dark table
MARKED_EPOCHS = 30  # with more epochs, points have no dots
WRITTEN_CLASSES = 30  # with more classes, there are no names and counts
DOTS_PER_INCH = 110
# A table of photos: the side of a cell, the gap between two cells, the height of a line of text.
CELL_INCHES, GAP_INCHES, TEXT_INCHES = 1.35, 0.05, 0.19
# A contact sheet: photos per row, width / height of a cell, lines of text under each.
SHEET_COLUMNS, SHEET_ASPECT, CAPTION_LINES = 6, 4 / 3, 2


def charts_of(history: pd.DataFrame) -> list[str]:
    """Returns the names of the charts of a run, keys of `CURVES`; 'Metric' if it followed another than the accuracy."""
    return [name for name in CURVES if name != "Metric" or "val_score" in history]


def draw_history(history: pd.DataFrame, *, path: Path, title: str, metric: str = "Metric") -> None:
    """Writes the metric if it is another, accuracy, loss, learning rate and seconds by epoch.

    Args:
      history: one row per epoch, with the columns of history.csv.
      path: the picture; its suffix (.png, .svg) determines the format.
      title: above it.
      metric: what people call the metric.
    """
    names = charts_of(history)
    rows = (len(names) + 1) // 2
    figure = Figure(figsize=(10, 3.2 * rows), layout="constrained")
    figure.suptitle(_wrapped(title, width=90), parse_math=False)
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, 2, number)
        _draw_curves(axes, history, name=name, colours=PRINT_COLOURS)
        axes.set_title(metric if name == "Metric" else name, fontsize=10)
    _save(figure, path)


def draw_learning_rates(sweep: pd.DataFrame, *, suggestion: float | None, path: Path, title: str) -> None:
    """Writes the loss of a sweep of learning rates, each batch's own and smoothed.

    Args:
      sweep: one row a step: learning_rate, loss, smoothed.
      suggestion: the rate to mark, or None.
      path: the picture; its suffix determines the format.
      title: above it.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    figure.suptitle(_wrapped(title, width=70), parse_math=False)
    axes = figure.add_subplot()
    axes.plot(sweep["learning_rate"], sweep["loss"], color=PRINT_COLOURS["best"], linewidth=0.6, label="of each batch")
    axes.plot(sweep["learning_rate"], sweep["smoothed"], color=PRINT_COLOURS["val"], label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color=PRINT_COLOURS["train"], linestyle="--", label=f"suggested: {suggestion:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    # The end diverges: what matters lies below a little more than the beginning.
    axes.set_ylim(0.9 * sweep["smoothed"].min(), 1.3 * sweep["smoothed"].iloc[0])
    axes.grid(color=PRINT_COLOURS["grid"], linewidth=0.5)
    axes.legend(frameon=False)
    _save(figure, path)


def curve_svg(history: pd.DataFrame, *, name: str, best_epoch: int | None) -> Markup:
    """Returns an inline `<svg>` of one row of `CURVES`, in the CSS variables --ink, --grid, --train, --val and --best.

    Args:
      history: one row per epoch, with the columns of history.csv.
      name: a key of `CURVES`.
      best_epoch: counted from 1, marked by a dashed line; 0 is the start, before the first.
    """
    figure = Figure(figsize=(4.3, 2.9), layout="constrained")
    _draw_curves(figure.add_subplot(), history, name=name, colours=PAGE_COLOURS, best_epoch=best_epoch)
    return _inline_svg(figure, label=f"{name} by epoch", colours=PAGE_COLOURS)


def histogram_svg(
    series: Mapping[str, np.ndarray], *, label: str, edges: np.ndarray, ticks: Mapping[float, str] | None = None
) -> Markup:
    """Returns an inline `<svg>` of one or two distributions over the same bins, in the colours of `curve_svg`.

    Args:
      series: values by legend, the first drawn filled, the second as a line; empty ones are omitted.
      label: meaning and unit of the values.
      edges: of the bins, ascending; the outermost bins include values beyond.
      ticks: texts by position below the axis; None writes numbers.
    """
    figure = Figure(figsize=(4.3, 2.4), layout="constrained")
    axes = figure.add_subplot()
    for (legend, values), colour, filled in zip(series.items(), ("val", "train"), (True, False), strict=False):
        if not len(values):
            continue
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
        percentages = 100 * counts / len(values)
        width, opacity = (0.0, 0.45) if filled else (1.8, 1.0)
        axes.stairs(
            percentages, edges, color=PAGE_COLOURS[colour], label=legend, fill=filled, alpha=opacity, linewidth=width
        )
    if ticks:
        axes.set_xticks(list(ticks), list(ticks.values()))
    _style_axes(axes, colours=PAGE_COLOURS)
    axes.set_xlabel(label, fontsize=9, color=PAGE_COLOURS["ink"])
    axes.set_ylabel("% of photos", fontsize=9, color=PAGE_COLOURS["ink"])
    axes.set_xlim(edges[0], edges[-1])
    if len(axes.patches) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=PAGE_COLOURS["ink"])
    return _inline_svg(figure, label=label, colours=PAGE_COLOURS)


def reliability_svg(bins: Sequence[ReliabilityBin]) -> Markup:
    """Returns an inline `<svg>` of the accuracy of the photos by their confidence, in the colours of `curve_svg`.

    Args:
      bins: from `carclf.inference.calibration`; bins without photos are omitted.
    """
    figure = Figure(figsize=(4.3, 3.4), layout="constrained")
    axes = figure.add_subplot()
    total = sum(each.photos for each in bins)
    seen = [each for each in bins if each.photos]
    axes.plot([0, 1], [0, 1], color=PAGE_COLOURS["best"], linestyle="--", linewidth=1, label="perfect calibration")
    for fraction, colour, legend in (
        ([each.accuracy for each in seen], "val", "accuracy"),
        ([each.photos / total for each in seen], "train", "fraction of all photos"),
    ):
        left, width = [each.low for each in seen], [each.high - each.low for each in seen]
        narrow = 1.0 if colour == "val" else 0.35
        centre = [low + wide * (1 - narrow) / 2 for low, wide in zip(left, width, strict=True)]
        axes.bar(
            centre,
            fraction,
            width=[0.94 * narrow * wide for wide in width],
            align="edge",
            color=PAGE_COLOURS[colour],
            alpha=0.45 if colour == "val" else 0.9,
            label=legend,
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("probability of the predicted class", fontsize=9, color=PAGE_COLOURS["ink"])
    _style_axes(axes, colours=PAGE_COLOURS)
    axes.legend(frameon=False, fontsize=9, labelcolor=PAGE_COLOURS["ink"], loc="upper left")
    return _inline_svg(figure, label="Accuracy by confidence", colours=PAGE_COLOURS)


def draw_confusion(confusion: np.ndarray, *, class_names: Sequence[str], path: Path, title: str) -> None:
    """Writes the confusion matrix: photos counted, each row coloured by its fraction of the true class.

    Args:
      confusion: int [K, K], rows true, columns predicted.
      class_names: K names.
      path: the picture; its suffix determines the format.
      title: above it.
    """
    classes = len(class_names)
    written = classes <= WRITTEN_CLASSES
    side = 2.4 + 0.42 * classes if written else 9.0
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    fraction = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(fraction, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(_wrapped(title, width=int(7 * side)), parse_math=False, fontsize=11)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if written:
        names = short_names(class_names)
        axes.set_xticks(range(classes), names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
        axes.set_yticks(range(classes), names, parse_math=False)
        for true, predicted in zip(*np.nonzero(confusion), strict=True):
            ink = "white" if fraction[true, predicted] > 0.5 else PRINT_COLOURS["ink"]
            count = f"{confusion[true, predicted]}"
            axes.text(predicted, true, count, ha="center", va="center", color=ink, fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.7, label="fraction of the true class")
    _save(figure, path)


def draw_pairs(pairs: Sequence[ConfusedPair], *, path: Path, title: str) -> None:
    """Writes the most confused pairs of classes as bars, most photos first; for classes too many for a matrix.

    Args:
      pairs: the pairs, most photos first.
      path: the picture; its suffix determines the format.
      title: above it.
    """
    figure = Figure(figsize=(9.0, 1.6 + 0.27 * max(len(pairs), 1)), layout="constrained")
    axes = figure.add_subplot()
    names = zip(short_names([p.true for p in pairs]), short_names([p.predicted for p in pairs]), strict=True)
    bars = axes.barh(range(len(pairs)), [pair.photos for pair in pairs], color=PRINT_COLOURS["val"])
    axes.bar_label(bars, padding=2, fontsize=9)
    axes.set_yticks(range(len(pairs)), [f"{true} as {other}" for true, other in names], parse_math=False)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("photos of the first class that were predicted as the second")
    axes.set_title(_wrapped(title, width=63), parse_math=False, fontsize=11)
    _save(figure, path)


def draw_augmentation(
    originals: Sequence[np.ndarray], augmented: np.ndarray, *, path: Path, title: str, labels: Sequence[str] = ()
) -> None:
    """Writes a table of photos: each original in the first column, followed by its augmented versions.

    Args:
      originals: n photos, uint8 [height, width, 3], of any sizes.
      augmented: uint8, or float32 in 0..255, [n, draws, H, W, 3].
      path: the picture; its suffix determines the format.
      title: above it.
      labels: n texts, one above each row; without them the columns have names.

    Raises:
      ValueError: their numbers or shapes do not match.
    """
    if augmented.ndim != 5 or augmented.shape[-1] != 3 or len(originals) != len(augmented) or not len(originals):
        raise ValueError(
            f"There must be draws [n, draws, H, W, 3] of n >= 1 originals. "
            f"Received: {len(originals)} originals, draws {list(augmented.shape)}."
        )
    if len(labels) not in (0, len(originals)):
        raise ValueError(f"There must be one label per row, or none. Received: {len(labels)} of {len(originals)}.")
    rows, draws, height, width, _ = augmented.shape
    heading = _wrapped(title, width=14 * (draws + 1))
    strip = TEXT_INCHES * (1 + heading.count("\n") + (0 if labels else 1)) + GAP_INCHES
    tall = CELL_INCHES * height / width
    row_inches = tall + (TEXT_INCHES if labels else 0.0)
    size = ((draws + 1) * CELL_INCHES, strip + rows * row_inches)
    figure = Figure(figsize=size, facecolor=TABLE_BACKGROUND)

    def write(text: str, *, x: float, top: float, align: str = "center", points: int = 8) -> None:
        place = (x / size[0], 1 - top / size[1])
        figure.text(*place, text, ha=align, va="top", fontsize=points, color=TABLE_INK, parse_math=False)

    write(heading, x=size[0] / 2, top=GAP_INCHES, points=10)
    if not labels:
        for column in range(draws + 1):
            name = f"draw {column}" if column else "photo"
            write(name, x=(column + 0.5) * CELL_INCHES, top=strip - TEXT_INCHES)
    for row, original in enumerate(originals):
        bottom = strip + (row + 1) * row_inches
        if labels:
            text = plain_text(labels[row], length=20 * (draws + 1))
            write(text, x=GAP_INCHES, top=bottom - row_inches + GAP_INCHES, align="left")
        for column, pixels in enumerate([original, *augmented[row]]):
            left, low = column * CELL_INCHES + GAP_INCHES / 2, size[1] - bottom + GAP_INCHES / 2
            wide, high = CELL_INCHES - GAP_INCHES, tall - GAP_INCHES
            axes = figure.add_axes((left / size[0], low / size[1], wide / size[0], high / size[1]))
            image = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
            axes.imshow(_letterboxed(image, aspect=width / height), aspect="auto")
            axes.set_axis_off()
    _save(figure, path)


def draw_contact_sheet(photos: Sequence[np.ndarray], captions: Sequence[str], *, path: Path, title: str) -> None:
    """Writes a picture of the photos, six per row.

    Args:
      photos: uint8 [height, width, 3], of any sizes; at least one.
      captions: a text for each, of at most two lines.
      path: the picture; its suffix determines the format.
      title: above it.
    """
    columns = min(SHEET_COLUMNS, len(photos))
    rows = -(-len(photos) // columns)
    wide, high = 1.5 * CELL_INCHES, 1.5 * CELL_INCHES / SHEET_ASPECT + CAPTION_LINES * TEXT_INCHES
    heading = _wrapped(title, width=21 * columns)
    strip = TEXT_INCHES * (1 + heading.count("\n")) + 2 * GAP_INCHES
    size = (columns * wide, strip + rows * high)
    figure = Figure(figsize=size, facecolor=TABLE_BACKGROUND)

    def write(text: str, *, left: float, top: float, points: int) -> None:
        place = (left / size[0], 1 - top / size[1])
        figure.text(*place, text, ha="left", va="top", fontsize=points, color=TABLE_INK, parse_math=False)

    write(heading, left=GAP_INCHES, top=GAP_INCHES, points=10)
    for number, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
        row, column = divmod(number, columns)
        left, top = column * wide + GAP_INCHES / 2, strip + row * high
        inner_wide, inner_high = wide - GAP_INCHES, high - CAPTION_LINES * TEXT_INCHES - GAP_INCHES
        axes = figure.add_axes(
            (left / size[0], 1 - (top + inner_high) / size[1], inner_wide / size[0], inner_high / size[1])
        )
        axes.imshow(_letterboxed(photo, aspect=inner_wide / inner_high), aspect="auto")
        axes.set_axis_off()
        lines = [plain_text(line, length=32) for line in caption.splitlines()[:CAPTION_LINES]]
        write("\n".join(lines), left=left, top=top + inner_high + GAP_INCHES / 2, points=7)
    _save(figure, path)


def stacked(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Returns two photos, uint8 [height, width, 3], as one, centred above each other on the table's background."""
    wide = max(upper.shape[1], lower.shape[1])
    gap = max(1, wide // 40)
    canvas = _table(upper.shape[0] + gap + lower.shape[0], wide)
    for top, image in ((0, upper), (upper.shape[0] + gap, lower)):
        height, width, _ = image.shape
        left = (wide - width) // 2
        canvas[top : top + height, left : left + width] = image
    return canvas


def _wrapped(title: str, *, width: int) -> str:
    return textwrap.fill(plain_text(title, length=3 * width), width)


def _letterboxed(image: np.ndarray, *, aspect: float) -> np.ndarray:
    """Returns the image in the middle of the smallest canvas of `aspect` (width / height) that contains it."""
    height, width, _ = image.shape
    tall, wide = max(height, round(width / aspect)), max(width, round(height * aspect))
    canvas = _table(tall, wide)
    top, left = (tall - height) // 2, (wide - width) // 2
    canvas[top : top + height, left : left + width] = image
    return canvas


def _table(height: int, width: int) -> np.ndarray:
    background = [int(TABLE_BACKGROUND[start : start + 2], 16) for start in (1, 3, 5)]
    return np.full((height, width, 3), background, np.uint8)


def _draw_curves(
    axes: Axes, history: pd.DataFrame, *, name: str, colours: Mapping[str, str], best_epoch: int | None = None
) -> None:
    marker = "o" if len(history) <= MARKED_EPOCHS else ""
    for column, legend, colour in CURVES[name]:
        if column in history and history[column].notna().any():
            axes.plot(
                history["epoch"], history[column], label=legend, color=colours[colour], marker=marker, markersize=3.5
            )
    if best_epoch:
        axes.axvline(best_epoch, color=colours["best"], linestyle="--", linewidth=1, zorder=0)
    rates = history.get("learning_rate", pd.Series(dtype=float)).dropna()
    if name == "Learning rate" and (rates > 0).any() and rates.max() > 20 * rates[rates > 0].min():
        axes.set_yscale("log")
    if name == "Learning rate" and axes.get_yscale() == "linear":
        axes.yaxis.set_major_formatter("{x:g}")
    if name == "Seconds":
        axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch", fontsize=9, color=colours["ink"])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    _style_axes(axes, colours=colours)
    if axes.get_legend_handles_labels()[1] and len(CURVES[name]) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=colours["ink"])


def _style_axes(axes: Axes, *, colours: Mapping[str, str]) -> None:
    axes.grid(color=colours["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=9, colors=colours["grid"], labelcolor=colours["ink"])
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colours["grid"])


def _inline_svg(figure: Figure, *, label: str, colours: Mapping[str, str]) -> Markup:
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    file = io.StringIO()
    # Text stays text, in the page's font. The salt makes ids unique within a page and reproducible between runs.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        FigureCanvasSVG(figure).print_svg(file, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"^<svg[^>]*?viewBox=\"([^\"]*)\"[^>]*>", r'<svg class="chart" viewBox="\1" role="img">', svg)
    svg = re.sub(r"\s*<style.*?</style>", "", svg, flags=re.DOTALL)  # it would apply to the whole page
    svg = re.sub(r'<g id="[\w.]+_\d+">', "<g>", svg)  # figure_1, axes_1: the same in every chart
    for name, colour in colours.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(svg.replace(' role="img">', f' role="img" aria-label="{escape(label)}">', 1))


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # Class names in scripts that the font lacks are drawn as boxes; the page uses the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format=path.suffix.lstrip("."), dpi=DOTS_PER_INCH)
    write_atomically(path, buffer.getvalue())
