import dataclasses
import json
import math
import re

import pytest

from carclf.command import parse_command_line
from carclf.errors import UserError
from carclf.flags import (
    Options,
    changed_options,
    define_flags,
    from_dict,
    from_flags,
    option,
    options_of,
    result_options,
    same_option,
    to_dict,
)
from carclf.framing import parse_image_size, parse_image_sizes
from carclf.train_options import TrainOptions


def check_even(number: int, *, share: float) -> None:
    if number % 2:
        raise UserError(f"{number} is odd, and the share is {share}.")


@dataclasses.dataclass(frozen=True)
class Some(Options):
    text: str = option("a", "Text.")
    number: int = option(4, "Number.", low=1, high=9, check="test_flags:check_even", using=("share",))
    share: float = option(0.5, "Share.", low=0, below=1, changes_result=False)
    switch: bool = option(False, "Switch.")
    kind: str = option("x", "Kind.", choices=("x", "y"))
    many: int = option(2, "Many.", low=0, words={"all": -1})
    place: str = option("none", "Place.", choices=("none", "ram"), path=True)


def test_every_field_becomes_a_flag_of_its_type():
    values = define_flags(Some)
    values(["program", "--text=b", "--number=8", "--share=0.25", "--switch", "--kind=y", "--many=all", "--place=/x"])
    assert from_flags(Some, values) == Some("b", 8, 0.25, True, "y", -1, "/x")


@pytest.mark.parametrize(
    ("knowledge", "words", "inside", "outside"),
    [
        ({"low": 1}, "at least 1", [1, 1e9], [0.999, -1, math.nan, math.inf]),
        ({"above": 0}, "above 0", [1e-9], [0, -1, math.nan]),
        ({"high": 3}, "at most 3", [3, -9], [3.1, math.nan, -math.inf]),
        ({"below": 3}, "below 3", [2.9, -9], [3, math.nan]),
        ({"low": 1, "high": 3}, "between 1 and 3", [1, 2, 3], [0.9, 3.1, math.nan]),
        ({"low": 0, "below": 1}, "in [0, 1)", [0, 0.5], [-0.1, 1, math.nan]),
        ({"above": 0, "high": 1}, "in (0, 1]", [0.1, 1], [0, 1.1]),
        ({"above": 0, "below": 1}, "in (0, 1)", [0.5], [0, 1]),
        ({}, "a finite number", [-1e30, 0], [math.nan, math.inf]),
    ],
    ids=str,
)
def test_a_range_is_told_as_it_is_checked(knowledge, words, inside, outside):
    @dataclasses.dataclass(frozen=True)
    class One(Options):
        value: float = option(inside[0], "Value.", **knowledge)

    assert [One(value).value for value in inside] == inside
    assert options_of(One)["value"].range in (words, "")
    for value in outside:
        with pytest.raises(UserError) as caught:
            One(value)
        assert str(caught.value) == f"--value={value} is not possible: it must be {words}."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "yy"}, "--kind=yy is not possible: did you mean y? Known are x, y."),
        ({"kind": ""}, "--kind= is not possible: Known are x, y."),
        ({"many": -2}, "--many=-2 is not possible: it must be at least 0, or all."),
        ({"number": 5}, "--number=5: 5 is odd, and the share is 0.5."),
        ({"number": 11}, "--number=11 is not possible: it must be between 1 and 9."),  # before the check that it is odd
        ({"place": "rma"}, "--place=rma is not possible: did you mean ram? A path of that name is ./rma."),
    ],
    ids=str,
)
def test_a_value_that_an_option_cannot_have_is_one_sentence(changes, sentence):
    with pytest.raises(UserError) as caught:
        Some(**changes)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("place", ["none", "ram", "./ram", "./rma", "decoded", "/tmp/ram", "r.m"])
def test_a_path_may_have_any_name_but_a_mistyped_word(place):
    assert Some(place=place).place == place


def test_the_tilde_of_a_path_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    given = ["--data=~/cars", "--resume_from=~/lost/runs/b0", "--weights=imagenet"]
    options = parse_command_line(TrainOptions, given, description="")
    assert (options.data, options.resume_from) == ("/home/ann/cars", "/home/ann/lost/runs/b0")
    assert options.weights == "imagenet"


def test_an_option_may_be_another_classs():
    @dataclasses.dataclass(frozen=True)
    class Other(Options):
        size: int = same_option(Some, "many", default=7, group="Sizes")

    ours, theirs = options_of(Other)["size"], options_of(Some)["many"]
    assert (ours.default, ours.group, Other().size) == (7, "Sizes", 7)
    assert dataclasses.replace(ours, default=theirs.default, group=theirs.group) == theirs


def test_what_changes_nothing_of_the_result_is_told_apart():
    assert result_options(Some(share=0.1)) == result_options(Some(share=0.2))
    assert result_options(Some(number=6)) != result_options(Some(number=8))


def test_options_survive_json():
    options = TrainOptions(image_size="384x512", amsgrad=False, learning_rate=3e-4)
    stored = json.loads(json.dumps(to_dict(options)))
    assert from_dict(TrainOptions, stored) == options


def test_options_of_an_older_version_take_defaults():
    assert from_dict(TrainOptions, {"epochs": 3}) == TrainOptions(epochs=3)


def test_options_of_a_newer_version_are_named():
    with pytest.raises(UserError, match="hold warp_speed, which this version of carclf does not know"):
        from_dict(TrainOptions, {"warp_speed": 9})


def test_changed_options_are_those_that_differ_from_the_default():
    assert changed_options(TrainOptions(epochs=3, fit="crop")) == {"epochs": 3, "fit": "crop"}


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("300", (300, 300), (300, 300)),
        ("384x512", (384, 512), (384, 512)),
        ("384X512", (384, 512), (384, 512)),
        ("224-512", (224, 224), (512, 512)),
        ("48x64-72", (48, 64), (72, 72)),
    ],
)
def test_image_size(text, first, last):
    assert parse_image_sizes(text) == (first, last)
    assert parse_image_size(text) == last  # used for evaluation and prediction


@pytest.mark.parametrize("text", ["512-224", "224-", "224-224", "300x200-200x300"])
def test_a_size_that_does_not_grow_is_one_sentence(text):
    with pytest.raises(UserError, match=f"--image_size={text} does not grow: write the smaller size first"):
        TrainOptions(image_size=text)


@pytest.mark.parametrize("text", ["", "big", "3x4x5", "-4", "0", "4x300", "5000", "300px", "224-300-512", "224-5000"])
def test_bad_image_size_is_one_sentence(text):
    with pytest.raises(UserError, match="--image_size="):
        parse_image_size(text)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("batch_size", 0, "at least 1"),
        ("size_count", 0, "at least 1"),
        ("first_strength", 1.5, "between 0 and 1"),
        ("epochs", 0, "at least 1"),
        ("patience", -1, "at least 0"),
        ("val_fold", -2, "at least 0, or all"),
        ("dropout", 1.0, r"in \[0, 1\)"),
        ("label_smoothing", -0.1, r"in \[0, 1\)"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("lr_decay", 1.5, r"in \(0, 1\]"),
        ("cache", "rma", r"did you mean ram\? A path of that name is \./rma"),
        ("weights", "imagnet", r"did you mean imagenet\? A path of that name is \./imagnet"),
        ("loss", "cross_entrpy", r"did you mean cross_entropy\? Known are cross_entropy, focal"),
        ("optimizer", "adan", r"did you mean adam\? Known are adam, nadam, adamax, adamw, sgd"),
        ("schedule", "cosin", r"There is no schedule 'cosin': did you mean cosine\? Known are constant"),
        ("backbone", "efficentnet_b3", r"There is no backbone 'efficentnet_b3': did you mean efficientnet_b3"),
        ("augment", "flip|rotat(10)", r"there is no augmentation 'rotat', did you mean 'rotate'"),
        ("augment", "rotate(1000)", r"degrees=1000, which must be 0 to 180"),
        ("device", "cuda", "Known are auto, cpu, gpu"),
        ("precision", "bfloat16", "did you mean mixed_bfloat16"),
        ("seed", 2**32, "between 0 and 4294967295"),
        ("l2", float("inf"), "at least 0"),
    ],
)
def test_impossible_options_are_refused_with_their_value(name, value, rule):
    with pytest.raises(UserError, match=re.escape(f"--{name}={value}") + f".*{rule}"):
        TrainOptions(**{name: value})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"unfreeze": "hed"}, "--unfreeze is 'hed': give head, all"),
        (
            {"unfreeze": "block4", "backbone": "tiny"},
            "--unfreeze is 'block4': .* of tiny to learn: stem, block1, block2",
        ),
        ({"unfreeze": "gradual(0)"}, "--unfreeze is 'gradual"),
        ({"class_weights": "balancd"}, "--class_weights has 'balancd': give none, balanced"),
        ({"class_weights": "Lada:x"}, "--class_weights gives 'Lada' the weight 'x'"),
        ({"class_weights": "Lada:1,Lada:2"}, "--class_weights names 'Lada' twice"),
        (
            {"amsgrad": True, "optimizer": "sgd"},
            "The optimizer sgd has no AMSGrad variant: leave out --amsgrad, or use adam or adamw",
        ),
        ({"schedule": "one_cycle", "warmup_epochs": 1.0}, "one_cycle rises by itself: leave out the warm-up"),
        ({"warmup_epochs": 3.0, "epochs": 3}, "the warm-up takes 3.0 of 3 epochs"),
        ({"backbone": "xception", "image_size": "64"}, "xception needs images of at least 71x71 pixels, not 64x64"),
        ({"backbone": "xception", "image_size": "64-128"}, "xception needs images of at least 71x71"),
        ({"profile_steps": "20,10"}, "--profile_steps=20,10 is not a pair of steps"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_each_other_are_refused(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        TrainOptions(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "b3"},
        {"backbone": "EfficientNetB3"},
        {"unfreeze": "block2", "backbone": "tiny"},
        {"class_weights": "Lada Niva:2,VW: Passat:0.5"},
        {"augment": ""},
        {"augment": "none"},
        {"weights": "weights/b3.h5"},
        {"weights": "b3.weights.h5"},
        {"amsgrad": True},
    ],
    ids=str,
)
def test_what_a_stage_may_say_is_kept_as_it_was_written(changes):
    options = TrainOptions(**changes)
    assert {name: getattr(options, name) for name in changes} == changes
