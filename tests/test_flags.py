import dataclasses
import json

import pytest

from carclf.errors import UserError
from carclf.flags import changed_options, define_flags, from_dict, from_flags, option, to_dict
from carclf.train_options import TrainOptions, parse_image_size, parse_image_sizes


@dataclasses.dataclass(frozen=True)
class Options:
    text: str = option("a", "Text.")
    number: int = option(3, "Number.")
    share: float = option(0.5, "Share.")
    switch: bool = option(False, "Switch.")
    kind: str = option("x", "Kind.", choices=("x", "y"))


def test_every_field_becomes_a_flag_of_its_type():
    values = define_flags(Options)
    values(["program", "--text=b", "--number=7", "--share=0.25", "--switch", "--kind=y"])
    assert from_flags(Options, values) == Options("b", 7, 0.25, True, "y")


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
    assert parse_image_size(text) == last  # at which a run is evaluated and predicts


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
        ("first_strength", 1.5, "lie in"),
        ("epochs", 0, "at least 1"),
        ("patience", -1, "0 or more"),
        ("val_fold", -2, "0 or more, or all"),
        ("dropout", 1.0, "lie in"),
        ("label_smoothing", -0.1, "lie in"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("lr_decay", 1.5, "lie in"),
        ("cache", "rma", r"did you mean ram\? A folder of that name is \./rma"),
    ],
)
def test_impossible_options_are_refused_with_their_value(name, value, rule):
    with pytest.raises(UserError, match=f"--{name}={value}.*{rule}"):
        TrainOptions(**{name: value})


@pytest.mark.parametrize("cache", ["none", "ram", "./ram", "./rma", "decoded", "/tmp/ram"])
def test_a_folder_for_the_cache_may_have_any_name(cache):
    assert TrainOptions(cache=cache).cache == cache
