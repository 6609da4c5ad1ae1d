"""Options that describe themselves: a dataclass field defines flag, default, range, names and help."""

import dataclasses
import difflib
import math
import os
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from absl import flags

from carclf.errors import UserError
from carclf.schema import WrongTypeError, typed_fields
from carclf.storage import backend_of, is_remote
from carclf.tables import load, row_names

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """The definition of an option.

    Attributes:
      default: the value without the flag.
      help: one or two sentences for `--help`, which adds the range or the names.
      group: the heading under which `--help` lists it.
      low: the minimum of a number.
      high: the maximum of a number.
      above: a number that the value must exceed.
      below: a number that the value must stay below.
      words: words that may stand for an integer, and the number that each is stored as.
      choices: the possible values of a text; empty if they are not few and fixed.
      names: "module:TABLE", one or several, whose names are the possible values of a text; if `check` is given, too,
        the names that make up the text.
      check: "module:function" that raises a UserError for a wrong value of the right type; called with the value after
        all options are parsed.
      meaning: "module:function" that returns the same for values that are written differently and mean the same.
      using: names of other options of the class, whose values `check` takes as keyword arguments.
      only_with: what the option changes nothing without, in the words of an error text, and a function that returns
        whether all the options together have it. None if it always changes something.
      changes_result: whether a run with another value is a different run; False for options that only move, report or
        speed up.
      sets_start: whether it says what a stage starts from; the stages of a chain always differ in that.
      since: the version that added it; empty for the first version. If set, only a value other than the default makes
        a different run, so that checkpoints of older versions can still be resumed.
      path: whether it names a file or folder, which may be elsewhere on another machine.
      urls: whether that may be a URL, or a list with commas that has some.
    """

    default: Any
    help: str
    group: str = "Options"
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    words: Mapping[str, int] = dataclasses.field(default_factory=dict)
    choices: tuple[str, ...] = ()
    names: str | tuple[str, ...] = ()
    check: str = ""
    meaning: str = ""
    using: tuple[str, ...] = ()
    only_with: tuple[str, Callable[[Any], bool]] | None = None
    changes_result: bool = True
    sets_start: bool = False
    since: str = ""
    path: bool = False
    urls: bool = False

    @property
    def known(self) -> tuple[str, ...]:
        """Its choices, or the names in its tables."""
        tables = (self.names,) if isinstance(self.names, str) else self.names
        return self.choices or tuple(name for table in tables for name in row_names(table))

    @property
    def range(self) -> str:
        """The allowed numbers, in words such as 'at least 1' or 'in [0, 1)'; empty if any number is allowed."""
        low, high = (self.low, self.above), (self.high, self.below)
        lowest, highest = (next((end for end in ends if end is not None), None) for ends in (low, high))
        if lowest is None and highest is None:
            return ""
        if highest is None:
            words = f"above {lowest}" if self.low is None else f"at least {lowest}"
        elif lowest is None:
            words = f"below {highest}" if self.high is None else f"at most {highest}"
        elif self.low is not None and self.high is not None:
            words = f"between {lowest} and {highest}"
        else:
            words = f"in {'(' if self.low is None else '['}{lowest}, {highest}{')' if self.high is None else ']'}"
        return ", or ".join([words, *self.words])

    def is_idle(self, options: Any) -> bool:
        """Returns whether it changes nothing with the other options as they are."""
        return self.only_with is not None and not self.only_with[1](options)

    def same(self, one: object, other: object) -> bool:
        """Returns whether two possible values mean the same."""
        if one == other or not self.meaning:
            return one == other
        meaning = load(self.meaning)
        return bool(meaning(one) == meaning(other))

    def rule_broken_by(self, value: object) -> str:
        """Returns the rule that a value of the right type breaks on its own, as a clause; empty if it breaks none."""
        if isinstance(value, str):
            return "" if self.check else self._rule_of_text(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value in self.words.values():
            return ""
        if not math.isfinite(value):
            return f"it must be {self.range or 'a finite number'}"
        inside = (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        return "" if inside else f"it must be {self.range}"

    def _rule_of_text(self, text: str) -> str:
        known = self.known
        if not known or text in known:
            return ""
        near = did_you_mean(text, known)
        if self.path:
            return f"{near}A path of that name is ./{text}" if near and not set("/.") & set(text) else ""
        return f"{near}Known are {', '.join(filter(None, known))}"


def option(default: Any, help: str, **knowledge: Any) -> Any:
    """Returns a dataclass field that is also a flag, of the annotated type (str, int, float, bool or a Literal).

    Args:
      default: see `Option`.
      help: see `Option`.
      **knowledge: the other attributes of `Option`.
    """
    return dataclasses.field(default=default, metadata={"option": Option(default=default, help=help, **knowledge)})


def same_option(owner: type, name: str, **changes: Any) -> Any:
    """Returns a dataclass field for the flag `name` of another options class, with some of its attributes changed.

    Its `only_with` is left out, because it reads other options of that class.
    """
    shared = dataclasses.replace(options_of(owner)[name], **({"only_with": None} | changes))
    return dataclasses.field(default=shared.default, metadata={"option": shared})


def options_of(options: type) -> dict[str, Option]:
    """Returns the definitions of the options of a class, by name."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(options)}


class Options:
    """The base of every options class: each instance satisfies the definitions of its options.

    Attributes:
      required: names of the options that must be given.
      refused: names of inherited options that the command refuses, or that do nothing without one that it refuses;
        `--help` leaves them out.
    """

    required: ClassVar[tuple[str, ...]] = ()
    refused: ClassVar[tuple[str, ...]] = ()

    @property
    def is_shared(self) -> bool:
        """Whether several commands are made of the options, each of which may need only some of them."""
        return False

    def __post_init__(self) -> None:
        """Checks each option against its definition. A subclass with rules between options calls this first.

        Raises:
          UserError: an option has a value that is not allowed.
        """
        described = options_of(type(self))
        for name, known in described.items():
            value = getattr(self, name)
            rule = known.rule_broken_by(value)
            refuse(bool(rule), name, value, rule)
        checked = {name: known for name, known in described.items() if known.check}
        for name, known in sorted(checked.items(), key=lambda item: bool(item[1].using)):  # `using` comes last
            value = getattr(self, name)
            if known.using or value != known.default:
                _run_check(name, value, known, {other: getattr(self, other) for other in known.using})


def _run_check(name: str, value: object, known: Option, others: Mapping[str, object]) -> None:
    try:
        load(known.check)(value, **others)
    except UserError as error:
        sentence = str(error)
        raise UserError(sentence if sentence.startswith("--") else f"--{name}={value}: {sentence}") from None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns 'did you mean NAME? ' with the nearest of the known names, whatever their case; empty if none is near."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), names, n=1)
    return f"did you mean {names[near[0]]}? " if near else ""


def define_flags(options: type) -> flags.FlagValues:
    """Returns a separate flag registry (nothing global) with one absl flag per field of the dataclass `options`."""
    values = flags.FlagValues()
    types = typing.get_type_hints(options)
    define: dict[type, Any] = {int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_boolean}
    for name, known in options_of(options).items():
        if known.words:
            flags.DEFINE(_NumberOrWord(known.words), name, known.default, known.help, flag_values=values)
        else:
            define.get(types[name], flags.DEFINE_string)(name, known.default, known.help, flag_values=values)
    return values


class _NumberOrWord(flags.IntegerParser):
    """Parses an integer, or a word that is the only way to write its integer."""

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


def from_flags(options: type[T], values: flags.FlagValues) -> T:
    """Returns an instance of the dataclass `options`, filled from parsed flags; ~ in a path is the home folder.

    Raises:
      UserError: as for `options.__post_init__`, or an option that takes no URL has one.
    """
    known = options_of(options)
    given: dict[str, tuple[Any, bool]] = {name: (values[name].value, known[name].path) for name in known}
    # Shells leave the ~ of --data=~/cars as it is.
    for name, (value, path) in given.items():
        refuse(
            path and is_remote(value) and not known[name].urls, name, value, "it takes a path on this machine, no URL"
        )
    return options(**{name: os.path.expanduser(value) if path else value for name, (value, path) in given.items()})


def check_urls(options: Any) -> None:
    """Checks that packages are here for the URLs in the options.

    Raises:
      StorageError: nobody reads one, or its package is not installed; the message names it.
    """
    for name, known in options_of(type(options)).items():
        for value in getattr(options, name).split(",") if known.urls else []:
            if is_remote(value):
                backend_of(value.strip())


def to_dict(options: Any) -> dict[str, Any]:
    """Returns the options as a mapping ready for JSON, with every field."""
    return dataclasses.asdict(options)


def result_options(options: Any) -> dict[str, Any]:
    """Returns the options whose values define a run, in the form of `to_dict`."""
    known = options_of(type(options))
    return {name: value for name, value in to_dict(options).items() if known[name].changes_result}


def identity_options(options: Any) -> dict[str, Any]:
    """Returns those of `result_options` by which runs are compared.

    An option that was added later takes part only with a value other than its default: older files do not name it.
    """
    known = options_of(type(options))
    return {
        name: value
        for name, value in result_options(options).items()
        if not (known[name].since and value == known[name].default)
    }


def from_dict(options: type[T], mapping: Mapping[str, Any]) -> T:
    """Returns an instance of the dataclass `options` from a mapping of `to_dict`; a missing key takes its default.

    Raises:
      UserError: a key is not a field: the file is from a newer carclf; or a value is of another type.
    """
    if unknown := sorted(set(mapping) - set(options_of(options))):
        raise UserError(
            f"The stored options hold {', '.join(unknown)}, which this version of carclf does not know: "
            "use the version that wrote them, or a newer one."
        )
    try:
        return options(**typed_fields(mapping, options))
    except WrongTypeError as error:
        raise UserError(f"The stored options are damaged ({error}): copy the file again.") from None


def changed_options(options: Any) -> dict[str, Any]:
    """Returns the fields that differ from their defaults, for the page about a run."""
    known = options_of(type(options))
    return {name: value for name, value in to_dict(options).items() if value != known[name].default}


def refuse(condition: bool, name: str, value: object, rule: str) -> None:
    """Raises a UserError that names the option, its value and the broken rule, if the condition holds."""
    if condition:
        raise UserError(f"--{name}={value} is not possible: {rule}.")


def refuse_below_a_file(name: str, path: str | Path) -> None:
    """Checks, before hours of work, that a folder to write can be made.

    Raises:
      UserError: the folder is, or lies below, a file.
    """
    folder = Path(path).expanduser()
    found = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), None)
    is_file = not is_remote(str(path)) and found is not None and not found.is_dir()
    refuse(is_file, name, path, f"{found} is a file, and a folder is needed there: choose another")


def refuse_inherited(options: Options, rule: str) -> None:
    """Checks that no option is given which the command inherits and refuses (`Options.refused`).

    Raises:
      UserError: one of them has another value than its default; the error says the rule.
    """
    known = options_of(type(options))
    for name in options.refused:
        value = getattr(options, name)
        refuse(value != known[name].default, name, value, rule)


def refuse_idle(options: Sequence[Options], *, given: Collection[str]) -> None:
    """Checks that what the user has given changes something.

    An option given with its default value counts as not given. Flag files are not checked, because stages share them.

    Args:
      options: of a command, or of each of several commands that get what was given.
      given: names of the options on the command line.

    Raises:
      UserError: one of them changes nothing in any of the commands.
    """
    for name, known in options_of(type(options[0])).items():
        value = getattr(options[0], name)
        if known.only_with and name in given and value != known.default:
            idle = not any(one.is_shared or not known.is_idle(one) for one in options)
            refuse(idle, name, value, f"it changes nothing without {known.only_with[0]}")


def require_flags(options: Any, *names: str) -> None:
    """Raises a UserError that names the first of these options that is missing, if any."""
    for name in names:
        if not getattr(options, name):
            raise UserError(f"--{name} is missing: see --help for what it takes.")
