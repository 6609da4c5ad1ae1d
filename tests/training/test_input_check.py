import dataclasses

import keras
import numpy as np
import pytest

from carclf.errors import UserError
from carclf.model.backbones import PLUS_MINUS_ONE, RAW, find_backbone
from carclf.model.classifier import build_classifier
from carclf.training.input_check import check_input_contract

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)


def classifier(backbone: str) -> keras.Model:
    return build_classifier(backbone=backbone, weights="none", class_count=3, image_size=(32, 32))


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_b0", "efficientnet_v2_b0", "tiny"])
def test_every_kind_of_row_keeps_its_contract(backbone):
    check_input_contract(classifier(backbone), find_backbone(backbone), IMAGES)


def test_images_that_were_rescaled_before_are_refused():
    with pytest.raises(UserError, match=r"efficientnet_b0 lies in \S+ to 1 instead of 0 to 255"):
        check_input_contract(classifier("efficientnet_b0"), find_backbone("efficientnet_b0"), IMAGES / 255)
    with pytest.raises(UserError, match=r"mobilenet_v2 lies in -1 to -0.99\d+ instead of -1 to 1"):
        check_input_contract(classifier("mobilenet_v2"), find_backbone("mobilenet_v2"), IMAGES / 255)


def test_a_row_that_rescales_a_network_which_does_so_itself_is_refused():
    row = find_backbone("efficientnet_b0")
    network = classifier("efficientnet_b0").get_layer("backbone")
    inputs = keras.Input((32, 32, 3))
    twice = keras.Model(inputs, network(keras.layers.Rescaling(2 / 255, -1, name="input_range")(inputs)))
    with pytest.raises(UserError, match=r"after its own rescaling lies in -0.0039\d* to 0.0039\d* instead of"):
        check_input_contract(twice, dataclasses.replace(row, input_range=PLUS_MINUS_ONE), IMAGES)


def test_images_of_another_scale_are_refused():
    row = find_backbone("efficientnet_b0")
    assert row.input_range == RAW
    with pytest.raises(UserError, match=r"lies in \S+ to 6\.\d+e\+04 instead of 0 to 255"):
        check_input_contract(classifier("efficientnet_b0"), row, IMAGES * 256)
