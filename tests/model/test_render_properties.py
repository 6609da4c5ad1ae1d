"""Render: properties for every photo, matrix and padding mode, and the program that XLA compiles."""

import re

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rendering import (
    CANVAS,
    FILL_VALUE,
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
    run,
    some,
)

from carclf.model.render import Render
from carclf.recipe import VIEWS, geometry, parse_recipe, parse_views

many = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
extents = st.tuples(st.integers(1, CANVAS), st.integers(1, CANVAS))
fills = st.sampled_from(FILLS)
seeds = st.integers(0, 2**31)


@many
@given(extents, seeds)
def test_without_reduction_the_identity_equals_pillows_resize(extent, seed):
    photo = photo_like(*extent, seed=seed)
    assert psnr(rendered(photo), pillow_resized(photo, image_size=IMAGE_SIZE)) >= 40


@many
@given(extents, fills, st.floats(0.3, 4.0), st.floats(0.0, 180.0), seeds)
def test_flips_are_exact_under_xla(extent, fill, factor, degrees, seed):
    """For any colour and reduction, a flip of the photo gives the same numbers in mirrored order."""
    photo = photo_like(*extent, seed=seed)
    matrix = np.float32(geometry.scaling(factor, factor, batch=1))
    colour = parse_recipe(f"hue({degrees})").draw(
        seed=seed, epoch=0, row=np.array([0]), extent=np.ones((1, 2), np.float32), image_size=IMAGE_SIZE
    )
    plain = rendered(photo, geometry=matrix, colour=colour.colour, fill=fill)
    for mirror, mirrored in (([-1, 1, 1], plain[:, ::-1]), ([1, -1, 1], plain[::-1]), ([-1, -1, 1], plain[::-1, ::-1])):
        flipped = matrix @ np.diag(np.float32(mirror))
        image = rendered(photo, geometry=flipped, colour=colour.colour, fill=fill)
        np.testing.assert_array_equal(image, mirrored)


VIEW_TEXTS = ["clean|flip|vflip|five_crop(0.3)|random(2)|random(1,perspective(0.45)|crop|randaugment)"]
VIEW_TEXTS += ["rotate(45)|zoom(0.1)|zoom(10)|shift(1,-1)|rotate(180)+zoom(0.1)+shift(-1)|size(48)"]


@many
@given(st.sampled_from(VIEW_TEXTS), st.sampled_from(["squash", "crop", "pad"]), extents, fills, seeds, st.data())
def test_any_view_gives_pixels_of_the_photo_or_of_the_border(text, fit, extent, fill, seed, data):
    view = data.draw(st.sampled_from(parse_views(text)), label="view")
    draws = view.draw(seed=seed, row=np.array([1]), extent=np.float32([extent]), image_size=IMAGE_SIZE, fit=fit)
    photo = photo_like(*extent, seed=seed)
    image = rendered(photo, geometry=draws.geometry, fill=fill)
    lowest = np.minimum(photo.min(axis=(0, 1)), FILL_VALUE if fill == "constant" else 255)
    highest = np.maximum(photo.max(axis=(0, 1)), FILL_VALUE if fill == "constant" else 0)
    assert (image >= lowest - 1e-2).all()
    assert (image <= highest + 1e-2).all()


def test_every_view_is_among_those():
    assert {name for name in VIEWS if name not in "|".join(VIEW_TEXTS)} == set()


@many
@given(
    st.lists(st.floats(-4, 4, width=32), min_size=9, max_size=9),
    st.tuples(st.integers(0, CANVAS), st.integers(0, CANVAS)),
    fills,
)
def test_any_matrix_and_extent_give_finite_pixels(entries, extent, fill):
    """Also beyond the horizon of a perspective, for a singular matrix, and for padding without extent."""
    inputs = {
        "canvas": np.full((1, CANVAS, CANVAS, 3), 200, np.uint8),
        "extent": np.float32([extent]),
        "geometry": np.float32(entries).reshape(1, 3, 3),
        "colour": PLAIN,
    }
    image = np.asarray(compiled(fill, False)(inputs))
    assert np.isfinite(image).all()
    assert image.min() >= FILL_VALUE - 1e-2
    assert image.max() <= 200 + 1e-2


TEXTS = ["", "rotate(180)|shift(0.5)", "zoom(0.8,0.8)", "perspective(0.45)", "shear(60,60)", "saturation(0,2)|crop"]


@many
@given(
    st.sampled_from(TEXTS), st.sampled_from(["squash", "pad"]), st.integers(1, CANVAS), st.integers(1, CANVAS), fills
)
def test_the_rest_of_the_canvas_is_never_visible(text, fit, height, width, fill):
    draws = parse_recipe(text).draw(
        seed=height,
        epoch=width,
        row=np.array([1]),
        extent=np.float32([[height, width]]),
        image_size=IMAGE_SIZE,
        fit=fit,
    )
    images = []
    for garbage in (0, 255):
        canvas = np.full((1, CANVAS, CANVAS, 3), garbage, np.uint8)
        canvas[0, :height, :width] = photo_like(height, width)
        inputs = {"canvas": canvas, "extent": np.float32([[height, width]])}
        inputs |= {"geometry": draws.geometry, "colour": draws.colour}
        images.append(np.asarray(compiled(fill, False)(inputs)))
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize(("factor", "samples"), some([(1.51, 4), (1.49, 1), (2.0, 4), (4.0, 4)]))
@pytest.mark.parametrize("axis", [0, 1])
def test_four_samples_if_a_photo_is_reduced_by_more_than_a_half(factor, samples, axis):
    """The samples spread only along the reduced axis: a stripe of one pixel distinguishes one sample from two."""
    size = (40, 40)
    photo = np.zeros((*size, 3), np.uint8)
    stripes = (slice(None, None, 2), slice(None)) if axis == 0 else (slice(None), slice(None, None, 2))
    photo[stripes] = 255
    image_size = tuple(round(side / (factor if index == axis else 1.0)) for index, side in enumerate(size))
    exact = np.eye(3)
    exact[1 - axis, 1 - axis] = factor * image_size[axis] / size[axis]  # undoes the rounding of the size
    image = run(photo, image_size=image_size, geometry=np.float32(exact)[None])
    centres = (np.arange(image_size[axis]) + 0.5 - image_size[axis] / 2) * factor + size[axis] / 2 - 0.5
    offsets = [0.0] if samples == 1 else [-0.375 * factor, 0.375 * factor]
    stripe = 255.0 * (np.arange(size[axis]) % 2 == 0)
    values = np.mean([np.interp(centres + offset, np.arange(size[axis]), stripe) for offset in offsets], axis=0)
    profile = np.moveaxis(image, axis, 0)[:, :, 0]
    np.testing.assert_allclose(profile, np.tile(values[:, None], profile.shape[1]), atol=0.05)


TURN = np.cos(np.pi / 4)
REDUCED = {
    "both axes at once, by turning": [[2.1 * TURN, -2.1 * TURN, 0], [2.1 * TURN, 2.1 * TURN, 0], [0, 0, 1]],
    "less where a perspective is near": [[2.6, 0, 0], [0, 2.6, 0], [0.2, 0.1, 2]],
    "more where a perspective is far": [[0.9, 0, 0], [0, 0.9, 0], [0.1, 0.05, 0.5]],
}


@pytest.mark.parametrize("name", REDUCED)
def test_the_reduction_is_the_length_of_a_step_in_the_middle(name):
    photo = photo_like(CANVAS, CANVAS)
    image = rendered(photo, geometry=np.float32([REDUCED[name]]))
    expected = reference(photo, REDUCED[name], PLAIN[0], image_size=IMAGE_SIZE, fill="edge")
    np.testing.assert_allclose(image, expected, atol=0.05)


# The effect of each operation on a photo, including the gamut.
COLOURS = {
    "brightness(1.7,1.7)": lambda photo: 1.7 * photo,
    "brightness(0.4,0.4)": lambda photo: 0.4 * photo,
    "contrast(2,2)": lambda photo: 127.5 + 2 * (photo - 127.5),
    "contrast(0,0)": lambda photo: np.full_like(photo, 127.5),
    "saturation(0,0)": lambda photo: np.repeat(photo @ [[0.299], [0.587], [0.114]], 3, axis=-1),
    "saturation(2,2)": lambda photo: 2 * photo - photo @ [[0.299], [0.587], [0.114]],
    "grayscale(1)": lambda photo: np.repeat(photo @ [[0.2989], [0.5870], [0.1140]], 3, axis=-1),
    "contrast(2,2)|brightness(0.5,0.5)": lambda photo: 0.5 * (127.5 + 2 * (photo - 127.5)),
}


@pytest.mark.parametrize("text", some(COLOURS))
def test_a_colour_operation_equals_its_reference(text):
    photo = photo_like(CANVAS, CANVAS)
    draws = parse_recipe(text).draw(
        seed=0, epoch=0, row=np.array([0]), extent=np.float32([[CANVAS, CANVAS]]), image_size=(CANVAS, CANVAS)
    )
    image = run(photo, image_size=(CANVAS, CANVAS), colour=draws.colour)
    np.testing.assert_allclose(image, np.clip(COLOURS[text](photo.astype(np.float64)), 0, 255), atol=1e-3)


# --- stretched to 0..255 before colour

STRETCHED = ["", "rotate(180)|shift(0.5)", "zoom(0.3,0.8)|perspective(0.3)", "brightness(0.3,1.5)", "shear(20,20)"]
STRETCHED += ["hue(90)|contrast(0.5)", "flip|rotate(20)|saturation(0,2)|brightness(0.5,1.5,20)", "channel_shift(60)"]


def drawn(text, extent, *, seed):
    return parse_recipe(text).draw(
        seed=seed, epoch=0, row=np.array([1]), extent=np.float32([extent]), image_size=IMAGE_SIZE
    )


@many
@given(st.sampled_from(STRETCHED), fills, extents, seeds)
def test_stretching_comes_before_colour_and_the_clip_after(text, fill, extent, seed):
    photo = photo_like(*extent, seed=seed)
    draws = drawn(text, extent, seed=seed)
    reduced = reductions(draws.geometry[0], extent, image_size=IMAGE_SIZE)
    assume(np.abs(reduced - 1.5).min() > 1e-4)  # else rounding decides between one sample and four
    plain = reference(photo, draws.geometry[0], PLAIN[0], image_size=IMAGE_SIZE, fill=fill)
    span = np.ptp(plain)
    assume(span > 16)
    matrix = draws.colour[0].astype(np.float64)
    expected = np.clip((plain - plain.min()) * (255 / span) @ matrix[:, :3].T + matrix[:, 3], 0, 255)
    image = rendered(photo, geometry=draws.geometry, colour=draws.colour, fill=fill, stretch=True)
    scale = np.abs(draws.geometry[0]).max() * np.abs(matrix[:, :3]).sum(axis=1).max() * 255 / span
    np.testing.assert_allclose(image, expected, atol=0.03 * scale)


@many
@given(st.sampled_from(["", "rotate(180)|shift(0.5)", "flip|perspective(0.3)"]), fills, extents, seeds)
def test_without_a_change_of_colour_each_image_reaches_from_0_to_255(text, fill, extent, seed):
    photo = photo_like(*extent, seed=seed)
    image = rendered(photo, geometry=drawn(text, extent, seed=seed).geometry, fill=fill, stretch=True)
    assume(np.ptp(rendered(photo, geometry=drawn(text, extent, seed=seed).geometry, fill=fill)) > 1)
    assert image.min() == pytest.approx(0, abs=1e-3)
    assert image.max() == pytest.approx(255, abs=1e-3)


@many
@given(st.integers(0, 255), st.sampled_from(STRETCHED), st.sampled_from(["edge", "reflect"]), extents, seeds)
def test_a_uniform_image_is_recoloured_as_black(value, text, fill, extent, seed):
    """Interpolating a uniform image adds rounding errors, which must not be stretched."""
    draws = drawn(text, extent, seed=seed)
    photo = np.full((*extent, 3), value, np.uint8)
    image = rendered(photo, geometry=draws.geometry, colour=draws.colour, fill=fill, stretch=True)
    expected = np.broadcast_to(np.clip(draws.colour[0, :, 3], 0, 255), image.shape)
    np.testing.assert_allclose(image, expected, atol=0.01)


def test_each_image_of_a_batch_is_stretched_separately():
    photos = [photo_like(40, 48, seed=1), photo_like(40, 48, seed=2) // 4 + 90]
    together = stretched_batch(photos)
    for photo, image in zip(photos, together, strict=True):
        np.testing.assert_allclose(image, rendered(photo, stretch=True), atol=1e-3)


def stretched_batch(photos):
    canvas, extent = on_canvas(*photos)
    matrices = {"geometry": IDENTITY, "colour": PLAIN}
    inputs = {name: np.tile(matrix, (len(photos), 1, 1)) for name, matrix in matrices.items()}
    return np.asarray(compiled("edge", True)({"canvas": canvas, "extent": extent} | inputs))


@pytest.mark.parametrize("text", ["", "brightness(0.5,1.5)", "rotate(20)|hue(40)"])
def test_images_are_stretched_only_if_the_option_is_on(text):
    photo = photo_like(40, 48) // 2 + 60
    draws = drawn(text, photo.shape[:2], seed=3)
    matrices = {"geometry": draws.geometry, "colour": draws.colour}
    expected = reference(photo, draws.geometry[0], draws.colour[0], image_size=IMAGE_SIZE, fill="edge")
    np.testing.assert_allclose(rendered(photo, **matrices, stretch=False), expected, atol=0.05)
    assert np.abs(rendered(photo, **matrices, stretch=True) - expected).max() > 10


def test_a_recreated_layer_stretches_too():
    assert Render.from_config(Render(image_size=IMAGE_SIZE, stretch=True).get_config()).stretch is True


# --- the compiled program


def zeros(*, batch, canvas, image_size):
    """A batch of identities, with mixing and erasing."""
    matrices = [np.tile(matrix, (batch, 1, 1)) for matrix in (IDENTITY, PLAIN)]
    boxes = [np.tile(np.float32([1, 0, 0, 0, 0]), (batch, 1)), np.zeros((batch, 7), np.float32)]
    extent = np.full((batch, 2), canvas, np.float32)
    layer = Render(image_size=image_size, mixing=True, erasing=True)
    return layer, [np.zeros((batch, canvas, canvas, 3), np.uint8), extent, *matrices, *boxes]


def hlo_of(layer, arguments):
    """The text of the kernel before XLA optimises it."""
    if keras.backend.backend() == "jax":
        return layer._function.lower(*arguments).as_text("hlo")
    tensors = [keras.ops.convert_to_tensor(argument) for argument in arguments]
    return layer._function.experimental_get_compiler_ir(*tensors)(stage="hlo")


def test_every_shape_in_the_kernel_is_static():
    """A bounded dynamic dimension is written `f32[<=4]`; a TPU would compile for each size it meets."""
    text = hlo_of(*zeros(batch=4, canvas=40, image_size=(32, 36)))
    assert "f32[4,32,36,3]" in text
    assert "<=" not in text
    operations = set(re.findall(r"[\])}] ([a-z][a-z-]+)\(", text))
    assert "gather" in operations
    assert operations & {"sort", "scatter", "while", "custom-call", "set-dimension-size", "infeed"} == set()


def test_large_images_make_no_larger_program():
    """What XLA compiles, and so how long it takes, depends on no size; `benchmarks/start.py` measures that."""

    def instructions(**sizes):
        return len(re.findall(r"^\s+(?:ROOT )?%?[\w.-]+ = ", hlo_of(*zeros(**sizes)), flags=re.MULTILINE))

    small = instructions(batch=4, canvas=40, image_size=(32, 36))
    assert 200 < small < 4000
    assert instructions(batch=8, canvas=640, image_size=(512, 512)) <= 1.1 * small
