import h5py
import keras
import numpy as np
import pytest

from carclf.errors import UserError
from carclf.model import backbones
from carclf.model.backbones import BACKBONES, build_backbone, find_backbone, split_blocks
from carclf.model.classifier import build_classifier
from carclf.model.weights import load_backbone_weights, load_weights_file

# JAX compiles every initialiser: B0 takes 7 s to build there, and 20 s if Keras builds it on its own.
ON_JAX = keras.backend.backend() == "jax"
slow_on_jax = pytest.mark.slow if ON_JAX else lambda test: test
LIGHT = ("tiny", "mobilenet_v2") if ON_JAX else ("tiny", "mobilenet_v2", "efficientnet_b0")
HEAVY = tuple(name for name in BACKBONES if name not in LIGHT)
BUILT = [*LIGHT, *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY)]

LAYER_COUNTS = {"tiny": 16, "mobilenet_v2": 154, "efficientnet_b0": 237, "efficientnet_b3": 384, "xception": 132}


@pytest.mark.parametrize("name", BACKBONES)
def test_the_row_is_complete(name):
    row = BACKBONES[name]
    low, high = row.input_range
    scale, offset = row.rescaling
    assert row.name == name
    assert (0.0 * scale + offset, 255.0 * scale + offset) == pytest.approx((low, high))
    assert row.minimal_size <= row.default_size
    assert len(set(row.blocks)) == len(row.blocks) >= 4
    module, function = row.builder.split(":")
    if module == "keras.applications":
        assert row.has_imagenet_weights
        assert callable(getattr(keras.applications, function))


def test_the_rows_that_expect_minus_one_to_one():
    """The others rescale inside. Source: the preprocess_input of each module of keras.applications."""
    wanting = {name for name, row in BACKBONES.items() if row.input_range == (-1.0, 1.0)}
    assert wanting == {"xception", "mobilenet_v2", "resnet50_v2", "tiny"}


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("b0", "efficientnet_b0"),
        ("B3", "efficientnet_b3"),
        ("EfficientNetB3", "efficientnet_b3"),
        ("efficientnet-b3", "efficientnet_b3"),
        ("v2s", "efficientnet_v2_s"),
        ("EfficientNetV2B0", "efficientnet_v2_b0"),
        ("MobileNetV2", "mobilenet_v2"),
        ("ResNet50V2", "resnet50_v2"),
        ("ConvNeXtTiny", "convnext_tiny"),
        ("Xception", "xception"),
        *((name, name) for name in BACKBONES),
    ],
)
def test_spellings(typed, name):
    assert find_backbone(typed).name == name


def test_no_two_rows_share_a_spelling():
    spellings = [backbones._squash(s) for row in BACKBONES.values() for s in (row.name, *row.aliases)]
    assert len(spellings) == len(set(spellings))


@pytest.mark.parametrize(
    ("typed", "message"),
    [("eficientnet_b3", "did you mean efficientnet_b3"), ("", "Known are"), ("qqq", "convnext_large, tiny")],
)
def test_an_unknown_name_gets_the_nearest_one_and_the_list(typed, message):
    with pytest.raises(UserError, match=message):
        find_backbone(typed)


@pytest.mark.parametrize("name", BUILT)
def test_the_contract_of_a_row(name):
    row = BACKBONES[name]
    size = (row.minimal_size, row.minimal_size + 32)
    backbone = build_backbone(row, image_size=size)
    assert backbone.name == "backbone"
    assert backbone.input_shape == (None, *size, 3)
    assert len(backbone.output_shape) == 4
    assert None not in backbone.output_shape[1:]
    assert len(backbone.layers) == LAYER_COUNTS.get(name, len(backbone.layers))
    blocks = split_blocks(backbone, row)
    assert [layer.name for block in blocks for layer in block] == [layer.name for layer in backbone.layers]
    assert all(any(layer.weights for layer in block) for block in blocks)


@pytest.mark.parametrize("name", ["tiny", "efficientnet_b0", pytest.param("xception", marks=pytest.mark.slow)])
def test_too_small_an_image_is_refused(name):
    row = BACKBONES[name]
    with pytest.raises(UserError, match=rf"at least {row.minimal_size}x{row.minimal_size} pixels, not 200x8"):
        build_backbone(row, image_size=(200, 8))


@pytest.mark.parametrize("name", ["efficientnet_v2_b0", "convnext_tiny", "efficientnet_v2_s"])
@pytest.mark.slow
def test_a_network_that_rescales_inside_starts_with_its_constants(name):
    """ImageNet's mean and deviation if the weights were trained with them, x/128 − 1 in EfficientNetV2-S."""
    backbone = build_backbone(BACKBONES[name], image_size=(32, 32))
    first = next(index for index, layer in enumerate(backbone.layers) if layer.weights)
    entrance = keras.Model(backbone.input, backbone.layers[first - 1].output)
    image = np.stack([np.zeros((32, 32, 3)), np.full((32, 32, 3), 255.0)]).astype("float32")
    seen = keras.ops.convert_to_numpy(entrance(image))[:, 0, 0]
    mean, stddev = np.asarray(backbones.IMAGENET_MEAN), np.asarray(backbones.IMAGENET_STDDEV)
    span = (
        [np.full(3, -1.0), np.full(3, 255 / 128 - 1)] if name.endswith("s") else [-mean / stddev, (1 - mean) / stddev]
    )
    np.testing.assert_allclose(seen, span, atol=1e-5)


# Weights ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mobilenet():
    """A small MobileNetV2 with values of its own, as (model, row)."""
    keras.utils.set_random_seed(1)
    row = BACKBONES["mobilenet_v2"]
    return build_backbone(row, image_size=(32, 32)), row


@pytest.fixture(scope="module")
def efficientnet():
    row = BACKBONES["efficientnet_b0"]
    return build_backbone(row, image_size=(32, 32)), row


def fresh_tiny():
    return build_backbone(BACKBONES["tiny"], image_size=(32, 32))


def write_layer_by_layer(path, model):
    """The format of Keras 2, in which Keras still publishes `…_notop.h5`."""
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
        del file["top_level_model_weights"]  # Keras 2 had none in these files


def assert_equal_weights(model, other):
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".hdf5", ".backup"])
@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_both_formats_load_under_any_suffix(tmp_path, suffix, layer_by_layer):
    saved, path = fresh_tiny(), tmp_path / f"file{suffix}"
    if layer_by_layer:
        write_layer_by_layer(path, saved)
    else:
        saved.save_weights(tmp_path / "first.weights.h5")
        (tmp_path / "first.weights.h5").rename(path)
    loaded = build_backbone(BACKBONES["tiny"], image_size=(48, 64))
    load_backbone_weights(loaded, BACKBONES["tiny"], str(path))
    assert_equal_weights(saved, loaded)


def test_a_file_of_a_compiled_model_loads(tmp_path):
    saved = fresh_tiny()
    saved.compile("adam", "mse", jit_compile=False)
    saved.optimizer.build(saved.trainable_variables)
    saved.save_weights(tmp_path / "compiled.weights.h5")
    loaded = fresh_tiny()
    load_backbone_weights(loaded, BACKBONES["tiny"], str(tmp_path / "compiled.weights.h5"))
    assert_equal_weights(saved, loaded)


@slow_on_jax
def test_keras_own_efficientnet_file_loads_and_is_normalised_once(tmp_path, efficientnet):
    """Published weights store the deviation as the variance, and Keras then divides by its root a second time."""
    _, row = efficientnet
    donor = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    normalization = backbones.normalization_layer(donor)
    normalization.adapt_mean.assign(backbones.IMAGENET_MEAN)
    normalization.adapt_variance.assign(backbones.IMAGENET_STDDEV)
    normalization.finalize_state()
    write_layer_by_layer(tmp_path / "efficientnetb0_notop.h5", donor)
    loaded = build_backbone(row, image_size=(32, 32))
    load_backbone_weights(loaded, row, str(tmp_path / "efficientnetb0_notop.h5"))
    assert_equal_weights(
        keras.Model(donor.get_layer("stem_conv").input, donor.outputs),
        keras.Model(loaded.get_layer("stem_conv").input, loaded.outputs),
    )
    entrance = keras.Model(loaded.input, backbones.normalization_layer(loaded).output)
    white = keras.ops.convert_to_numpy(entrance(np.full((1, 32, 32, 3), 255.0, "float32")))[0, 0, 0]
    expected = (1.0 - np.asarray(backbones.IMAGENET_MEAN)) / np.asarray(backbones.IMAGENET_STDDEV)
    np.testing.assert_allclose(white, expected, rtol=1e-5)


@slow_on_jax
def test_an_efficientnet_that_was_never_normalised_is_refused(tmp_path, efficientnet):
    backbone, row = efficientnet
    donor = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    donor.save_weights(tmp_path / "scratch.weights.h5")
    with pytest.raises(UserError, match=r"mean \(0, 0, 0\) and variance \(1, 1, 1\) instead of ImageNet's"):
        load_backbone_weights(backbone, row, str(tmp_path / "scratch.weights.h5"))


def wrong_width(path):
    keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(5, 3)]).save_weights(path)


def whole_classifier(path):
    build_classifier(backbone="tiny", weights="none", class_count=3, image_size=(32, 32)).save_weights(path)


def one_more_layer(path):
    tiny = fresh_tiny()
    keras.Model(tiny.inputs, keras.layers.Conv2D(2, 1)(tiny.output)).save_weights(path)


def older_one_more_layer(path):
    tiny = fresh_tiny()
    write_layer_by_layer(path, keras.Model(tiny.inputs, keras.layers.Conv2D(2, 1)(tiny.output)))


def older_one_layer_fewer(path):
    tiny = fresh_tiny()
    write_layer_by_layer(path, keras.Model(tiny.inputs, tiny.get_layer("block2_relu").output))


def changed_attributes(**changes):
    """Returns a function that writes a file of the older format with other attributes, of its root or of its layers."""

    def write(path):
        write_layer_by_layer(path, fresh_tiny())
        with h5py.File(path, "a") as file:
            for name, value in changes.items():
                for group in [file] if name == "layer_names" else file.values():
                    group.attrs[name] = value

    return write


def one_shape_changed(path):
    fresh_tiny().save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = np.zeros((3, 3, 3, 31), "float32")


def one_missing(path):
    fresh_tiny().save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d_2/vars/0"]


def text(path):
    path.write_text("<html>404</html>")


def cut_short(path):
    fresh_tiny().save_weights(path)
    path.write_bytes(path.read_bytes()[:-4000])


def external_link(path):
    fresh_tiny().save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = h5py.ExternalLink("/etc/other.h5", "/x")


def soft_link(path):
    fresh_tiny().save_weights(path)
    with h5py.File(path, "a") as file:
        file["layers/loop"] = h5py.SoftLink("/layers")


def hard_link_loop(path):
    fresh_tiny().save_weights(path)
    with h5py.File(path, "a") as file:
        file["layers/loop"] = file["layers"]


def values_elsewhere(path):
    fresh_tiny().save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d/vars/0"]
        raw = path.with_name("raw.bin")
        raw.write_bytes(bytes(3 * 3 * 3 * 32 * 4))
        file.create_dataset("layers/conv2d/vars/0", (3, 3, 3, 32), "float32", external=[(str(raw), 0, 3456)])


def virtual_values(path):
    fresh_tiny().save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d/vars/0"]
        layout = h5py.VirtualLayout((3, 3, 3, 32), "float32")
        layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (3, 3, 3, 32))
        file.create_virtual_dataset("layers/conv2d/vars/0", layout)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (wrong_width, r"does not fit the backbone tiny: at layers/batch_normalization/vars/0 the file has nothing"),
        (whole_classifier, r"does not fit the backbone tiny: .* give the file made for it"),
        (one_more_layer, r"at layers/conv2d_4/vars/0 the file has shape 1x1x192x2 and the model nothing"),
        (older_one_more_layer, r"at conv2d.*#0 the file has shape 1x1x192x2 and the model nothing \(22 tensors"),
        (older_one_layer_fewer, r"at the end the file has nothing and the model shape 3x3x128x192 \(15 tensors"),
        (one_shape_changed, r"at layers/conv2d/vars/0 the file has shape 3x3x3x31 and the model shape 3x3x3x32"),
        (one_missing, r"at layers/conv2d_2/vars/0 the file has nothing and the model shape 3x3x64x128 \(19 tensors"),
        (text, r"is not an HDF5 weights file"),
        (cut_short, r"is damaged"),
        (changed_attributes(layer_names=7), r"is damaged"),
        (changed_attributes(layer_names=[b"\xff\xfe"]), r"is damaged"),
        (changed_attributes(layer_names=[b"nowhere"]), r"is damaged"),
        (changed_attributes(weight_names=[b"/"]), r"is damaged"),
        (changed_attributes(weight_names=3.5), r"is damaged"),
        (external_link, r"is refused: layers/conv2d/vars/0 is a link, so give a file without"),
        (soft_link, r"is refused: layers/loop is a link, so give a file without"),
        (hard_link_loop, r"is refused: layers/loop is also stored under another name"),
        (values_elsewhere, r"is refused: layers/conv2d/vars/0 keeps its values in other files"),
        (virtual_values, r"is refused: layers/conv2d/vars/0 keeps its values in other files"),
        (lambda path: None, r"There is no weights file"),
    ],
)
def test_a_file_that_does_not_fit_or_is_not_safe_is_refused(tmp_path, write, message):
    path = tmp_path / "file.weights.h5"
    write(path)
    with pytest.raises(UserError, match=message):
        load_backbone_weights(fresh_tiny(), BACKBONES["tiny"], str(path))


def test_the_run_file_loader_names_the_model_it_serves(tmp_path):
    model = build_classifier(backbone="tiny", weights="none", class_count=3, image_size=(32, 32))
    fresh_tiny().save_weights(tmp_path / "b.weights.h5")
    with pytest.raises(UserError, match="does not fit the classifier of runs/a"):
        load_weights_file(model, tmp_path / "b.weights.h5", model_name="the classifier of runs/a")


def test_tiny_has_no_imagenet_weights():
    with pytest.raises(UserError, match="tiny has no ImageNet weights: use --weights=none"):
        load_backbone_weights(fresh_tiny(), BACKBONES["tiny"], "imagenet")


def test_imagenet_takes_the_weights_that_keras_gives(mobilenet, monkeypatch):
    backbone, row = mobilenet
    donor = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(64, 64, 3))

    def download(*, include_top, weights, input_shape):
        assert (include_top, weights, input_shape) == (False, "imagenet", (224, 224, 3))
        return donor

    monkeypatch.setattr(keras.applications, "MobileNetV2", download)
    load_backbone_weights(backbone, row, "imagenet")
    assert_equal_weights(backbone, donor)


@pytest.mark.parametrize(
    "error",
    [
        Exception("URL fetch failure on https://example.org/w.h5: None -- [Errno -2] Name or service not known"),
        OSError("Connection reset"),
        ValueError("Incomplete or corrupted file detected. The auto file hash does not match."),
    ],
)
def test_a_failed_download_says_what_to_do(mobilenet, monkeypatch, error):
    def download(**arguments):
        raise error

    monkeypatch.setattr(keras.applications, "MobileNetV2", download)
    with pytest.raises(UserError, match=r"mobilenet_v2 could not be downloaded .* give it as --weights=FILE"):
        load_backbone_weights(*mobilenet, "imagenet")


def test_another_error_while_building_is_not_reported_as_a_failed_download(mobilenet, monkeypatch):
    def broken(**arguments):
        raise ValueError("a bug")

    monkeypatch.setattr(keras.applications, "MobileNetV2", broken)
    with pytest.raises(ValueError, match="a bug"):
        load_backbone_weights(*mobilenet, "imagenet")
