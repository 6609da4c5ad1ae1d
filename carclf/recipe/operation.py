"""The parts of a row of `RECIPES` or `VIEWS`, and how it binds the arguments of a term."""

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
    """The output that an operation draws for.

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
      low: smallest value allowed.
      high: largest value allowed.
      default: its value if left out; `REQUIRED` if it must be given.
      words: texts allowed instead of a number.
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
      draw: called with uniforms [n, B], the frame, and the arguments by name; the first line of its docstring says
          what it does.
      example: a recipe of this operation alone, strong enough to be visible, for the catalogue of augmentations.
      uniforms: n, the number of uniforms that `draw` needs per photo.
      arguments: in the order in which they can be written.
      chance: default of `p`, the argument of every operation: the fraction of photos it changes.
      scales_chance: True if the strength scales `p`, because the operation has no size to scale.
      axis_aligned: for geometry: True if every draw only scales and shifts along each axis, so that rows stay rows
          and columns stay columns.
      affine: for geometry: True if no draw has a perspective; all that is axis-aligned is affine as well.
      per_channel: for colour: True if every draw multiplies each channel by itself alone, and adds to it.
    """

    kind: str
    draw: Callable[..., object]
    example: str
    uniforms: int = 0
    arguments: Mapping[str, Argument] = dataclasses.field(default_factory=dict)
    chance: float = 1.0
    scales_chance: bool = False
    axis_aligned: bool = False
    affine: bool = False
    per_channel: bool = False

    @property
    def is_geometric(self) -> bool:
        """True if it moves pixels."""
        return self.kind in ("geometry", "both")

    @property
    def is_chromatic(self) -> bool:
        """True if it changes colours."""
        return self.kind in ("colour", "both")

    @property
    def summary(self) -> str:
        """What it does: the first line of its function's docstring."""
        return (self.draw.__doc__ or "").strip().partition("\n")[0]


def bind_arguments(term: Term, arguments: Mapping[str, Argument]) -> dict[str, Value]:
    """Returns the value of every argument of a term, checked against its limits.

    Raises:
      UserError: an argument is missing, empty, unknown, given twice, not a number, or outside its limits.
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
    """Returns `name(a, b=1, [c])`, where c is optional, or the bare name if there are no arguments."""
    if not arguments:
        return name
    return f"{name}({', '.join(_written(key, value.default) for key, value in arguments.items())})"


def _written(name: str, default: Value) -> str:
    if default == REQUIRED:
        return name
    return f"[{name}]" if default is None else f"{name}={_short(default)}"


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
