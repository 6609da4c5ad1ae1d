"""Checks what was read from JSON against the type hints of the code that uses it."""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
SHOWN = 40  # characters of a wrong value in an error text
EXACT = 2**53  # the whole numbers that a float holds

Reader = Callable[[Any], Any]


class WrongTypeError(ValueError):
    """A value of another type than the code expects; the message says where, as the end of a sentence."""

    def __init__(self, fault: str, place: str = "") -> None:
        super().__init__(f"{place or 'the content'} {fault}")
        self.fault, self.place = fault, place

    def inside(self, name: str) -> "WrongTypeError":
        """Returns the error as seen from the object or list that holds the value under `name`."""
        dot = "" if not self.place or self.place.startswith("[") else "."
        return WrongTypeError(self.fault, f"{name}{dot}{self.place}")


def typed(value: Any, kind: Any, *, at: str, others: bool = False) -> Any:
    """Returns a JSON value as the annotated type: lists as tuples, objects as dataclasses, whole numbers as floats.

    Args:
      value: from `json.loads`.
      kind: str, int, float, bool, Any, a Literal, a tuple[X, ...], a Mapping[str, X], a dataclass, or one of these or
        None.
      at: the place of the value in the file, such as 'options.max_side'.
      others: whether objects may have entries that are no fields; they are left out.

    Raises:
      WrongTypeError: it is of another type, or an object lacks a field or has one that is not known.
    """
    try:
        return _reader(kind, others)(value)
    except WrongTypeError as error:
        raise error.inside(at) from None


def typed_fields(value: Any, kind: Any, *, without: Iterable[str] = (), others: bool = False) -> dict[str, Any]:
    """Returns the fields of a dataclass that a JSON object holds, each as its annotated type.

    Args:
      value: from `json.loads`.
      kind: the dataclass.
      without: fields that the object does not have.
      others: whether the object, and every object in it, may have entries that are no fields; they are left out.

    Raises:
      WrongTypeError: as for `typed`.
    """
    return _fields(value, _readers_of(kind, frozenset(without), others), others=others)


def shown(value: object) -> str:
    """Returns a value for an error text: in one line, and cut if it is long."""
    text = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


@functools.cache
def _reader(kind: Any, others: bool) -> Reader:
    """Returns the function that checks and converts a value of a type, with or without entries that are no fields."""
    if kind is Any:
        return lambda value: value
    if kind in WORDS:
        return functools.partial(_number if kind is float else _plain, kind)
    if dataclasses.is_dataclass(kind):
        make: Any = kind
        readers = _readers_of(make, frozenset(), others)
        return lambda value: make(**_fields(value, readers, others=others))
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (other,) = (_reader(one, others) for one in inner if one is not type(None))
        return lambda value: None if value is None else other(value)
    if origin is typing.Literal:
        wanted = f"one of {', '.join(map(str, inner))}"
        return lambda value: value if value in inner else _refuse(value, wanted)
    if origin is tuple:
        return functools.partial(_items, _reader(inner[0], others))
    return functools.partial(_entries, _reader(inner[1], others))


@functools.cache
def _readers_of(kind: Any, without: frozenset[str], others: bool) -> dict[str, tuple[Reader, bool]]:
    """Returns field → (its reader, whether it must be there)."""
    hints = typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    return {
        field.name: (_reader(hints[field.name], others), field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
        if field.name not in without
    }


def _fields(value: Any, readers: dict[str, tuple[Reader, bool]], *, others: bool) -> dict[str, Any]:
    mapping = value if isinstance(value, dict) else _refuse(value, "an object")
    result = {}
    for name, (read, required) in readers.items():
        if name in mapping:
            try:
                result[name] = read(mapping[name])
            except WrongTypeError as error:
                raise error.inside(name) from None
        elif required:
            raise WrongTypeError("is missing", name)
    if not others and len(result) < len(mapping):
        raise WrongTypeError("is not known", shown(min(set(mapping) - set(result))))
    return result


def _items(read: Reader, value: Any) -> tuple[Any, ...]:
    items = value if isinstance(value, list) else _refuse(value, "a list")
    result = []
    for number, item in enumerate(items):
        try:
            result.append(read(item))
        except WrongTypeError as error:
            raise error.inside(f"[{number}]") from None
    return tuple(result)


def _entries(read: Reader, value: Any) -> dict[str, Any]:
    entries = value if isinstance(value, dict) else _refuse(value, "an object")
    result = {}
    for name, entry in entries.items():
        try:
            result[name] = read(entry)
        except WrongTypeError as error:
            raise error.inside(name) from None
    return result


def _plain(kind: type, value: Any) -> Any:
    return value if type(value) is kind else _refuse(value, WORDS[kind])


def _number(kind: type, value: Any) -> float:
    if type(value) is int and abs(value) < EXACT:
        return float(value)
    return float(_plain(kind, value))


def _refuse(value: Any, wanted: str) -> typing.NoReturn:
    raise WrongTypeError(f"is {shown(value)} instead of {wanted}")
