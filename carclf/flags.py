"""Options that know themselves: a dataclass field is the flag, its default, its help and its place in stage.json."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from absl import flags

from carclf.errors import UserError

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    words: Mapping[str, int] | None = None,
    group: str = "Options",
) -> Any:
    """A dataclass field that is also a flag.

    Args:
      default: the value without the flag; its annotation (str, int, float, bool, or a Literal of the choices) is the
        flag's type.
      help: one or two sentences for `--help`.
      choices: the allowed values of a string option; empty means any.
      words: what may be written in place of a number, and the number that it is kept as.
      group: the heading under which `--help` lists it.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "choices": choices, "words": words, "group": group}
    )


def define_flags(options: type) -> flags.FlagValues:
    """A flag registry of its own (nothing global) with one absl flag per field of the dataclass `options`."""
    values = flags.FlagValues()
    types = typing.get_type_hints(options)
    define: dict[type, Any] = {
        str: flags.DEFINE_string,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_boolean,
    }
    for field in dataclasses.fields(options):
        choices, words, text = (field.metadata[name] for name in ("choices", "words", "help"))
        if words:
            flags.DEFINE(_NumberOrWord(words), field.name, field.default, text, flag_values=values)
        elif choices:
            parser, serializer = _Choice(choices), flags.ArgumentSerializer()
            flags.DEFINE(parser, field.name, field.default, text, flag_values=values, serializer=serializer)
        else:
            define[types[field.name]](field.name, field.default, text, flag_values=values)
    return values


class _NumberOrWord(flags.IntegerParser):
    """Parses an integer, or a word that stands for one that is not written otherwise."""

    def __init__(self, words: Mapping[str, int]) -> None:
        super().__init__()
        self._words = words

    def convert(self, argument: int | str) -> int:
        if isinstance(argument, str) and argument in self._words:
            return self._words[argument]
        number: int = super().convert(argument)
        if number in self._words.values():
            raise ValueError(f"{argument} is neither a possible number nor {' or '.join(self._words)}")
        return number


class _Choice(flags.ArgumentParser):
    """Takes one of some words; of another it names the nearest, which absl's own enum does not."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        self._choices = choices

    def parse(self, argument: str) -> str:
        if argument in self._choices:
            return argument
        near = difflib.get_close_matches(argument, self._choices, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{hint}Known are {', '.join(self._choices)}")


def from_flags(options: type[T], values: flags.FlagValues) -> T:
    """The dataclass `options` filled from parsed flags.

    Raises:
      UserError: what `options.__post_init__` finds wrong.
    """
    return options(**{field.name: values[field.name].value for field in dataclasses.fields(options)})  # type: ignore[arg-type]


def to_dict(options: Any) -> dict[str, Any]:
    """The options as a JSON-ready mapping, every field included."""
    return dataclasses.asdict(options)


def from_dict(options: type[T], mapping: Mapping[str, Any]) -> T:
    """The dataclass `options` from what `to_dict` gave; a missing key takes its default.

    Raises:
      UserError: a key that no field has: the file is of a newer carclf.
    """
    names = {field.name for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    if unknown := sorted(set(mapping) - names):
        raise UserError(
            f"The stored options hold {', '.join(unknown)}, which this version of carclf does not know: "
            "use the version that wrote them, or a newer one."
        )
    return options(**mapping)


def changed_options(options: Any) -> dict[str, Any]:
    """The fields that differ from their defaults: what a page about a run shows."""
    return {
        f.name: getattr(options, f.name) for f in dataclasses.fields(options) if getattr(options, f.name) != f.default
    }


def refuse(condition: bool, name: str, value: object, rule: str) -> None:
    """Raises a UserError that names the option, its value and the rule that it breaks, where the condition holds."""
    if condition:
        raise UserError(f"--{name}={value} is not possible: {rule}.")


def require_flags(options: Any, *names: str) -> None:
    """Raises a UserError that names the first of these options that was not given."""
    for name in names:
        if not getattr(options, name):
            raise UserError(f"--{name} is missing: see --help for what it takes.")
