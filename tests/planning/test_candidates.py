"""What is timed: the backbones at hand at several sizes, or what the command line names."""

import pytest

from carclf.command import parse_command_line, stage_files
from carclf.errors import UserError
from carclf.model import local_weights
from carclf.model.backbones import BACKBONES, check_image_size
from carclf.planning.candidates import ALL, HEAD, HEAD_EPOCHS, SCRATCH, STAGES, candidates, sizes_of
from carclf.train_options import TrainOptions


@pytest.fixture
def here(monkeypatch):
    """Returns a function that says whose weights are on this machine."""
    return lambda *names: monkeypatch.setattr(local_weights, "_has_local_weights", lambda row: row.name in names)


def test_each_backbone_at_hand_is_timed_with_its_head_and_whole_from_small_images_to_large(here):
    here("mobilenet_v2", "efficientnet_lite0")
    found = candidates({}, train_photos=1000)
    assert [one.backbone for one in found] == ["efficientnet_lite0"] * 8 + ["mobilenet_v2"] * 8
    assert [(one.part, one.image_size) for one in found[:8]] == [
        (part, size) for size in ("128", "160", "224", "288") for part in (HEAD, ALL)
    ]
    assert {(one.weights, one.batch_size) for one in found} == {("imagenet", 32)}


def test_without_weights_it_is_the_tiny_network(here):
    here()
    found = candidates({}, train_photos=20)
    assert [(one.backbone, one.part, one.image_size) for one in found] == [
        ("tiny", SCRATCH, size) for size in ("48", "64", "96", "128")
    ]
    assert {(one.weights, one.batch_size) for one in found} == {("none", 20)}


def test_what_the_command_line_names_is_kept(here):
    here("efficientnet_lite0")
    given = {"backbone": "b0", "weights": "b0.h5", "image_size": "96x128", "batch_size": "8"}
    found = candidates(given, train_photos=1000)
    assert [str(one) for one in found] == [
        "efficientnet_b0, head, 96x128 px",
        "efficientnet_b0, every layer, 96x128 px",
    ]
    assert {(one.weights, one.batch_size) for one in found} == {("b0.h5", 8)}
    assert {one.part for one in candidates({"backbone": "tiny"}, train_photos=99)} == {SCRATCH}
    assert {one.backbone for one in candidates({"weights": "none"}, train_photos=99)} == {"tiny"}


@pytest.mark.parametrize("row", BACKBONES.values(), ids=lambda row: row.name)
def test_each_backbone_takes_its_sizes(row):
    sizes = sizes_of(row)
    assert str(row.default_size) in sizes
    assert sizes == sorted(sizes, key=int)
    for size in sizes:
        check_image_size(row, (int(size), int(size)))


def test_the_stages_behind_a_plan_train_what_their_part_says():
    stages = {
        part: parse_command_line(TrainOptions, [f"--stage={name}"], description="") for part, name in STAGES.items()
    }
    assert set(STAGES.values()) <= set(stage_files())
    assert (stages[HEAD].unfreeze, stages[ALL].unfreeze, stages[SCRATCH].unfreeze) == ("head", "all", "all")
    assert stages[HEAD].epochs == HEAD_EPOCHS
    assert stages[SCRATCH].weights == "none"


def test_a_file_of_weights_belongs_to_a_backbone(here):
    here("efficientnet_lite0")
    with pytest.raises(UserError, match=r"--weights=b0\.h5 is not possible: --plan takes a file with the --backbone"):
        candidates({"weights": "b0.h5"}, train_photos=1000)
    assert candidates({"weights": "b0.h5", "backbone": "b0"}, train_photos=1000)[0].weights == "b0.h5"
    assert candidates({"weights": "imagenet"}, train_photos=1000)[0].backbone == "efficientnet_lite0"
