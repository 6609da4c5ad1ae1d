"""Charts of epochs, of a sweep of learning rates, and of distributions: files, and SVG in the page's colours."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from carclf.inference.calibration import ReliabilityBin
from carclf.report.figures import PAGE_COLOURS, PRINT_COLOURS, inline_svg, save_figure, style_axes, wrap_title

# The content of each chart: columns of history.csv, with their legend and their colour (see below).
CURVES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "Metric": (("score", "training, augmented", "train"), ("val_score", "validation", "val")),
    "Accuracy": (("accuracy", "training, augmented", "train"), ("val_accuracy", "validation", "val")),
    "Loss": (("loss", "training, augmented", "train"), ("val_loss", "validation", "val")),
    "Learning rate": (("learning_rate", "", "val"),),
    "Seconds": (("seconds", "", "val"),),
}
MARKED_EPOCHS = 30  # with more epochs, points have no dots


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
    figure.suptitle(wrap_title(title, width=90), parse_math=False)
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, 2, number)
        _draw_curves(axes, history, name=name, colours=PRINT_COLOURS)
        axes.set_title(metric if name == "Metric" else name, fontsize=10)
    save_figure(figure, path)


def draw_learning_rates(sweep: pd.DataFrame, *, suggestion: float | None, path: Path, title: str) -> None:
    """Writes the loss of a sweep of learning rates, each batch's own and smoothed.

    Args:
      sweep: one row a step: learning_rate, loss, smoothed.
      suggestion: the rate to mark, or None.
      path: the picture; its suffix determines the format.
      title: above it.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    figure.suptitle(wrap_title(title, width=70), parse_math=False)
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
    save_figure(figure, path)


def curve_svg(history: pd.DataFrame, *, name: str, best_epoch: int | None) -> Markup:
    """Returns an inline `<svg>` of one row of `CURVES`, in the CSS variables --ink, --grid, --train, --val and --best.

    Args:
      history: one row per epoch, with the columns of history.csv.
      name: a key of `CURVES`.
      best_epoch: counted from 1, marked by a dashed line; 0 is the start, before the first.
    """
    figure = Figure(figsize=(4.3, 2.9), layout="constrained")
    _draw_curves(figure.add_subplot(), history, name=name, colours=PAGE_COLOURS, best_epoch=best_epoch)
    return inline_svg(figure, label=f"{name} by epoch", colours=PAGE_COLOURS)


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
    style_axes(axes, colours=PAGE_COLOURS)
    axes.set_xlabel(label, fontsize=9, color=PAGE_COLOURS["ink"])
    axes.set_ylabel("% of photos", fontsize=9, color=PAGE_COLOURS["ink"])
    axes.set_xlim(edges[0], edges[-1])
    if len(axes.patches) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=PAGE_COLOURS["ink"])
    return inline_svg(figure, label=label, colours=PAGE_COLOURS)


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
    style_axes(axes, colours=PAGE_COLOURS)
    axes.legend(frameon=False, fontsize=9, labelcolor=PAGE_COLOURS["ink"], loc="upper left")
    return inline_svg(figure, label="Accuracy by confidence", colours=PAGE_COLOURS)


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
    style_axes(axes, colours=colours)
    if axes.get_legend_handles_labels()[1] and len(CURVES[name]) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=colours["ink"])
