"""Each option of each command refuses a value beyond its range or its names, and takes those that the error names."""

import importlib
import re
import typing

import pytest
from texts import remarks, texts

from carclf.__main__ import commands
from carclf.flags import Option, Options, define_flags, options_of


def class_of(command: str) -> type[Options]:
    """The options of a command."""
    options: type[Options] = typing.get_type_hints(importlib.import_module(f"carclf.{command}").main)["options"]
    return options


KNOWN = {
    f"{command}-{name}": (command, name)
    for command in commands()
    for name, known in options_of(class_of(command)).items()
    if known.range or (known.known and not known.check)
}


def broken_by(options: type[Options], name: str, text: str) -> str:
    """The rule that a flag breaks as it stands on the command line."""
    values = define_flags(options)
    values(["carclf", f"--{name}={text}"])
    return options_of(options)[name].rule_broken_by(values[name].value)


def beyond(known: Option) -> str:
    """A value that the error refuses with all that is possible, or for a path with what is near."""
    if not known.range:
        return f"{known.known[0]}x" if known.path else "?"
    lowest = known.above if known.low is None else known.low - 1 - len(known.words)  # -1 is written as a word
    return f"{known.high + 1 if lowest is None else lowest:g}"


def named(rule: str) -> list[str]:
    """The values that a rule names."""
    if names := re.search(r"Known are (.*)", rule):
        return names[1].split(", ")
    if path := re.search(r"did you mean (\S+)[?] A path of that name is (\S+)", rule):
        return [*path.groups()]
    _, *words = rule.split(", or ")
    ends = re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", rule)
    if "above" in rule:
        return [str(int(float(ends[0])) + 1), *words]
    if interval := re.search(r"in ([\[(])\S+, \S+([\])])", rule):
        inside = [end for end, bracket in zip(ends, interval.groups(), strict=True) if bracket in "[]"]
        return [*inside, str(sum(map(float, ends)) / 2), *words]
    return [*ends, *words]


@pytest.mark.parametrize("name", KNOWN)
def test_the_values_that_an_error_names_are_taken(name):
    command, name = KNOWN[name]
    options = class_of(command)
    rule = broken_by(options, name, beyond(options_of(options)[name]))
    assert named(rule)
    assert [value for value in named(rule) if broken_by(options, name, value)] == []


# Flags of Beam's runners, pip, install.py and this package's own parser.
OTHERS = {"check", "flagfile", "hash", "help", "name", "stage", "upgrade", "xla_force_host_platform_device_count"}


def test_an_option_that_a_text_names_is_one_of_a_command():
    known = {name for command in commands() for name in options_of(class_of(command))} | OTHERS
    known |= {f"no{name}" for name in known}
    named = {
        name: text for text in (*texts(), *remarks()) for name in re.findall(r"(?<![\w-])--([a-z]\w*)(?![\w-])", text)
    }
    assert {name: text for name, text in named.items() if name not in known} == {}
