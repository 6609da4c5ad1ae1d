"""What a search space may say, and the sentence for everything else."""

import dataclasses

import pytest

from carclf.errors import UserError
from carclf.train_options import TrainOptions
from carclf.tuning.space import DEFAULT_SPACE, Parameter, parse_space, read_space

BASE = TrainOptions(learning_rate=1e-4, head_width=64)


def parse(text: str) -> tuple[Parameter, ...]:
    return parse_space(text, base=BASE, where="cars.space")


def test_values_have_the_type_of_their_option():
    text = """
    # comments and empty lines are left out

    learning_rate log 1e-5 1e-2   # and this
    head_width linear 32 128
    amsgrad choice true false
    augment choice none 'flip|rotate(10)'
    """
    assert parse(text) == (
        Parameter("learning_rate", "log", (1e-5, 1e-2)),
        Parameter("head_width", "linear", (32, 128)),
        Parameter("amsgrad", "choice", (True, False)),
        Parameter("augment", "choice", ("none", "flip|rotate(10)")),
    )
    assert isinstance(parse("head_width linear 32 128")[0].values[0], int)


def test_a_factor_is_of_the_bases_own_value():
    assert parse("learning_rate log 0.1x 10x\nhead_width choice 1x 2x") == (
        Parameter("learning_rate", "log", (pytest.approx(1e-5), pytest.approx(1e-3))),
        Parameter("head_width", "choice", (64, 128)),
    )


def test_a_parameter_is_written_as_it_is_read():
    lines = ["learning_rate log 1e-05 0.01", "augment choice none 'flip|rotate(10)'"]
    assert [str(parameter) for parameter in parse("\n".join(lines))] == lines


def test_the_default_space_searches_what_the_notebook_did_and_more():
    names = [parameter.name for parameter in read_space("", base=BASE)]
    assert names == ["learning_rate", "lr_decay", "l2", "dropout", "head_width", "optimizer", "augment"]
    assert read_space("", base=BASE) == parse(DEFAULT_SPACE)


@pytest.mark.parametrize(
    ("base", "idle"),
    [
        ({"schedule": "cosine"}, ["lr_decay"]),
        ({"schedule": "plateau"}, []),
        ({"head": "linear"}, ["head_width", "l2"]),  # no set, whose text differs from process to process
    ],
    ids=str,
)
def test_the_default_space_leaves_out_what_changes_nothing_in_the_stage(base, idle):
    everything = {parameter.name for parameter in read_space("", base=BASE)}
    searched = {parameter.name for parameter in read_space("", base=dataclasses.replace(BASE, **base))}
    assert searched == everything - set(idle)


def test_a_space_of_the_users_is_searched_as_it_is(tmp_path):
    (tmp_path / "cars.space").write_text("schedule choice cosine exponential\nlr_decay linear 0.7 1.0\n")
    space = read_space(str(tmp_path / "cars.space"), base=dataclasses.replace(BASE, schedule="cosine"))
    assert [parameter.name for parameter in space] == ["schedule", "lr_decay"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "learning_rat log 1 2",
            r"Line 1 of cars.space: there is no option learning_rat: did you mean learning_rate\?",
        ),
        ("warp choice 1", "there is no option warp: see python -m carclf.train --help"),
        ("val_fold choice 0 1", "val_fold is the same in every trial: give it as a flag, --val_fold="),
        ("device choice cpu gpu", "device is the same in every trial"),
        ("dropout", "nothing follows dropout: write `learning_rate log"),
        ("dropout between 0 1", "between follows dropout"),
        ("dropout linear 0.1", "dropout linear needs two numbers"),
        ("optimizer linear adam sgd", "optimizer linear needs two numbers"),
        ("amsgrad linear false true", "amsgrad linear needs two numbers"),
        ("dropout linear 0.5 0.1", "dropout linear goes from 0.5 to 0.1: give the lower one first"),
        ("l2 log 0 0.1", "l2 log goes from 0.0 to 0.1: give the lower one first, above 0"),
        ("dropout linear 0.1 1.0", r"--dropout=1.0 is not possible: it must be in \[0, 1\)"),
        ("head_width linear 1.5 8", "head_width takes a whole number, not 1.5"),
        ("l2 linear 0 much", "l2 takes a number, not much"),
        ("amsgrad choice yes", "amsgrad takes true or false, not yes"),
        ("fit choice squash stretch", "--fit=stretch is not possible: Known are squash, crop"),
        ("optimizer choice", "optimizer has no choices"),
        ("optimizer choice adam lion", "--optimizer=lion is not possible: Known are adam, nadam"),
        ("schedule choice cosin", r"There is no schedule 'cosin': did you mean cosine\? Known are constant"),
        (
            "augment choice flop",
            "Line 1 of cars.space: --augment=flop: there is no augmentation 'flop', did you mean 'flip'",
        ),
        ("loss choice cross_entrpy focal", r"--loss=cross_entrpy is not possible: did you mean cross_entropy\?"),
        ("loss choice focal cross-entropy", r"--loss=cross-entropy is not possible: did you mean cross_entropy\?"),
        ("unfreeze choice hed all", "--unfreeze is 'hed': give head, all"),
        ("unfreeze choice all block12", "--unfreeze is 'block12': .*stem, block1"),
        ("class_weights choice balancd none", "--class_weights has 'balancd': give none, balanced"),
        ("weights choice imagenet noone", r"--weights=noone is not possible: did you mean none\?"),
        ("fill choice edge mirror", "--fill=mirror is not possible: Known are edge, reflect, constant"),
        ("image_size choice 224 30", "efficientnet_b0 needs images of at least 32x32 pixels"),
        ("precision choice float32", "precision is the same in every trial"),
        ("render choice gather", "render does not change a trial's result: give it as a flag, --render="),
        ("cache choice none ram", "cache does not change a trial's result"),
        ("backbone choice efficientnet", "efficientnet"),
        ("augment choice 'flip", "No closing quotation"),
        ("l2 log 1 2\nl2 log 1 3", "Line 2 of cars.space: l2 is given twice"),
        ("# nothing", "cars.space names no parameter"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(line, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        parse(line)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"The file of --space .*none.space cannot be read \(No such file"):
        read_space(str(tmp_path / "none.space"), base=BASE)
