"""The text of recipes: what it can say, and the message for every mistake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carclf.errors import UserError
from carclf.recipe import NAMED_RECIPES, RECIPES, VIEWS, known_operations, parse_recipe, parse_views


def steps(text):
    return [(step.name, dict(step.arguments), step.chance) for step in parse_recipe(text).steps]


@pytest.mark.parametrize("text", ["", "  ", "none", "clean", "none|clean"])
def test_the_identity_recipe_has_no_steps(text):
    recipe = parse_recipe(text)
    assert recipe.steps == ()
    assert not recipe.mixes
    assert not recipe.erases


def test_arguments_by_position_by_name_and_by_default():
    assert steps("rotate(10)") == [("rotate", {"degrees": 10.0}, 1.0)]
    assert steps(" rotate( degrees = 10 , p=0.25 ) ") == [("rotate", {"degrees": 10.0}, 0.25)]
    assert steps("flip(0.3)|shift(0.1)") == [("flip", {}, 0.3), ("shift", {"x": 0.1, "y": None}, 1.0)]
    assert steps("erase(0.1,0.2,fill=127)|cutmix") == [
        ("erase", {"low": 0.1, "high": 0.2, "ratio": 10 / 3, "fill": 127.0}, 0.5),
        ("cutmix", {"alpha": 1.0}, 1.0),
    ]


def test_a_named_recipe_expands_inside_a_chain():
    assert steps("notebook") == steps("rotate(10)|shift(0.1)|flip|brightness(0.5,1.5)")
    assert steps("notebook|cutmix(0.5)") == [*steps("notebook"), ("cutmix", {"alpha": 0.5}, 1.0)]


@pytest.mark.parametrize(("text", "mixes", "erases"), [("mixup", True, False), ("flip|cutout(0.2)", False, True)])
def test_a_recipe_says_whether_it_mixes_and_erases(text, mixes, erases):
    recipe = parse_recipe(text)
    assert (recipe.mixes, recipe.erases, recipe.spec) == (mixes, erases, text)


# Every promised augmentation, in the forms that users may write.
PROMISED = [
    "flip", "vflip(0.1)", "rotate(10)", "shift(0.1)", "shift(0.1,0.2)", "zoom(0.2)", "zoom(0.2,0.1)", "shear(10)",
    "shear(10,5)", "perspective(0.2)", "crop", "crop(0.5,1,1.5)", "brightness(0.5,1.5)", "brightness(0.5)",
    "brightness(add=30)", "brightness(0.5,1.5,30)", "contrast(0.5,1.5)", "contrast(0.5)", "saturation(0.5,1.5)",
    "saturation(0.5)", "hue(20)", "grayscale", "channel_shift(20)", "erase", "erase(0.02,0.4,3,127)", "cutout(0.5)",
    "cutout(0.5,random)", "mixup", "mixup(0.4)", "cutmix", "cutmix(0.5)", "randaugment(2,9)", "trivial",
]  # fmt: skip


@pytest.mark.parametrize("text", PROMISED)
def test_every_promised_augmentation_can_be_written_with_a_chance(text):
    name = text.partition("(")[0]
    assert [step[0] for step in steps(text)] == [name]
    with_chance = f"{text[:-1]},p=0.25)" if text.endswith(")") and name != "vflip" else f"{name}(p=0.25)"
    assert [(step[0], step[2]) for step in steps(with_chance)] == [(name, 0.25)]


def test_exactly_the_promised_augmentations_exist():
    assert {text.partition("(")[0] for text in PROMISED} == RECIPES.keys()


@pytest.mark.parametrize(("parse", "known"), [(parse_recipe, [*RECIPES, *NAMED_RECIPES]), (parse_views, [*VIEWS])])
def test_the_error_for_an_unknown_name_lists_every_known_one(parse, known):
    with pytest.raises(UserError) as caught:
        parse("xyzzy(1)")
    listed = str(caught.value).partition("known are: ")[2].removesuffix(".").split(", ")
    assert set(known) <= set(listed)


@pytest.mark.parametrize("argument", ["xyzzy=1", "p=2", "p=1,p=1", "1,1,1,1,1,1,1"])
@pytest.mark.parametrize("name", RECIPES)
def test_the_error_for_a_bad_argument_lists_every_known_one(name, argument):
    with pytest.raises(UserError) as caught:
        parse_recipe(f"{name}({argument})")
    signature = str(caught.value).rpartition("write ")[2]
    known = [
        part.partition("=")[0].strip("[]") for part in signature.removeprefix(f"{name}(").removesuffix(").").split(", ")
    ]
    assert known == [*RECIPES[name].arguments, "p"]


MISTAKES = [
    ("rotat(10)", "no augmentation 'rotat', did you mean 'rotate'? known are: brightness, "),
    ("notebook(3)", "'notebook(3)' has arguments, but a named recipe takes none: write notebook, which is "),
    ("flip(1.5)", "p=1.5, which must be 0 to 1, write flip(p=0.5)"),
    ("xyzzy", "no augmentation 'xyzzy'; known are: brightness, "),
    ("rotate", "'rotate' lacks degrees, write rotate(degrees"),
    ("rotate(200)", "degrees=200, which must be 0 to 180"),
    ("rotate(nan)", "degrees=nan, which must be 0 to 180"),
    ("rotate(ten)", "degrees=ten, which must be 0 to 180"),
    ("rotate(10,angle=3)", "has an unknown argument 'angle', write rotate(degrees, p=1)."),
    ("rotate(10,degrees=3)", "gives degrees twice, write rotate(degrees, p=1)."),
    ("rotate(1,2,3)", "has 3 arguments, write rotate(degrees, p=1)."),
    ("rotate(10,)", "has an empty argument, write rotate(degrees, p=1)."),
    ("rotate(flip)", "degrees=flip, which must be 0 to 180, write rotate(degrees, p=1)."),
    ("flip(rotate(10))", "p=rotate(10), which must be 0 to 1, write flip(p=0.5)."),
    ("shift(10)", "x=10, which must be 0 to 1, write shift(x, [y], p=1)."),
    ("Flip", "did you mean 'flip'?"),
    ("ROTATE(10)", "did you mean 'rotate'?"),
    ("trivialaugment", "did you mean 'trivial'?"),
    ("channelshift(9)", "did you mean 'channel_shift'?"),
    ("notebook(0.5)", "takes none: write notebook, which is rotate(10)|shift(0.1)|flip|brightness(0.5,1.5)."),
    ("none(1)", "takes none: write none, which is no operation at all."),
    ("flip,rotate(10)", "is not an operation: write name or name(1, 2), joined by '|'"),
    ("erase(0.5)", "not 0.5 to 0.33; write erase(low=0.02, high=0.33, ratio=3.33, fill=random, p=0.5)."),
    ("rotate(10,p=1.5)", "p=1.5, which must be 0 to 1"),
    ("rotate(degrees=10,0.5)", "a bare argument after a named one"),
    ("rotate(10", "unmatched parenthesis"),
    ("rotate)10(", "unmatched parenthesis"),
    ("flip||vflip", "an empty part"),
    ("flip vflip", "is not an operation"),
    ("brightness(1.5,0.5)", "the factors must be 0 <= low <= high, not 1.5 to 0.5"),
    ("brightness", "give low, low and high, or add"),
    ("contrast(1.5)", "not -0.5 to 2.5"),
    ("crop(0.9,0.5)", "the areas must be low <= high"),
    ("erase(0.3,0.1)", "the areas must be low <= high"),
    ("erase(fill=blue)", "fill=blue, which must be 0 to 255 or random"),
    ("randaugment(1.5,9)", "n counts operations, so it must be whole, not 1.5"),
    ("erase|cutout(0.2)", "erases twice"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_mistakes_in_recipes(text, message):
    with pytest.raises(UserError) as caught:
        parse_recipe(text)
    assert message in str(caught.value)


VIEW_MISTAKES = [
    ("flop", "no view 'flop', did you mean 'flip'? known are: clean, "),
    ("flip|flip", "view 'flip' appears twice"),
    ("zoom", "'zoom' lacks factor, write zoom(factor)"),
    ("zoom(0)", "factor=0, which must be 0.1 to 10"),
    ("random", "write random(10) or random(10, recipe)"),
    ("random(0)", "asks for 0 views"),
    ("random(ten)", "write random(10) or random(10, recipe)"),
    ("random(3,rotat(3))", "no augmentation 'rotat'"),
    ("random(3,flip|mixup)", "mixes photos, which no prediction can"),
    ("randomly(3)", "no view 'randomly'"),
]


@pytest.mark.parametrize(("text", "message"), VIEW_MISTAKES)
def test_mistakes_in_views(text, message):
    with pytest.raises(UserError) as caught:
        parse_views(text)
    assert message in str(caught.value)


@given(st.text(alphabet="fliprotae()|,=+.0123 _", max_size=25))
def test_any_text_is_parsed_or_refused_in_one_sentence(text):
    for parse in (parse_recipe, parse_views):
        try:
            parse(text)
        except UserError as error:
            message = str(error)
        else:
            message = "Valid."
        assert message.endswith(".")


def test_the_help_names_everything():
    text = known_operations()
    for name in [*RECIPES, *NAMED_RECIPES, *VIEWS, "random"]:
        assert f"\n  {name}" in text


@pytest.mark.parametrize("name", RECIPES)
def test_every_operation_documents_its_distribution(name):
    assert RECIPES[name].draw.__doc__
    assert RECIPES[name].summary.endswith(".")


@pytest.mark.parametrize("name", RECIPES)
def test_the_example_of_an_operation_is_that_operation_alone(name):
    assert [step[0] for step in steps(RECIPES[name].example)] == [name]
