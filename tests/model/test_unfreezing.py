import keras
import numpy as np
import pytest

from carclf.errors import UserError
from carclf.model.backbones import BACKBONES
from carclf.model.classifier import build_classifier, set_trainable
from carclf.model.optimizers import build_optimizer
from carclf.model.schedules import Factor
from carclf.model.unfreezing import (
    Unfreezing,
    block_names,
    describe_unfreezing,
    learning_factors,
    parse_unfreeze,
    unfreezing_epochs,
)

B3 = BACKBONES["efficientnet_b3"]
B3_BLOCKS = ("top", "block7", "block6", "block5", "block4", "block3", "block2", "block1", "stem")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("head", Unfreezing(fraction=0.0)),
        ("all", Unfreezing(fraction=1.0)),
        ("0.25", Unfreezing(fraction=0.25)),
        ("1", Unfreezing(fraction=1.0)),
        ("top", Unfreezing(blocks=("top",))),
        (" Block6 ", Unfreezing(blocks=("top", "block7", "block6"))),
        ("stem", Unfreezing(blocks=B3_BLOCKS)),
        ("gradual(2)", Unfreezing(blocks=B3_BLOCKS, epochs_per_block=2.0)),
        ("gradual(0.5)", Unfreezing(blocks=B3_BLOCKS, epochs_per_block=0.5)),
    ],
)
def test_valid_texts(text, expected):
    assert parse_unfreeze(text, B3) == expected


@pytest.mark.parametrize("name", BACKBONES)
def test_every_block_of_every_backbone_can_be_named(name):
    row = BACKBONES[name]
    names = block_names(row)
    for number, block in enumerate(names, start=1):
        assert parse_unfreeze(block, row).blocks == names[:number]
        assert parse_unfreeze(row.blocks[-number], row).blocks == names[:number]  # as spelt in the table
    assert len({block.lower() for block in names} - {"head", "all"}) == len(row.blocks)


@pytest.mark.parametrize(
    "text", ["", "0", "1.5", "-0.5", "nan", "half", "block8", "gradual", "gradual(0)", "gradual(-1)", "gradual(inf)"]
)
def test_other_texts_are_refused_with_the_names_of_the_blocks(text):
    wanted = r"give head, all, a fraction .* gradual\(2\) .* efficientnet_b3 to learn: stem, block1, .*, block7, top\."
    with pytest.raises(UserError, match=wanted):
        parse_unfreeze(text, B3)


@pytest.mark.parametrize(
    ("text", "first_epochs"),
    [
        ("gradual(2)", {"top": 2, "block7": 4, "block6": 6, "block1": 16, "stem": 18}),
        ("gradual(0.5)", {"top": 0.5, "block7": 1, "stem": 4.5}),
        ("block6", {"top": 0, "block7": 0, "block6": 0}),
        ("all", {}),  # counted in layers, not in blocks
    ],
)
def test_the_epoch_at_which_each_block_starts_to_learn(text, first_epochs):
    unfreezing = parse_unfreeze(text, B3)
    found = unfreezing_epochs(unfreezing)
    assert list(found) == list(unfreezing.blocks)
    assert found | first_epochs == found


def test_the_description_of_gradual_unfreezing():
    unfreezing = parse_unfreeze("gradual(2)", BACKBONES["tiny"])
    assert describe_unfreezing(unfreezing, epochs=7) == (
        "unfreezing: the head at epoch 1, block3 at 3, block2 at 5, block1 at 7; not within 7 epochs: stem"
    )
    assert describe_unfreezing(unfreezing, epochs=9).endswith("block1 at 7, stem at 9")
    assert describe_unfreezing(parse_unfreeze("all", BACKBONES["tiny"]), epochs=7) == ""


# In a model -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return build_classifier(backbone="tiny", weights="none", class_count=3, image_size=(16, 16))


def factors(model, unfreeze, **options):
    set_trainable(model, unfreeze=unfreeze, train_batch_norm=False)
    return learning_factors(model, unfreeze=unfreeze, step_at=lambda epoch: round(10 * epoch), **options)


@pytest.mark.parametrize(
    ("unfreeze", "train_batch_norm", "trainable"),
    [
        ("block3", True, ["block3_conv", "block2_bn", "block3_bn"]),
        ("block2", False, ["block2_conv", "block3_conv"]),
        ("stem", False, ["stem_conv", "block1_conv", "block2_conv", "block3_conv"]),
        ("gradual(1)", False, ["stem_conv", "block1_conv", "block2_conv", "block3_conv"]),
    ],
)
def test_a_block_and_everything_above_it_is_trainable(model, unfreeze, train_batch_norm, trainable):
    set_trainable(model, unfreeze=unfreeze, train_batch_norm=train_batch_norm)
    backbone = model.get_layer("backbone")
    learning = [layer.name for layer in backbone.layers if layer.trainable and layer.trainable_variables]
    assert sorted(learning) == sorted(trainable)


def test_gradual_unfreezing_with_moving_statistics_is_refused(model):
    with pytest.raises(UserError, match=r"--unfreeze=gradual\(1\) does not work .* leave out --train_batch_norm"):
        set_trainable(model, unfreeze="gradual(1)", train_batch_norm=True)


def test_every_variable_has_a_path_of_its_own(model):
    paths = [variable.path for variable in model.variables]
    assert len(set(paths)) == len(paths)


def test_the_rate_falls_from_block_to_block(model):
    assert factors(model, "all", lr_decay_by_block=0.5) == {
        "block3_conv/kernel": Factor(0.5),
        "block2_conv/kernel": Factor(0.25),
        "block1_conv/kernel": Factor(0.125),
        "stem_conv/kernel": Factor(0.0625),
    }
    assert factors(model, "block2", lr_decay_by_block=0.5) == {
        "block3_conv/kernel": Factor(0.5),
        "block2_conv/kernel": Factor(0.25),
    }
    assert factors(model, "all") == {}


def test_a_waiting_block_has_its_first_step(model):
    assert factors(model, "gradual(2)") == {
        "block3_conv/kernel": Factor(1.0, 20),
        "block2_conv/kernel": Factor(1.0, 40),
        "block1_conv/kernel": Factor(1.0, 60),
        "stem_conv/kernel": Factor(1.0, 80),
    }
    both = factors(model, "gradual(0.5)", lr_decay_by_block=0.5)
    assert both["block2_conv/kernel"] == Factor(0.25, 10)


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.5, float("nan")])
def test_a_decay_out_of_range_is_refused(model, decay):
    with pytest.raises(UserError, match="--lr_decay_by_block is"):
        factors(model, "all", lr_decay_by_block=decay)


def test_blocks_start_to_learn_one_after_the_other(model):
    set_trainable(model, unfreeze="gradual(1)", train_batch_norm=False)
    plan = learning_factors(model, unfreeze="gradual(1)", step_at=round, lr_decay_by_block=0.9)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    jit = keras.backend.backend() == "jax"  # slow without
    model.compile(build_optimizer("adam", schedule=0.01, factors=plan), loss, jit_compile=jit)
    layers = [*model.get_layer("backbone").layers, model.get_layer("head_dense")]
    images = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype("float32")
    changed = []
    for _ in range(5):
        before = {layer.name: layer.get_weights() for layer in layers}
        model.train_on_batch(images, np.eye(3, dtype="float32")[[0, 1, 2, 0]])
        moved = {
            layer.name
            for layer in layers
            if any((old != new).any() for old, new in zip(before[layer.name], layer.get_weights(), strict=True))
        }
        changed.append(moved)
    convolutions = ["head_dense", "block3_conv", "block2_conv", "block1_conv", "stem_conv"]
    assert changed == [set(convolutions[: number + 1]) for number in range(5)]
