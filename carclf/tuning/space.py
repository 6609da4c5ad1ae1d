"""The search space: which options of the trainer are searched, and over which values."""

import dataclasses
import shlex
import typing
from pathlib import Path
from typing import Any, Literal

from carclf.errors import UserError
from carclf.flags import did_you_mean, options_of
from carclf.text_file import read_text
from carclf.train_options import TrainOptions

# Factors of the base's learning rate, so that they suit every stage; the other ranges are as wide as in practice.
DEFAULT_SPACE = """
learning_rate log 0.1x 10x
lr_decay linear 0.7 1.0
l2 log 1e-5 1e-1
dropout linear 0.0 0.6
head_width choice 64 128 256 512
optimizer choice adam adamw
augment choice none 'flip|rotate(5)|shift(0.05)|brightness(0.8,1.2)' notebook 'flip|randaugment(2,9)'
"""
ParameterKind = Literal["log", "linear", "choice"]
PARAMETER_KINDS: tuple[ParameterKind, ...] = typing.get_args(ParameterKind)
USAGE = "write `learning_rate log 1e-5 1e-2`, `dropout linear 0.1 0.5` or `optimizer choice adam adamw`"
# A search that changed these would compare results that are not comparable.
FIXED_GROUPS = ("Data and run", "Device")


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One searched option.

    Attributes:
      name: name of a field of `TrainOptions`.
      kind: 'log' or 'linear' between two bounds, both included, or 'choice'.
      values: (low, high), or the choices; of the option's type.
    """

    name: str
    kind: ParameterKind
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return shlex.join([self.name, self.kind, *map(str, self.values)])


def read_space(path: str, *, base: TrainOptions) -> tuple[Parameter, ...]:
    """Returns the space in a file; if `path` is empty, `DEFAULT_SPACE` without what changes nothing in the base.

    Raises:
      UserError: there is no such text file, or as for `parse_space`.
    """
    if not path:
        known = options_of(TrainOptions)
        space = parse_space(DEFAULT_SPACE, base=base, where="the default space")
        return tuple(parameter for parameter in space if not known[parameter.name].is_idle(base))
    text = read_text(Path(path).expanduser(), what="file of --space")
    return parse_space(text, base=base, where=path)


def parse_space(text: str, *, base: TrainOptions, where: str) -> tuple[Parameter, ...]:
    """Returns the parameters in a text, one per line: its name, `log`, `linear` or `choice`, and its values.

    Values are quoted as in a shell; `#` begins a comment; `2x` is twice the base's value.

    Args:
      text: the lines.
      base: the options that are not searched.
      where: where the text comes from, for messages.

    Raises:
      UserError: a line is not understood; an option is unknown, fixed or named twice; a value is not allowed; or there
        is no parameter.
    """
    parameters: dict[str, Parameter] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            words = shlex.split(line, comments=True)
            if not words:
                continue
            parameter = _parse_line(words, base=base)
            if parameter.name in parameters:
                raise UserError(f"{parameter.name} is given twice: remove one.")
        except (UserError, ValueError) as error:
            raise UserError(f"Line {number} of {where}: {error}") from None
        parameters[parameter.name] = parameter
    if not parameters:
        raise UserError(f"{where} names no parameter: {USAGE}.")
    return tuple(parameters.values())


def _parse_line(words: list[str], *, base: TrainOptions) -> Parameter:
    name, *rest = words
    _check_name(name)
    kind = next((known for known in PARAMETER_KINDS if rest and rest[0] == known), None)
    if kind is None:
        raise UserError(f"{rest[0] if rest else 'nothing'} follows {name}: {USAGE}.")
    values = tuple(_value(name, text, base=base) for text in rest[1:])
    if kind == "choice":
        if not values:
            raise UserError(f"{name} has no choices: {USAGE}.")
    elif len(values) != 2 or not isinstance(values[0], (int, float)) or isinstance(values[0], bool):
        raise UserError(f"{name} {kind} needs two numbers: {USAGE}.")
    elif not values[0] < values[1] or (kind == "log" and values[0] <= 0):
        above = ", above 0" if kind == "log" else ""
        raise UserError(f"{name} {kind} goes from {values[0]} to {values[1]}: give the lower one first{above}.")
    return Parameter(name, kind, values)


def _check_name(name: str) -> None:
    known = options_of(TrainOptions)
    if name not in known:
        hint = did_you_mean(name, known).strip() or "see python -m carclf.train --help."
        raise UserError(f"there is no option {name}: {hint}")
    if known[name].group in FIXED_GROUPS:
        raise UserError(f"{name} is the same in every trial: give it as a flag, --{name}=….")
    if not known[name].changes_result:
        raise UserError(f"{name} does not change a trial's result: give it as a flag, --{name}=….")


def _value(name: str, text: str, *, base: TrainOptions) -> Any:
    """Returns the value of the option that a text stands for; `2x` is twice the base's value."""
    kind = typing.get_type_hints(TrainOptions)[name]
    try:
        if kind in (int, float) and text.endswith("x"):
            value = kind(float(text[:-1]) * getattr(base, name))
        elif kind is bool:
            value = {"true": True, "false": False}[text]
        else:
            value = kind(text) if kind in (int, float) else text
    except (ValueError, KeyError):
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise UserError(f"{name} takes {wanted}, not {text}.") from None
    dataclasses.replace(base, **{name: value})  # refuses values that are not allowed
    return value
