import dataclasses
import json

import pytest

from carclf import runs
from carclf.errors import UserError
from carclf.flags import to_dict
from carclf.runs.parent import check_batch, check_chain, check_split, describe_changes, load_parent, network_options
from carclf.train_options import TrainOptions


@pytest.fixture
def parent_folder(tmp_path, dataset):
    directory = tmp_path / "b3_head"
    directory.mkdir()
    options = TrainOptions(backbone="efficientnet_b3", val_fold=1)
    stage = {
        "format_version": runs.FORMAT_VERSION,
        "stage": "b3_head",
        "options": to_dict(options),
        "data": {
            "class_names": list(dataset.class_names),
            "class_map_sha256": dataset.class_map_sha256,
            "fingerprint": dataset.fingerprint,
            "max_side": dataset.max_side,
        },
    }
    (directory / runs.STAGE_FILE).write_text(json.dumps(stage))
    (directory / runs.METRICS_FILE).write_text(json.dumps({"val_accuracy": 0.9}))
    return directory


def load(path, **changes):
    return load_parent(
        path,
        data="D",
        network=network_options(TrainOptions(**{"backbone": "efficientnet_b3", "val_fold": 1, **changes})),
    )


def test_a_fitting_parent_is_loaded(parent_folder, dataset):
    parent = load(parent_folder)
    check_split(dataset, val_fold=1, parent=parent)
    assert parent.name == "b3_head"


def test_a_missing_parent_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"python -m carclf\.train --stage=b3_300_all --data=D --runs="):
        load(tmp_path / "b3_300_all")


def test_an_unfinished_parent_is_refused(parent_folder):
    (parent_folder / runs.METRICS_FILE).unlink()
    with pytest.raises(UserError, match="is not finished"):
        load(parent_folder)


@pytest.mark.parametrize(("name", "value"), [("backbone", "efficientnet_b0"), ("head", "linear"), ("head_width", 64)])
def test_weights_that_cannot_be_carried_over_are_refused(parent_folder, name, value):
    with pytest.raises(UserError, match=f"this stage --{name}={value}: weights cannot be carried over"):
        load(parent_folder, **{name: value})


@pytest.mark.parametrize("name", ["b3", "EfficientNetB3", "efficientnet-b3"])
def test_a_backbone_is_the_same_under_each_of_its_names(parent_folder, name):
    parent = load(parent_folder, backbone=name)
    assert describe_changes(parent, dataclasses.replace(parent.options, backbone=name)) == (
        "Against b3_head: nothing changes."
    )
    stages = {"head": TrainOptions(run="head", backbone=name, runs="none"),
              "all": TrainOptions(init_from="head", runs="none")}  # fmt: skip
    with pytest.raises(UserError, match="has --backbone=efficientnet_b3 and this stage --backbone=efficientnet_b0"):
        check_chain(stages)
    check_chain(stages | {"all": TrainOptions(init_from="head", backbone="efficientnet_b3", runs="none")})


def test_the_width_of_a_hidden_layer_that_a_head_lacks_does_not_matter():
    linear, hidden = ([network_options(TrainOptions(head=head, head_width=width)) for width in (64, 128)]
                      for head in ("linear", "notebook"))  # fmt: skip
    assert linear[0] == linear[1]
    assert hidden[0] != hidden[1]


def test_another_fold_is_refused(parent_folder, dataset):
    with pytest.raises(UserError, match="trained on photos that would validate it"):
        check_split(dataset, val_fold=2, parent=load(parent_folder))


def test_another_split_is_refused(parent_folder, dataset):
    other = dataclasses.replace(dataset, fingerprint="a" * 64)
    with pytest.raises(UserError, match="fold 1 of aaaaaaaaaaaa"):
        check_split(other, val_fold=1, parent=load(parent_folder))


def test_other_classes_are_refused(parent_folder, dataset):
    other = dataclasses.replace(dataset, classes=dataset.classes[:2])
    with pytest.raises(UserError, match="has 3 classes, which are not the 2"):
        check_split(other, val_fold=1, parent=load(parent_folder))


def test_a_fold_that_does_not_exist_is_refused(dataset):
    with pytest.raises(UserError, match=r"--val_fold=3 is not a fold of .*whose folds are 0 to 2"):
        check_split(dataset, val_fold=3, parent=None)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"replicas": 8}, "batch_size=12 cannot be shared by 8 devices: use a multiple of 8, such as 8"),
        ({"replicas": 4, "mixes": True}, "4 devices that mix photos in pairs: use a multiple of 8, such as 8"),
        ({"steps": 0}, "The 100 training photos do not fill one batch of 12"),
        (
            {"steps": 9},
            "steps=9 batches of 12 are more than the 100 training photos of an epoch: use --steps=8",
        ),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(changes, text):
    arguments = {"batch_size": 12, "replicas": 1, "mixes": False, "steps": 8, "train_photos": 100} | changes
    with pytest.raises(UserError, match=text):
        check_batch(**arguments)


def test_a_change_of_the_split_may_be_allowed_and_is_told(parent_folder, dataset):
    warning = check_split(dataset, val_fold=2, parent=load(parent_folder), allow_change=True)
    assert "held out fold 1 of data" in warning
    assert "the validation accuracy of this stage will be too good" in warning


def test_what_a_stage_changes_is_one_line(parent_folder):
    parent = load(parent_folder)
    options = dataclasses.replace(parent.options, image_size="512", learning_rate=1e-4, run="x", overwrite=True)
    said = describe_changes(parent, options)
    assert said == "Against b3_head: image_size 224 → 512, learning_rate 0.001 → 0.0001."
    assert describe_changes(parent, parent.options) == "Against b3_head: nothing changes."
