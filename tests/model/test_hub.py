"""Each family of KerasHub is a backbone: its own features, at any size, in blocks, from its preset's folder."""

import dataclasses
import json
import pickle
import shutil
import sys
import types

import keras
import numpy as np
import pytest

pytest.importorskip(
    "keras_hub", reason="keras-hub is not installed: `make setup` installs it without its own TensorFlow"
)

from carclf.errors import UserError
from carclf.model import hub
from carclf.model.backbones import find_backbone, split_blocks
from carclf.model.classifier import batch_norm_layers, build_classifier, set_trainable
from carclf.model.grad_cam import build_grad_cam
from carclf.model.hub_families import FAMILIES
from carclf.model.hub_preset import Preset, read_preset
from carclf.model.unfreezing import learning_factors
from tests.model.hub_networks import NETWORKS, saved_preset

pytestmark = pytest.mark.filterwarnings("ignore:Layer 'attn'")  # KerasHub's Swin passes a mask that Keras drops
CLASSES = 3
SIDES = {name: 64 if FAMILIES[name].size_key else 32 for name in FAMILIES}  # of the networks in NETWORKS
FAST = ("hgnetv2", "vit", "dinov2", "siglip")  # one of each kind; the others take as long again
EVERY = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in FAMILIES]


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def images(height, width, count=2):
    return np.random.default_rng(0).uniform(0, 255, (count, height, width, 3)).astype("float32")


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """Returns a function from a family to (KerasHub's own network, the folder of its preset)."""
    made = {}

    def of(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            made[family] = saved_preset(family, folder), folder
        return made[family]

    return of


@pytest.fixture(scope="module")
def built(preset):
    """Returns a function from a family to (KerasHub's own network, a classifier on it, the folder of its preset)."""
    made = {}

    def of(family):
        if family not in made:
            keras.utils.set_random_seed(0)
            network, folder = preset(family)
            made[family] = network, build(family, folder), folder
        return made[family]

    return of


def build(family, folder, size=None, **changes):
    keras.utils.set_random_seed(0)
    side = SIDES[family]
    arguments = {"weights": str(folder), "class_count": CLASSES, "image_size": size or (side, side), "head": "linear"}
    return build_classifier(backbone=f"hub:{family}", **(arguments | changes))


TOKENS_IN_FRONT = {"vit": 1, "deit": 2, "dinov2": 1, "dinov3": 1, "clip": 1}  # of those of patches


def own_features(family, network, batch):
    """What KerasHub's network says of the batch: the means that a linear head sees."""
    row = FAMILIES[family]
    scaled = (batch / 255.0 - np.array(row.mean, "float32")) / np.array(row.stddev, "float32")
    tower = getattr(network, row.tower[0]) if row.tower else network
    if family == "siglip":  # without its attentive pooling
        tower = keras.Model(tower.inputs, tower.get_layer("post_layer_norm").output)
    given = {next(iter(tower.input)): scaled} if isinstance(tower.input, dict) else scaled
    if family == "siglip":
        given = [scaled]
    out = tower(given)
    if isinstance(out, dict):
        out = out["stage4"]
    out = numbers(out)
    if out.ndim == 4:
        return out.mean(axis=(1, 2))
    first = TOKENS_IN_FRONT.get(family, 0) + getattr(tower, "num_register_tokens", 0)
    patches = out[:, first:].mean(axis=1)
    return np.concatenate([out[:, 0], patches], axis=1) if row.tokens == "both" else patches


def test_there_is_a_network_of_every_family():
    assert NETWORKS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", EVERY)
def test_the_features_are_those_of_the_network(family, built):
    network, model, _ = built(family)
    batch = images(SIDES[family], SIDES[family])
    found = numbers(keras.Model(model.input, model.get_layer("head_pool").output)(batch))
    np.testing.assert_allclose(found, own_features(family, network, batch), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", EVERY)
def test_a_run_is_rebuilt_without_the_folder_at_another_size(family, built, tmp_path):
    _, model, folder = built(family)
    model.save_weights(tmp_path / "run.weights.h5")
    stored = json.loads(json.dumps(dataclasses.asdict(read_preset(folder, find_backbone(f"hub:{family}")))))
    again = build(family, "none", (64, 96), preset=Preset.from_dict(stored))
    again.load_weights(tmp_path / "run.weights.h5")
    for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    evidence = numbers(build_grad_cam(again)(images(64, 96, 1))["evidence"])
    assert np.isfinite(evidence).all()
    assert np.ptp(evidence, axis=(1, 2)).min() > 0  # a map, not a constant


@pytest.mark.parametrize("family", EVERY)
def test_every_weight_belongs_to_one_block(family, built):
    _, model, _ = built(family)
    backbone = model.get_layer("backbone")
    blocks = split_blocks(backbone, backbone.row)
    assert len(blocks) == len(backbone.row.blocks) == FAMILIES[family].parts + 1
    inside = [id(weight) for block in blocks for layer in block for weight in layer.weights]
    assert sorted(inside) == sorted(id(weight) for weight in backbone.weights if "seed" not in weight.path)
    top = backbone.row.blocks[-1]
    set_trainable(model, unfreeze=top, train_batch_norm=False)
    learning = {id(weight) for weight in backbone.trainable_variables}
    assert learning
    assert learning <= {id(weight) for layer in blocks[-1] for weight in layer.weights}
    assert not any(norm.trainable for norm in batch_norm_layers(backbone))
    set_trainable(model, unfreeze="all", train_batch_norm=False)
    factors = learning_factors(model, unfreeze="all", step_at=lambda epoch: 0, lr_decay_by_block=0.5)
    assert {factors[weight.path].scale for layer in blocks[0] for weight in layer.trainable_variables} == {
        0.5 ** len(blocks)
    }


@pytest.mark.parametrize("family", ["hgnetv2", "dinov2"])
def test_a_step_trains_it(family, preset):
    _, folder = preset(family)
    model = build(family, folder)
    set_trainable(model, unfreeze="all", train_batch_norm=False)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    stem = model.get_layer("backbone").grouped.blocks[0][0]
    before = [numbers(weight.value).copy() for weight in stem.trainable_variables]
    model.train_on_batch(images(SIDES[family], SIDES[family]), np.eye(CLASSES, dtype="float32")[:2])
    assert any((numbers(w.value) != old).any() for w, old in zip(stem.trainable_variables, before, strict=True))


def test_the_preset_says_how_values_are_rescaled(preset, tmp_path):
    _, folder = preset("vit")
    shutil.copytree(folder, tmp_path / "own")
    converter = {"class_name": "ViTImageConverter", "config": {"scale": 0.5, "offset": [1.0, 2.0, 3.0]}}
    (tmp_path / "own" / "image_converter.json").write_text(json.dumps(converter))
    row = find_backbone("hub:vit")
    assert read_preset(folder, row).scale == pytest.approx((2 / 255,) * 3)
    assert read_preset(folder, row).offset == (-1.0,) * 3
    found = read_preset(tmp_path / "own", row)
    assert (found.scale, found.offset) == ((0.5, 0.5, 0.5), (1.0, 2.0, 3.0))
    backbone = build("vit", tmp_path / "own").get_layer("backbone")
    seen = numbers(keras.Model(backbone.input, backbone.get_layer("rescaling").output)(np.full((1, 32, 32, 3), 10.0)))
    np.testing.assert_allclose(seen[0, 0, 0], [6, 7, 8])


# What is no preset of the family --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "size", "text"),
    [
        ("vit", (40, 48), "multiples of 16 pixels, not 40: use --image_size=32"),
        ("swin", (32, 64), "multiples of 32 pixels and at least 64, not 32: use --image_size=64"),
    ],
)
def test_a_size_that_its_patches_do_not_fill_is_told(family, size, text, preset):
    _, folder = preset(family)
    with pytest.raises(UserError, match=text):
        build(family, folder, size)


def test_a_preset_of_another_family_is_told_with_its_own(preset):
    _, folder = preset("vit")
    with pytest.raises(UserError, match=r"holds a ViTBackbone, not the DINOV2Backbone .*: use --backbone=hub:vit"):
        build("dinov2", folder)


class Exploding:
    def __reduce__(self):
        return pytest.fail, ("it was executed",)


@pytest.fixture
def damaged(preset, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(preset("vit")[1], folder)
    return folder


def test_a_pickle_in_place_of_the_weights_is_not_opened(damaged):
    (damaged / "model.weights.h5").write_bytes(pickle.dumps(Exploding()))
    with pytest.raises(UserError, match="is not an HDF5 weights file"):
        build("vit", damaged)


def test_a_file_that_breaks_off_is_told(damaged):
    content = (damaged / "model.weights.h5").read_bytes()
    (damaged / "model.weights.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"is damaged .*fetch it again|could not be read"):
        build("vit", damaged)


def _other_depth(config):
    config["config"]["num_layers"] = 3


def _missing_argument(config):
    del config["config"]["patch_size"]


def _without_arguments(config):
    del config["config"]


def _of_transformers(config):
    config["model_type"] = "vit"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_other_depth, "does not fit the network hub:vit"),
        (_missing_argument, "describes no ViTBackbone"),
        (_without_arguments, "describes no ViTBackbone"),
        (_of_transformers, "a preset of Transformers, not of KerasHub"),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(change, text, damaged):
    config = json.loads((damaged / "config.json").read_text())
    change(config)
    (damaged / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=text) as error:
        build("vit", damaged)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("config.json", "{", "cannot be read"),
        ("config.json", "[]", "holds no JSON object"),
        ("config.json", None, "is not a preset of KerasHub, since it has no config.json: give"),
        ("model.weights.h5", None, "has no model.weights.h5"),
        ("image_converter.json", '{"config": {"scale": [1, 2]}}', "does not say how values are rescaled"),
    ],
)
def test_a_file_that_is_missing_or_wrong_is_told(name, content, text, damaged):
    if content is None:
        (damaged / name).unlink()
    else:
        (damaged / name).write_text(content)
    with pytest.raises(UserError, match=text):
        build("vit", damaged)


def test_no_preset_is_told():
    with pytest.raises(UserError, match=r"cannot be built without its preset: give .* --weights=FOLDER"):
        build("vit", "none")
    with pytest.raises(UserError, match="There is no folder missing"):
        build("vit", "missing")


# Downloads and installations ------------------------------------------------------------------------------------------


def test_a_preset_is_downloaded_by_its_handle(preset, monkeypatch):
    _, folder = preset("vit")
    asked = []

    def model_download(handle):
        asked.append(handle)
        return str(folder)

    fake = types.ModuleType("kagglehub")
    fake.model_download = model_download
    fake.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "kagglehub", fake)
    row = find_backbone("hub:vit_base_patch16_224_imagenet")
    assert hub.preset_folder(row, "imagenet") == folder
    assert asked[0].startswith("keras/vit/keras/vit_base_patch16_224_imagenet")
    with pytest.raises(UserError, match="KerasHub has no preset 'vit_tiny': give the folder"):
        hub.preset_folder(find_backbone("hub:vit_tiny"), "imagenet")

    def no_network(handle):
        raise OSError("no network.\nmore")

    fake.model_download = no_network
    with pytest.raises(UserError, match=r"could not be downloaded \(no network\): download keras/vit"):
        hub.preset_folder(row, "imagenet")


def test_two_tensorflows_are_refused(preset, monkeypatch):
    _, folder = preset("vit")
    monkeypatch.setattr(hub.importlib.metadata, "version", lambda package: "2.21.0")
    with pytest.raises(UserError, match="tensorflow and tensorflow-cpu are both installed"):
        build("vit", folder)
