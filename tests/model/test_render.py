"""Render: exact against independent references, and the same image on every backend and device."""

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rendering import (
    CANVAS,
    FILLS,
    IDENTITY,
    IMAGE_SIZE,
    PLAIN,
    compiled,
    on_canvas,
    photo_like,
    pillow_resized,
    psnr,
    reductions,
    reference,
    rendered,
    renderer,
    run,
    smooth,
    some,
)

from carclf.errors import UserError
from carclf.model.render import Render
from carclf.recipe import parse_recipe

HAS_TENSORFLOW = keras.backend.backend() == "tensorflow"


# --- geometry


@pytest.mark.parametrize(
    ("extent", "image_size", "decibels"),
    some(
        [
            ((48, 64), (48, 64), 90),
            ((48, 64), (64, 64), 40),
            ((48, 64), (100, 130), 40),
            ((30, 50), (224, 224), 40),
            ((1, 1), (8, 8), 90),
            ((1, 9), (8, 20), 40),
            ((96, 128), (48, 64), 40),
            ((96, 128), (96, 64), 40),
            ((96, 64), (40, 40), 32),
            ((120, 160), (50, 64), 32),
        ]
    ),
)
def test_identity_equals_pillows_bilinear_resize(extent, image_size, decibels):
    photo = photo_like(*extent)
    pillow = pillow_resized(photo, image_size=image_size)
    assert psnr(run(photo, image_size=image_size), pillow) >= decibels


@pytest.mark.parametrize("image_size", some([(37, 53), (48, 40), (224, 192)]))
@pytest.mark.parametrize("text", ["flip(1)", "vflip(1)", "flip(1)|vflip(1)"])
def test_flips_are_exact(image_size, text):
    photo = photo_like(48, 40)
    geometry = (
        parse_recipe(text)
        .draw(seed=0, epoch=0, row=np.array([0]), extent=np.float32([[48, 40]]), image_size=image_size)
        .geometry
    )
    plain = run(photo, image_size=image_size)
    expected = plain[:, ::-1] if "flip" in text.split("|") or text.startswith("flip") else plain
    expected = expected[::-1] if "vflip" in text else expected
    np.testing.assert_array_equal(run(photo, image_size=image_size, geometry=geometry), expected)


TEXTS = ["rotate(180)", "shift(0.5)", "zoom(0.3,0.2)", "zoom(0.8,0.8)", "shear(30,20)", "perspective(0.3)", "crop(0.4)"]
TEXTS += ["flip|rotate(30)|shift(0.2)", "hue(90)", "saturation(0,2)|rotate(9)", "contrast(0.5)|brightness(0.5,1.5,20)"]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(TEXTS),
    st.sampled_from(FILLS),
    st.tuples(st.integers(1, CANVAS), st.integers(1, CANVAS)),
    st.sampled_from(["squash", "crop", "pad"]),
    st.integers(0, 2**31),
)
def test_equals_the_reference_for_any_angle_extent_and_border(text, fill, extent, fit, seed):
    photo = photo_like(*extent, seed=seed)
    recipe = parse_recipe(text)
    draws = recipe.draw(
        seed=seed, epoch=0, row=np.array([3]), extent=np.float32([extent]), image_size=IMAGE_SIZE, fit=fit
    )
    reduced = reductions(draws.geometry[0], extent, image_size=IMAGE_SIZE)
    assume(np.abs(reduced - 1.5).min() > 1e-4)  # else rounding decides between one sample and four
    image = rendered(photo, geometry=draws.geometry, colour=draws.colour, fill=fill)
    expected = reference(photo, draws.geometry[0], draws.colour[0], image_size=IMAGE_SIZE, fill=fill)
    scale = np.abs(draws.geometry[0]).max() * np.abs(draws.colour[0, :, :3]).sum(axis=1).max()
    np.testing.assert_allclose(image, expected, atol=0.02 * scale)


@pytest.mark.parametrize(
    ("first", "second"),
    some([("rotate(10)", "shift(0.05)"), ("shift(0.05)", "rotate(10)"), ("zoom(0.2)", "shear(9)"),
          ("rotate(10)", "perspective(0.1)"), ("hue(30)", "contrast(0.8,1)"),
          ("saturation(0.5,1)", "brightness(0.8,1)")]),
)  # fmt: skip
def test_a_chain_equals_its_operations_in_sequence(first, second):
    size = (96, 112)
    photo = np.round(smooth(*size)).astype(np.uint8)

    def draw(text):
        return parse_recipe(text).draw(seed=5, epoch=0, row=np.array([8]), extent=np.float32([size]), image_size=size)

    image = photo
    for text in (first, second):
        draws = draw(text)
        image = run(image, image_size=size, geometry=draws.geometry, colour=draws.colour)
        image = np.round(image).astype(np.uint8)
    draws = draw(f"{first}|{second}")
    at_once = run(photo, image_size=size, geometry=draws.geometry, colour=draws.colour)
    inner = (slice(24, -24), slice(24, -24))  # nothing leaves the frame there
    assert np.abs(at_once - image)[inner].max() < 2.5
    assert np.abs(at_once - image)[inner].mean() < 0.8


def test_beyond_the_horizon_of_a_perspective_is_the_border():
    geometry = np.float32([[[1, 0, 0], [0, 1, 0], [2.0, 0, 1]]])  # z = 1 + 2u turns negative left of u = -1/2
    image = run(photo_like(48, 48), image_size=(48, 48), geometry=geometry)
    assert np.isfinite(image).all()


# --- colour


COLOURS = ["brightness(0.5,1.5)", "brightness(add=60)", "contrast(0.5,1.5)", "saturation(0,2)", "hue(180)"]
COLOURS += ["grayscale(1)", "channel_shift(60)", "brightness(0.5,1.5)|contrast(0.5)|saturation(0.9)|hue(40)"]


@pytest.mark.parametrize("text", some(COLOURS))
def test_colour_equals_float64_to_a_thousandth(text):
    photos = [photo_like(16, 16, seed=seed) for seed in range(6)]
    canvas, extent = on_canvas(*photos, size=16)
    draws = parse_recipe(text).draw(seed=1, epoch=0, row=np.arange(6), extent=extent, image_size=(16, 16))
    images = np.asarray(renderer((16, 16))(canvas, extent, draws.geometry, draws.colour))
    for photo, image, matrix in zip(photos, images, draws.colour.astype(np.float64), strict=True):
        expected = np.clip(photo.astype(np.float64) @ matrix[:, :3].T + matrix[:, 3], 0, 255)
        np.testing.assert_allclose(image, expected, atol=1e-3)


@pytest.mark.skipif(not HAS_TENSORFLOW, reason="compares with tf.image: needs the TensorFlow backend")
def test_additive_brightness_and_grayscale_equal_tf_image():
    import tensorflow as tf

    photo = photo_like(16, 16)
    exact = tf.cast(photo, tf.float32)
    for text, oracle in (
        (
            "brightness(add=60)",
            lambda matrix: tf.clip_by_value(tf.image.adjust_brightness(exact, matrix[0, 3]), 0, 255),
        ),
        ("grayscale(1)", lambda matrix: tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(exact))),
    ):
        draws = parse_recipe(text).draw(
            seed=1, epoch=0, row=np.array([0]), extent=np.float32([[16, 16]]), image_size=(16, 16)
        )
        image = run(photo, image_size=(16, 16), colour=draws.colour)
        np.testing.assert_allclose(image, oracle(draws.colour[0]).numpy(), atol=1e-3)


# --- batches, mixing, erasing


def batch(text, *, count=6, image_size=(32, 40), jit=True):
    photos = [photo_like(20 + 4 * index, 46 - 3 * index, seed=index) for index in range(count)]
    canvas, extent = on_canvas(*photos)
    recipe = parse_recipe(text)
    draws = recipe.draw(seed=4, epoch=1, row=np.arange(count), extent=extent, image_size=image_size)
    fields = {name: getattr(draws, name) for name in ("geometry", "colour", "mix", "erase")}
    layer = Render(image_size=image_size, mixing=recipe.mixes, erasing=recipe.erases, jit=jit)
    return layer, {"canvas": canvas, "extent": extent} | fields


def test_no_photo_depends_on_its_batch():
    """One batch mixes the fast path, full colour and 2x2 samples; alone, each photo takes its own path."""
    layer, inputs = batch("zoom(0.6)|saturation(0.5,p=0.3)|brightness(0.5,1.5)", image_size=(24, 24), jit=False)
    together = np.asarray(layer(inputs))
    for index in range(6):
        alone = np.asarray(layer({name: array[index : index + 1] for name, array in inputs.items()}))[0]
        np.testing.assert_allclose(together[index], alone, atol=1e-3)


# Colours that mix channels, a perspective, and a zoom that becomes a reduction below.
KINDS = ["saturation(0,0.5)|hue(40)", "perspective(0.3)", ""]


@pytest.mark.parametrize("kinds", list(itertools.product([False, True], repeat=len(KINDS))), ids=str)
def test_every_kind_of_photo_in_one_batch_equals_the_reference(kinds):
    """One photo, not the first, selects the branch of the kernel, and the branch is right for the others too."""
    extents = [(40, 48), (48, 31), (20, 48), (48, 48)]
    draws = [
        parse_recipe(text if here else "rotate(20)").draw(
            seed=1, epoch=0, row=np.array([index]), extent=np.float32([extent]), image_size=IMAGE_SIZE
        )
        for index, (text, here, extent) in enumerate(zip(["rotate(9)", *KINDS], [False, *kinds], extents, strict=True))
    ]
    geometry, colour = (np.concatenate([getattr(draw, field) for draw in draws]) for field in ("geometry", "colour"))
    if kinds[2]:
        geometry[3] = np.diag([2.5, 1.0, 1.0])
    geometry[0] *= 3.0  # a homogeneous matrix may have any positive scale
    photos = [photo_like(*extent, seed=index) for index, extent in enumerate(extents)]
    canvas, extent = on_canvas(*photos)
    inputs = {"canvas": canvas, "extent": extent, "geometry": geometry, "colour": colour}
    images = np.asarray(compiled("edge", False)(inputs))
    for index, photo in enumerate(photos):
        expected = reference(photo, geometry[index], colour[index], image_size=IMAGE_SIZE, fill="edge")
        np.testing.assert_allclose(images[index], expected, atol=0.05)


@pytest.mark.parametrize("image_size", [(32, 40), (12, 16)], ids=["one sample", "four"])
@pytest.mark.parametrize(
    "text",
    ["rotate(20)|brightness(0.5,1.5)", "shear(9)|hue(40)", "perspective(0.3)|contrast(0.3)", "perspective(0.3)|hue(9)"],
)
def test_a_layer_without_the_branches_that_its_recipe_cannot_need_gives_the_same_image(text, image_size):
    layer, inputs = batch(text, count=3, image_size=image_size, jit=False)
    recipe = parse_recipe(text)
    fewer = Render(**(layer.get_config() | {"affine": recipe.affine, "per_channel": recipe.per_channel}))
    np.testing.assert_array_equal(np.asarray(fewer(inputs)), np.asarray(layer(inputs)))


@pytest.mark.parametrize("image_size", [(32, 40), (12, 16)], ids=["one sample", "four"])
@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("perspective(0.3)", {"affine": True}),
        ("hue(40)", {"per_channel": True}),
        ("perspective(0.3)|hue(40)", {"affine": True}),
        ("perspective(0.3)|hue(40)", {"affine": True, "per_channel": True}),
    ],
)
def test_a_photo_that_needs_a_branch_that_was_left_out_becomes_nan_instead_of_wrong(text, left_out, image_size):
    layer, inputs = batch(text, count=3, image_size=image_size, jit=False)
    inputs["geometry"][1:], inputs["colour"][1:] = IDENTITY, PLAIN
    images = np.asarray(Render(**(layer.get_config() | left_out))(inputs))
    assert np.isnan(images[0]).all()
    np.testing.assert_allclose(images[1:], np.asarray(layer(inputs))[1:], atol=1e-3)


def test_mixing_and_erasing_equal_numpy():
    layer, inputs = batch("rotate(20)|cutmix(1,p=0.5)|erase(0.1,0.4)", count=8)
    inputs["mix"][4:6] = [0.3, 0, 0, 0, 0]
    assert (inputs["mix"][:, 0] == 1).any()
    plain = np.asarray(renderer((32, 40))(*(inputs[name] for name in ("canvas", "extent", "geometry", "colour"))))
    expected = np.empty_like(plain)
    kinds = set()
    for index, (share, *box) in enumerate(inputs["mix"].astype(np.float64)):
        own, partner = plain[index], plain[index ^ 1]
        y0, x0, y1, x1 = np.round(np.array(box) * [32, 40, 32, 40]).astype(int)
        expected[index] = own
        if y1 > y0:
            expected[index, y0:y1, x0:x1] = partner[y0:y1, x0:x1]
            assert (y1 - y0) * (x1 - x0) == pytest.approx((1 - share) * 32 * 40, abs=1e-3)
        else:
            expected[index] = share * own + (1 - share) * partner
        kinds.add("box" if y1 > y0 else "blend" if share < 1 else "nothing")
        box = inputs["erase"][index]
        y0, x0, y1, x1 = np.round(box[:4] * [32, 40, 32, 40]).astype(int)
        expected[index, y0:y1, x0:x1] = box[4:]
        kinds.add("erased" if y1 > y0 else "whole")
    assert kinds == {"box", "blend", "nothing", "erased", "whole"}
    np.testing.assert_allclose(np.asarray(layer(inputs)), expected, atol=0.02)


@pytest.mark.parametrize("fill", FILLS)
def test_padding_with_no_extent_shows_one_pixel_as_if_the_photo_were_that(fill):
    layer, inputs = batch("notebook", count=4, jit=False)
    inputs["geometry"][2:], inputs["colour"][2:] = IDENTITY, PLAIN
    inputs["extent"][2:] = [[0, 0], [1, 1]]
    inputs["canvas"][3] = inputs["canvas"][2]
    images = np.asarray(Render(**(layer.get_config() | {"fill": fill}))(inputs))
    assert np.isfinite(images).all()
    if fill != "constant":
        pixel = inputs["canvas"][2, 0, 0].astype(np.float32)
        np.testing.assert_allclose(images[2:], np.broadcast_to(pixel, images[2:].shape), atol=1e-3)


# --- the layer


def test_without_xla_the_image_is_the_same():
    layer, inputs = batch("notebook|hue(20)|mixup|erase")
    plain = Render(**(layer.get_config() | {"jit": False}))
    np.testing.assert_allclose(np.asarray(layer(inputs)), np.asarray(plain(inputs)), atol=0.05)


@pytest.fixture(scope="module")
def mixed_batch():
    """Inputs of four photos, and the images that the layer alone makes of them."""
    layer, inputs = batch("notebook|mixup|erase", count=4)
    return inputs, np.asarray(layer(inputs))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_inside_a_model_that_fits_and_predicts_in_bfloat16(jit_compile, mixed_batch):
    inputs, expected = mixed_batch
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        symbolic = {name: keras.Input(array.shape[1:], dtype=array.dtype, name=name) for name, array in inputs.items()}
        image = Render(image_size=(32, 40), mixing=True, erasing=True)(symbolic)
        assert (image.dtype, tuple(image.shape)) == ("float32", (None, 32, 40, 3))
        pooled = keras.layers.Dense(2, dtype="float32")(keras.layers.GlobalAveragePooling2D()(image))
    finally:
        keras.config.set_dtype_policy("float32")
    if not jit_compile:
        predicted = keras.Model(symbolic, image).predict(inputs, batch_size=4, verbose=0)
        np.testing.assert_allclose(predicted, expected, atol=0.05)
    model = keras.Model(symbolic, pooled)
    model.compile("sgd", "mse", jit_compile=jit_compile)
    history = model.fit(inputs, np.zeros((4, 2)), batch_size=4, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def plain(**options) -> Render:
    return Render(image_size=(8, 12), jit=False, **options)


def test_by_default_what_the_batch_has_is_applied():
    _, inputs = batch("mixup(1.0)|erase(p=1)", count=4)
    both = np.asarray(plain(mixing=True, erasing=True)(inputs))
    np.testing.assert_array_equal(np.asarray(plain()(inputs)), both)
    neither = {name: array for name, array in inputs.items() if name not in ("mix", "erase")}
    np.testing.assert_array_equal(np.asarray(plain()(neither)), np.asarray(plain(mixing=False, erasing=False)(inputs)))
    assert not np.array_equal(np.asarray(plain()(neither)), both)
    assert Render(image_size=8).image_size == (8, 8)


def test_an_odd_batch_passes_only_if_nothing_in_it_is_to_be_mixed():
    _, inputs = batch("rotate(10)", count=4)
    odd = {name: array[:3] for name, array in inputs.items()}
    expected = np.asarray(plain(mixing=False)(odd))
    np.testing.assert_array_equal(np.asarray(plain()(odd)), expected)
    mixed = odd | {"mix": np.array([[1, 0, 0, 0, 0], [0.7, 0, 0, 0, 0], [0.7, 0, 0, 0, 0]], np.float32)}
    assert np.isnan(np.asarray(plain()(mixed))).all()


@pytest.mark.parametrize("count", [3, 4])
def test_a_batch_of_unknown_size_is_mixed_as_one_of_known_size(count):
    _, inputs = batch("mixup(1.0)" if count == 4 else "flip", count=4)
    inputs = {name: array[:count] for name, array in inputs.items()}
    expected = np.asarray(plain(mixing=count == 4)(inputs))
    np.testing.assert_array_equal(np.asarray(plain()(inputs)), expected)
    if keras.backend.backend() != "tensorflow":  # JAX knows the size of every batch
        return
    import tensorflow as tf

    shapes = {name: tf.TensorSpec((None, *array.shape[1:]), array.dtype) for name, array in inputs.items()}
    images = tf.function(lambda batch: plain()(batch), input_signature=[shapes])(inputs)
    np.testing.assert_allclose(images, expected, atol=1e-3)


def test_configuration_survives():
    layer = Render(
        image_size=(8, 9), fill="constant", fill_value=7, mixing=True, erasing=True, affine=True, jit=False, name="r"
    )
    assert layer.get_config()["affine"]
    assert not layer.get_config()["per_channel"]
    assert Render.from_config(layer.get_config()).get_config() == layer.get_config()
    assert layer.weights == []


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"mixing": True}, {"mix": None}, "Render needs mix. Received: canvas"),
        ({"mixing": True}, {}, "Render mixes photos in pairs. Received: a batch of 3"),
    ],
)
def test_refusals(options, change, message):
    _, inputs = batch("mixup|erase", count=4)
    inputs = {name: array[:3] for name, array in inputs.items() if name not in change}
    with pytest.raises(ValueError, match=message):
        Render(image_size=(8, 8), **options)(inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fill": "wrap"}, r"fill is 'wrap': give edge, reflect or constant\."),
        ({"fill_value": "black"}, r"fill_value is 'black': give a number\."),
        ({"image_size": 32.5}, r"image_size is 32\.5: give a side, or \(height, width\), of 1 to 4096 pixels\."),
        ({"image_size": "32"}, "image_size is '32': give a side"),
    ],
)
def test_an_option_that_is_impossible_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        Render(**{"image_size": 8} | options)


# --- other backends and several devices

OTHER_BACKEND = """
import importlib.abc, sys
class NoTensorFlow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
sys.meta_path.insert(0, NoTensorFlow())
import numpy as np
import keras
from carclf.model.render import Render
inputs = dict(np.load(sys.argv[1]))
assert keras.backend.backend() == "jax"
options = dict(image_size=(32, 40), mixing=True, erasing=True)
images = {fill: np.asarray(Render(fill=fill, **options)(inputs)) for fill in ("edge", "reflect", "constant")}
np.savez(sys.argv[2], **images)
"""

REPLICAS = """
import sys
import numpy as np
import tensorflow as tf
import keras
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from carclf.model.render import Render
inputs = dict(np.load(sys.argv[1]))
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    symbolic = {name: keras.Input(array.shape[1:], dtype=array.dtype, name=name) for name, array in inputs.items()}
    model = keras.Model(symbolic, Render(image_size=(32, 40), mixing=True, erasing=True)(symbolic))
    model.compile(jit_compile=False)
np.savez(sys.argv[2], edge=model.predict(tf.data.Dataset.from_tensors(inputs), verbose=0))
"""


def in_another_process(script, backend, inputs, directory: Path):
    np.savez(directory / "inputs.npz", **inputs)
    root = Path(__file__).parents[2]
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    arguments = [sys.executable, "-c", script, str(directory / "inputs.npz"), str(directory / "images.npz")]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(directory / "images.npz"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX beside the backend under test")
def test_jax_without_tensorflow_gives_the_same_image(tmp_path):
    _, inputs = batch("notebook|perspective(0.2)|zoom(0.6)|hue(30)|mixup(1,p=0.6)|cutmix|erase", count=8)
    images = in_another_process(OTHER_BACKEND, "jax", inputs, tmp_path)
    for fill, image in images.items():
        here = np.asarray(Render(image_size=(32, 40), mixing=True, erasing=True, fill=fill)(inputs))
        assert np.abs(image - here).max() <= 0.5


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TENSORFLOW, reason="MirroredStrategy needs the TensorFlow backend")
def test_two_replicas_give_the_same_image(tmp_path):
    layer, inputs = batch("notebook|mixup|erase", count=8)
    images = in_another_process(REPLICAS, "tensorflow", inputs, tmp_path)
    np.testing.assert_allclose(images["edge"], np.asarray(layer(inputs)), atol=0.05)
