"""Renders pages as one HTML file that needs no network and no JavaScript, and formats figures in them."""

import base64
import functools
import importlib.resources
import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from carclf.files import write_atomically

MISSING = "–"


def write_html(path: Path, template: str, **values: Any) -> None:
    """Writes a page: a template of this package (all extend `base.html`), filled with the values.

    Raises:
      OSError: the file cannot be written.
    """
    html = _environment().get_template(template).render(**values)
    # Characters of a file name that UTF-8 cannot encode are shown as their code.
    write_atomically(path, html.encode("utf-8", errors="backslashreplace"))


@functools.cache
def _environment() -> jinja2.Environment:
    # Autoescape keeps hostile file and class names out of the page's markup.
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (percent, duration, number, rate, fixed, inline_jpeg, words)
    environment.filters |= {function.__name__: function for function in filters}
    return environment


def _source(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8")


def inline_jpeg(encoded: bytes) -> Markup:
    """Returns the data URL of a JPEG."""
    return Markup("data:image/jpeg;base64,") + base64.b64encode(encoded).decode()


def words(name: str) -> Markup:
    """Returns a name in which lines may break after each '_', '/' and '.', as after spaces and hyphens."""
    return Markup(re.sub(r"([_/.]+)(?=[^_/.])", r"\1<wbr>", str(escape(name))))


def percent(fraction: float | None, digits: int = 1) -> str:
    """Returns a fraction of 0..1 as in '91.2 %', with a non-breaking space."""
    return MISSING if _absent(fraction) else f"{100 * float(fraction):.{digits}f}\u00a0%"  # type: ignore[arg-type]


def duration(seconds: float | None) -> str:
    """Returns seconds in their two largest units: '8.3 s', '7 min 20 s', '2 h 31 min'."""
    if _absent(seconds):
        return MISSING
    value = float(seconds)  # type: ignore[arg-type]
    if value < 59.95:
        return f"{value:.1f}\u00a0s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min {rest}\u00a0s"
    return f"{minutes // 60}\u00a0h {minutes % 60}\u00a0min"


def number(value: float | None, digits: int = 3) -> str:
    """Returns a figure with this many significant digits, and without exponent between 0.0001 and a million."""
    if _absent(value):
        return MISSING
    value = float(value)  # type: ignore[arg-type]
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e6 else f"{value:.{digits}g}"


def rate(value: float | None) -> str:
    """Returns a learning rate in the usual notation: '1e-4', '6.56e-5'."""
    if _absent(value):
        return MISSING
    mantissa, exponent = f"{float(value):.2e}".split("e")  # type: ignore[arg-type]
    return f"{float(mantissa):g}e{int(exponent)}"


def fixed(value: float | None, digits: int = 3) -> str:
    """Returns a figure with this many decimals, for columns."""
    return MISSING if _absent(value) else f"{float(value):.{digits}f}"  # type: ignore[arg-type]


def _absent(value: float | None) -> bool:
    return value is None or bool(pd.isna(value))
