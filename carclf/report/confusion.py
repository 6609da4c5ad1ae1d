"""Pictures of what is confused: the matrix, or the most confused pairs of classes too many for one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from carclf.inference.metrics import ConfusedPair
from carclf.report.figures import PRINT_COLOURS, save_figure, wrap_title
from carclf.report.names import short_names

WRITTEN_CLASSES = 30  # with more classes, there are no names and counts


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
    axes.set_title(wrap_title(title, width=int(7 * side)), parse_math=False, fontsize=11)
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
    save_figure(figure, path)


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
    axes.set_title(wrap_title(title, width=63), parse_math=False, fontsize=11)
    save_figure(figure, path)
