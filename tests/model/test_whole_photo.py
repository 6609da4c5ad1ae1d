"""The exported model: photos of any size, and the same result as the photo classifier."""

import keras
import numpy as np
import pytest
from keras import ops

from carclf.data.decoder import decode_sizes
from carclf.framing import RESIZE_MODES, Framing, Rendering
from carclf.model.classifier import build_classifier
from carclf.model.render import Render
from carclf.model.whole_photo import WholePhoto, build_whole_photo_classifier, fitting, halve
from carclf.recipe import geometry


def photo(height: int, width: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("fit", RESIZE_MODES)
@pytest.mark.parametrize("size", [(30, 40), (64, 20), (50, 50)])
def test_fits_equal_those_of_the_recipe(fit, size):
    ours = fitting(ops.convert_to_tensor(size, dtype="float32"), aspect=1.5, fit=fit)
    (theirs,) = geometry.fitting(np.array([size], np.float32), aspect=1.5, fit=fit)
    np.testing.assert_allclose(ops.convert_to_numpy(ours), theirs, atol=1e-6)


@pytest.mark.parametrize("fit", RESIZE_MODES)
def test_the_image_equals_that_of_the_canvas(fit):
    pixels = photo(30, 44, batch=2)
    canvas = np.zeros((2, 48, 48, 3), np.uint8)
    canvas[:, :30, :44] = pixels
    extent = np.full((2, 2), (30, 44), np.float32)
    image_size = (24, 20)
    expected = Render(image_size=image_size, jit=False)(
        {
            "canvas": canvas,
            "extent": extent,
            "geometry": geometry.fitting(extent, aspect=20 / 24, fit=fit).astype(np.float32),
            "colour": np.tile(np.eye(3, 4, dtype=np.float32), (2, 1, 1)),
        }
    )
    layer = WholePhoto(image_size=image_size, fit=fit, least_side=6, fill="edge", stretch=False, name="whole")
    image = layer(pixels)
    np.testing.assert_allclose(ops.convert_to_numpy(image), ops.convert_to_numpy(expected), atol=0.01)


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1), (1, 2), (3, 1)])
@pytest.mark.parametrize("traced", [False, True] if keras.backend.backend() == "tensorflow" else [False])
def test_a_photo_one_pixel_high_or_wide_is_the_same_as_that_pixel_twice(size, traced):
    layer = WholePhoto(image_size=(6, 5), fit="squash", least_side=80, fill="edge", stretch=False, name="whole")
    call = layer
    if traced:
        import tensorflow as tf

        call = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    pixels = photo(*size, batch=2)
    twice = np.repeat(np.repeat(pixels, 2 if size[0] == 1 else 1, axis=1), 2 if size[1] == 1 else 1, axis=2)
    image, expected = (ops.convert_to_numpy(call(one)) for one in (pixels, twice))
    np.testing.assert_allclose(image, expected, atol=0.01)


def test_a_photo_without_detail_to_spare_does_not_change():
    pixels = photo(38, 60)
    assert halve(pixels, framing=Framing((16, 16)), least_side=8) is pixels


@pytest.mark.parametrize(
    ("size", "fit", "factor"),
    [
        ((40, 60), "squash", 2),
        ((39, 60), "crop", 2),  # 20 rows, rounded up
        ((38, 600), "crop", 1),
        ((38, 600), "pad", 16),
        ((700, 1000), "squash", 32),
        ((7, 1000), "squash", 1),
    ],
)
def test_a_photo_is_averaged_by_the_largest_power_of_two_that_leaves_its_detail(size, fit, factor):
    height, width = size
    pixels = photo(height, width)
    framing = Framing((16, 16), fit)
    halved = ops.convert_to_numpy(halve(ops.convert_to_tensor(pixels), framing=framing, least_side=8))
    assert halved.shape == (1, -(-height // factor), -(-width // factor), 3)
    # The last block is padded with the last pixels.
    last = pixels[0, (height - 1) // factor * factor :, (width - 1) // factor * factor :]
    padding = [(0, factor - last.shape[0]), (0, factor - last.shape[1]), (0, 0)]
    np.testing.assert_allclose(halved[0, -1, -1], np.pad(last, padding, mode="edge").mean(axis=(0, 1)), atol=0.01)


@pytest.mark.parametrize("fit", RESIZE_MODES)
def test_a_photo_that_the_decoder_reduced_is_not_halved_again(fit):
    framing, max_side = Framing((8, 8), fit), 640
    sizes = np.array([[640, 640], [480, 640], [99, 640], [81, 20], [320, 200]])
    for height, width in decode_sizes(sizes, framing=framing).extents.tolist():
        assert halve(photo(height, width), framing=framing, least_side=max_side // 8).shape[1:3] == (height, width)


def test_probabilities_add_up_to_one_and_depend_on_the_photo():
    classifier = build_classifier(backbone="tiny", weights="none", class_count=4, image_size=(32, 32), head_width=8)
    for variable in classifier.trainable_variables[-2:]:
        variable.assign(keras.random.normal(variable.shape, stddev=3.0, seed=1))
    model = build_whole_photo_classifier(classifier, framing=Framing((32, 32)), rendering=Rendering(), least_side=80)
    assert model.input_shape == (None, None, None, 3)
    dim = photo(90, 70) // 2
    first, second = (ops.convert_to_numpy(model(pixels)["probabilities"]) for pixels in (photo(40, 30, 2), dim))
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-5)
    assert np.abs(first[0] - second[0]).max() > 1e-3


def test_an_unknown_fit_is_refused():
    with pytest.raises(ValueError, match="fit must be one of squash, crop"):
        WholePhoto(image_size=(8, 8), fit="stretch", least_side=8, fill="edge", stretch=False, name="whole")


@pytest.mark.parametrize("size", [(20, 28), (90, 130)], ids=["magnified", "reduced"])
def test_render_without_branches_gives_the_same_image(size):
    rng = np.random.default_rng(3)
    matrices = np.tile(np.eye(3, dtype=np.float32), (3, 1, 1))
    matrices[1] += rng.normal(0, 0.1, (3, 3)) * [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    matrices[2, 2, :2] = 0.1, -0.2  # a perspective
    colour = np.tile(np.eye(3, 4, dtype=np.float32), (3, 1, 1))
    colour[1] += rng.normal(0, 0.1, (3, 4))
    inputs = {
        "canvas": photo(*size, batch=3),
        "extent": np.tile(np.float32(size), (3, 1)),
        "geometry": matrices.astype(np.float32),
        "colour": colour.astype(np.float32),
    }
    branching, plain = (
        ops.convert_to_numpy(Render(image_size=(24, 32), jit=False, branching=choice)(inputs))
        for choice in (True, False)
    )
    np.testing.assert_allclose(plain, branching, atol=0.05)
