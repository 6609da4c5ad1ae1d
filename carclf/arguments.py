"""What the arguments of the public functions must be, by their names; anything else is refused in one sentence."""

import dataclasses
import functools
import inspect
import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any, ParamSpec, TypeVar

from carclf.errors import UserError
from carclf.framing import PADDING_MODES, RENDER_METHODS, RESIZE_MODES
from carclf.tables import load

P = ParamSpec("P")
T = TypeVar("T")

SHOWN_LETTERS = 100  # of a value
COMMAND = "python -m"  # in an error, what follows has options


@dataclasses.dataclass(frozen=True)
class Kind:
    """What an argument must be.

    Attributes:
      words: what to give, for the end of a sentence.
      take: returns a value as the functions use it; raises TypeError, ValueError or OverflowError for a wrong one.
    """

    words: str
    take: Callable[[Any], Any]


def whole(low: int | None = None) -> Kind:
    """Returns the kind of whole numbers, also NumPy's, of at least `low`."""

    def take(value: Any) -> int:
        number = operator.index(value)
        if isinstance(value, bool) or (low is not None and number < low):
            raise ValueError
        return number

    return Kind("a whole number" if low is None else f"a whole number of at least {low}", take)


def number(words: str = "a number", *, allowed: Callable[[float], bool] = math.isfinite) -> Kind:
    """Returns the kind of those numbers, also NumPy's, that are allowed."""

    def take(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, Real) or not allowed(float(value)):
            raise ValueError
        return float(value)

    return Kind(words, take)


def one_of(names: Sequence[str]) -> Kind:
    """Returns the kind of a few texts."""

    def take(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError
        return value

    return Kind(f"{', '.join(names[:-1])} or {names[-1]}", take)


def instance(words: str, *types: type | str) -> Kind:
    """Returns the kind of instances of types; "module:TYPE" is only imported for a value of no type before it."""

    def take(value: Any) -> Any:
        if not any(isinstance(value, load(one) if isinstance(one, str) else one) for one in types):
            raise TypeError
        return value

    return Kind(words, take)


def _path(value: Any) -> str:
    path = os.fspath(value)
    if not path or not isinstance(path, str):
        raise ValueError
    return path


def sides(low: int) -> Kind:
    """Returns the kind of an image's size, of at least `low` pixels a side."""

    def take(value: Any) -> tuple[int, int]:
        height, width = map(operator.index, value if isinstance(value, Iterable) else (value, value))
        if not (low <= height <= 4096 and low <= width <= 4096):
            raise ValueError
        return height, width

    return Kind(f"a side, or (height, width), of {low} to 4096 pixels", take)


def _folds(value: Any) -> list[int]:
    folds = [whole(0).take(one) for one in value]
    if not folds:
        raise ValueError
    return folds


def _views(value: Any) -> Any:
    if isinstance(value, str):
        return value
    views = list(value) if isinstance(value, Iterable) else [value]
    if not views or not all(isinstance(view, load("carclf.recipe:View")) for view in views):
        raise TypeError
    return views


def _runs(value: Any) -> list[str]:
    return [_path(one) for one in (value if isinstance(value, (list, tuple)) else [value])]


ANY_SIZE = sides(1)  # of a layer, which no network follows
FRACTION = number("a fraction in [0, 1)", allowed=lambda value: 0.0 <= value < 1.0)
NONE = type(None)
RECIPE = "a text such as 'flip|rotate(10)'"

KINDS = {
    "backbone": instance("one of carclf.list_backbones(), or 'hub:PRESET'", str),
    "batch_size": whole(1),
    "class_count": whole(),
    "class_weights": instance("'none', 'balanced' or 'NAME:WEIGHT,NAME:WEIGHT'", str, NONE),
    "dataset": instance("what carclf.open_dataset returns", "carclf.data.manifest:Manifest"),
    "decay": number(),
    "directory": Kind("the path of a data set's folder", _path),
    "dropout": FRACTION,
    "epochs": whole(1),
    "fill": one_of(PADDING_MODES),
    "fill_value": number(),
    "fit": one_of(tuple(RESIZE_MODES)),
    "folds": Kind("a list of numbers of folds, such as [0, 1]", _folds),
    "head": instance("one of carclf.list_heads()", str),
    "head_width": whole(1),
    "image_size": sides(8),
    "initial_epoch": whole(0),
    "l2": number("a number of at least 0", allowed=lambda value: 0.0 <= value < math.inf),
    "label_smoothing": FRACTION,
    "learning_rate": number(),
    "lowest_fraction": number(),
    "method": one_of(RENDER_METHODS),
    "name": instance("one of carclf.list_schedules()", str),
    "pattern": instance("a text such as 'efficientnet*'", str),
    "period_epochs": number(),
    "recipe": instance(f"{RECIPE}, or what carclf.parse_recipe returns", str, NONE, "carclf.recipe:Recipe"),
    "run": Kind("the path of a run's folder, or a list of several", _runs),
    "runs": Kind("the path of the folder of the runs", _path),
    "seed": whole(),
    "split": one_of(("train", "test")),
    "steps_per_epoch": whole(1),
    "text": instance(RECIPE, str),
    "tta_mean": one_of(("probabilities", "logits")),
    "val_fold": Kind("the number of a fold, or None", lambda value: value if value is None else whole(0).take(value)),
    "view": Kind("a text such as 'flip', or one of what carclf.parse_views returns", _views),
    "views": Kind("a text such as 'clean|flip', or what carclf.parse_views returns", _views),
    "warmup_epochs": number(),
    "weights": Kind("'imagenet', 'none' or the path of a file", lambda value: value if value is None else _path(value)),
}  # fmt: skip


def taken(name: str, value: Any, *, kind: Kind | None = None) -> Any:
    """Returns the value of an argument as the functions use it.

    Args:
      name: of the argument.
      value: its value.
      kind: what it must be; None for what KINDS has under its name.

    Raises:
      UserError: it is not of the kind.
    """
    kind = kind or KINDS[name]
    try:
        return kind.take(value)
    except (TypeError, ValueError, OverflowError):
        shown = " ".join(repr(value).split())
        shown = shown if len(shown) <= SHOWN_LETTERS else f"{shown[:SHOWN_LETTERS]}…"
        raise UserError(f"{name} is {shown}: give {kind.words}.") from None


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Returns the function with its arguments checked by their names; its errors name them, not options of commands.

    An argument may always be the function's own default.
    """
    signature = inspect.signature(function)
    option = re.compile(rf"--({'|'.join(signature.parameters)})\b")

    def each(parameter: inspect.Parameter, value: Any) -> Any:
        if parameter.kind is parameter.VAR_POSITIONAL:
            return tuple(taken(parameter.name, one) for one in value)
        return value if value is parameter.default else taken(parameter.name, value)

    @functools.wraps(function)
    def with_checks(*args: P.args, **kwargs: P.kwargs) -> T:
        given = signature.bind(*args, **kwargs)
        given.arguments |= {name: each(signature.parameters[name], value) for name, value in given.arguments.items()}
        try:
            return function(*given.args, **given.kwargs)
        except UserError as error:
            if COMMAND not in str(error):
                error.args = (option.sub(r"\1", str(error)),)
            raise

    return with_checks
