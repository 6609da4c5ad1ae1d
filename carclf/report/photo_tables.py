"""Pictures of many photos: a table of photos and their augmented versions, and a contact sheet with captions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from carclf.report.figures import DOTS_PER_INCH, save_figure, wrap_title
from carclf.report.names import plain_text

TABLE_BACKGROUND, TABLE_INK = "#1b1f24", "#d0d7de"  # photos look right on a dark table
# A table of photos: the side of a cell, the gap between two cells, the height of a line of text.
CELL_INCHES, GAP_INCHES, TEXT_INCHES = 1.35, 0.05, 0.19
CELL_PX = round((CELL_INCHES - GAP_INCHES) * DOTS_PER_INCH)  # what a picture shows of a photo
# A contact sheet: photos per row, width / height of a cell, lines of text under each.
SHEET_COLUMNS, SHEET_ASPECT, CAPTION_LINES = 6, 4 / 3, 2


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
    heading = wrap_title(title, width=14 * (draws + 1))
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
    save_figure(figure, path)


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
    heading = wrap_title(title, width=21 * columns)
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
        lines = [plain_text(line, length=30) for line in caption.splitlines()[:CAPTION_LINES]]
        write("\n".join(lines), left=left, top=top + inner_high + GAP_INCHES / 2, points=7)
    save_figure(figure, path)


def stacked(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Returns two photos, uint8 [height, width, 3], as one, centred above each other on the table's background."""
    wide = max(upper.shape[1], lower.shape[1])
    gap = max(1, wide // 40)
    canvas = _blank_table(upper.shape[0] + gap + lower.shape[0], wide)
    for top, image in ((0, upper), (upper.shape[0] + gap, lower)):
        height, width, _ = image.shape
        left = (wide - width) // 2
        canvas[top : top + height, left : left + width] = image
    return canvas


def _letterboxed(image: np.ndarray, *, aspect: float) -> np.ndarray:
    """Returns the image in the middle of the smallest canvas of `aspect` (width / height) that contains it."""
    height, width, _ = image.shape
    tall, wide = max(height, round(width / aspect)), max(width, round(height * aspect))
    canvas = _blank_table(tall, wide)
    top, left = (tall - height) // 2, (wide - width) // 2
    canvas[top : top + height, left : left + width] = image
    return canvas


def _blank_table(height: int, width: int) -> np.ndarray:
    background = [int(TABLE_BACKGROUND[start : start + 2], 16) for start in (1, 3, 5)]
    return np.full((height, width, 3), background, np.uint8)
