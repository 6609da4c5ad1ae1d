"""Each option of each command refuses a value beyond its range or its names, and takes those that the error names."""

import importlib
import re
import typing

import pytest
from texts import refused, remarks, texts

from carclf.__main__ import commands
from carclf.command import given_names, parse_command_line
from carclf.flags import Option, Options, define_flags, options_of, refuse_idle


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


# COMMAND-OPTION → what is refused alone, and what the error asks for.
NEEDED = {
    "train-allow_split_change": ("--allow_split_change", "--init_from=a"),
    "train-plan_output": ("--plan_output=p", "--plan --budget=1h"),
    "train-size_count": ("--size_count=3", "--image_size=160-224"),
    "train-scale_batch": ("--noscale_batch", "--image_size=160-224"),
    "train-first_strength": ("--first_strength=0.5", "--image_size=160-224"),
    "train-head_width": ("--head=linear --head_width=9", "--head=notebook"),
    "train-head_momentum": ("--head=attention --head_momentum=0.9", "--head=notebook"),
    "train-head_temperature": ("--head_temperature=2", "--init_from=a"),
    "train-l2": ("--head=linear --l2=0", "--head=notebook"),
    "train-train_batch_norm": ("--unfreeze=head --train_batch_norm", "--unfreeze=all"),
    "train-engine": ("--engine=openvino", "--unfreeze=head"),
    "train-focal_gamma": ("--focal_gamma=1", "--loss=focal"),
    "train-lr_decay": ("--schedule=cosine --lr_decay=0.5", "--schedule=exponential"),
    "train-lr_period": ("--lr_period=3", "--schedule=step"),
    "train-lr_floor": ("--lr_floor=0.1", "--schedule=cosine"),
    "train-lr_decay_by_block": ("--unfreeze=head --lr_decay_by_block=0.7", "--unfreeze=all"),
    "train-coordinator": ("--coordinator=a:1", "--num_hosts=2"),
    "explore-photos": ("--photos=5", "--augment=flip"),
    "explore-draws": ("--draws=9", "--augment=flip"),
    "explore-seed": ("--seed=7", "--augment=flip"),
    "explore-image_size": ("--image_size=64", "--augment=flip"),
    "explore-fit": ("--fit=crop", "--augment=flip"),
    "explore-fill": ("--fill=reflect", "--augment=flip"),
    "predict-on_bad": ("--data=d --on_bad=fail", "--photos=p"),
    "predict-pseudo_confidence": ("--data=d --pseudo_confidence=0.9", "--pseudo_labels=l.csv"),
    "predict-top": ("--data=d --top=5", "--photo=a.jpg --data="),
}
KEPT = ("--augment=mixup", "--image_size=160-224", "--augment_validation", "--unfreeze=all", "--nokeep_features")


def test_every_option_that_needs_another_is_followed():
    needing = {
        f"{command}-{name}"
        for command in commands()
        for name, known in options_of(class_of(command)).items()
        if known.only_with and command != "tune"  # its trials share the options of train
    }
    assert needing == NEEDED.keys()


def check_given(command: str, flags: str) -> None:
    """Parses and checks a command line as the command does."""
    options, arguments = class_of(command), flags.split()
    required = {"train": ["--data=d"], "explore": ["--data=d"], "predict": ["--run=r"]}[command]
    parsed = parse_command_line(options, [*required, *arguments], description="")
    refuse_idle([parsed], given=given_names(options, arguments))


@pytest.mark.parametrize("name", NEEDED)
def test_an_option_counts_with_what_the_error_asks_for(name):
    alone, needed = NEEDED[name]
    command, option = name.split("-")
    with refused("flags.py: --…=… is not possible: it changes nothing without"):
        check_given(command, alone)
    words, _ = options_of(class_of(command))[option].only_with
    assert needed.partition("=")[0].split()[0] in words
    check_given(command, f"{alone} {needed}")


@pytest.mark.parametrize("changing", KEPT)
def test_an_engine_is_refused_where_no_features_are_kept(changing):
    check_given("train", "--engine=openvino --unfreeze=head")
    check_given("train", "--engine=openvino --unfreeze=head --find_lr")
    with refused("flags.py: --…=… is not possible: it changes nothing without"):
        check_given("train", f"--engine=openvino --unfreeze=head {changing}")


# Flags of Beam's runners, pip, install.py and this package's own parser.
OTHERS = {"check", "flagfile", "hash", "help", "name", "stage", "upgrade", "xla_force_host_platform_device_count"}


def test_an_option_that_a_text_names_is_one_of_a_command():
    known = {name for command in commands() for name in options_of(class_of(command))} | OTHERS
    known |= {f"no{name}" for name in known}
    named = {
        name: text for text in (*texts(), *remarks()) for name in re.findall(r"(?<![\w-])--([a-z]\w*)(?![\w-])", text)
    }
    assert {name: text for name, text in named.items() if name not in known} == {}
