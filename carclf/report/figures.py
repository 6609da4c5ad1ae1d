"""What all figures share: their colours, their axes, and how they become files or inline SVG. No pyplot is imported."""

import io
import re
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from carclf.files import write_atomically
from carclf.report.names import plain_text

PRINT_COLOURS = {"ink": "#30363d", "grid": "#d8dee4", "train": "#d9822b", "val": "#1f6feb", "best": "#8b949e"}
# Placeholders that become CSS variables of the page, for light and dark mode.
PAGE_COLOURS = {"ink": "#010101", "grid": "#020202", "train": "#030303", "val": "#040404", "best": "#050505"}
DOTS_PER_INCH = 110


def wrap_title(title: str, *, width: int) -> str:
    """Returns the title in lines of at most `width` characters, three lines at most."""
    return textwrap.fill(plain_text(title, length=3 * width), width)


def style_axes(axes: Axes, *, colours: Mapping[str, str]) -> None:
    """Draws a grid behind the content and two spines, in `colours`, which have the keys of `PRINT_COLOURS`."""
    axes.grid(color=colours["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=9, colors=colours["grid"], labelcolor=colours["ink"])
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colours["grid"])


def inline_svg(figure: Figure, *, label: str, colours: Mapping[str, str]) -> Markup:
    """Returns an `<svg>` for a page, whose CSS variables replace `colours`; `label` is read out for it."""
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


def save_figure(figure: Figure, path: Path) -> None:
    """Writes the figure; the suffix of `path` determines the format."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # Class names in scripts that the font lacks are drawn as boxes; the page uses the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format=path.suffix.lstrip("."), dpi=DOTS_PER_INCH)
    write_atomically(path, buffer.getvalue())
