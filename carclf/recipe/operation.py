"""What a row of `RECIPES` or `VIEWS` is made of, and how the arguments of a term are bound to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from carclf.errors import UserError
from carclf.recipe.grammar import Term

Array = npt.NDArray[np.float64]
Value = float | str | None

REQUIRED = "required"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """What an operation may know about the output.

    Attributes:
        image_size: (height, width) in pixels.
        strength: 0 makes every operation the identity, 1 is the recipe as written.
    """

    image_size: tuple[int, int]
    strength: float = 1.0

    @property
    def aspect(self) -> float:
        """Width divided by height."""
        return self.image_size[1] / self.image_size[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument of an operation.

    Attributes:
        low: least value allowed.
        high: greatest value allowed.
        default: its value when left out; `REQUIRED` when it must be given.
        words: texts that may stand in place of a number.
    """

    low: float
    high: float
    default: Value = REQUIRED
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """One row of `RECIPES`.

    Attributes:
        kind: what `draw` returns: `geometry` [B, 3, 3] as in `carclf.recipe.geometry`; `colour` [B, 4, 4] as in
            `carclf.recipe.colour`; `both`, a pair of those; `mix` [B, 5]; `erase` [B, 7] as in `Draws`.
        draw: called with uniforms [n, B], the frame, and the arguments by name; its docstring begins with what it
            does, in one line.
        example: a recipe of it alone, strong enough to be seen: what the catalogue of augmentations shows.
        uniforms: n, the uniforms `draw` needs for one photo.
        arguments: in the order in which they can be written.
        chance: default of the argument `p` that every operation has, the share of photos it touches.
        scales_chance: True where the strength multiplies `p`, because the operation has no size to multiply.
        axis_aligned: of a geometry: True where it is a scale and a translation along each axis, whatever is drawn, so
            that rows stay rows and columns stay columns.
    """

    kind: str
    draw: Callable[..., object]
    example: str
    uniforms: int = 0
    arguments: Mapping[str, Argument] = dataclasses.field(default_factory=dict)
    chance: float = 1.0
    scales_chance: bool = False
    axis_aligned: bool = False

    @property
    def turns(self) -> bool:
        """Whether it may map a row of pixels to something else than a row."""
        return self.kind in ("geometry", "both") and not self.axis_aligned

    @property
    def summary(self) -> str:
        """What it does, in one line: the first of its function's docstring."""
        return (self.draw.__doc__ or "").strip().partition("\n")[0]


def bind_arguments(term: Term, arguments: Mapping[str, Argument]) -> dict[str, Value]:
    """Returns the value of every argument of a term, checked against its limits.

    Raises:
        UserError: an argument is missing, empty, unknown, given twice, no number, or outside its limits.
    """
    how = usage(term.name, arguments)
    if len(term.positional) > len(arguments):
        raise UserError(f"{term.text!r} has {len(term.positional)} arguments, {how}.")
    given = list(zip(arguments, term.positional, strict=False)) + list(term.keywords)
    values: dict[str, Value] = {name: argument.default for name, argument in arguments.items()}
    for position, (name, text) in enumerate(given):
        if name not in arguments:
            raise UserError(f"{term.text!r} has an unknown argument {name!r}, {how}.")
        if name in dict(given[:position]):
            raise UserError(f"{term.text!r} gives {name} twice, {how}.")
        values[name] = _value(text, arguments[name], name=name, term=term, how=how)
    missing = [name for name, value in values.items() if value == REQUIRED]
    if missing:
        raise UserError(f"{term.text!r} lacks {', '.join(missing)}, {how}.")
    return values


def _value(text: str, argument: Argument, *, name: str, term: Term, how: str) -> Value:
    if not text:
        raise UserError(f"{term.text!r} has an empty argument, {how}.")
    if text in argument.words:
        return text
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not argument.low <= number <= argument.high:
        words = "".join(f" or {word}" for word in argument.words)
        limits = f"{argument.low:g} to {argument.high:g}{words}"
        raise UserError(f"{term.text!r} has {name}={text}, which must be {limits}, {how}.")
    return number


def usage(name: str, arguments: Mapping[str, Argument]) -> str:
    """Returns `write name(a, b=1)`."""
    return f"write {signature(name, arguments)}"


def signature(name: str, arguments: Mapping[str, Argument]) -> str:
    """Returns `name(a, b=1, [c])`, c being one that may be left out, or the bare name of something without any."""
    if not arguments:
        return name
    return f"{name}({', '.join(_written(key, value.default) for key, value in arguments.items())})"


def _written(name: str, default: Value) -> str:
    if default == REQUIRED:
        return name
    return f"[{name}]" if default is None else f"{name}={_short(default)}"


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
