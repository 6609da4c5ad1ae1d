"""Render by matrix products: the same image as by gathers, for every axis-aligned geometry."""

import functools
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rendering import CANVAS, FILL_VALUE, FILLS, IDENTITY, PLAIN, on_canvas, photo_like, reductions, some

from carclf.errors import UserError
from carclf.framing import RENDER_METHODS
from carclf.model import separable
from carclf.model.render import Render
from carclf.recipe import RECIPES, parse_recipe, parse_views

many = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
TEXTS = ["", "flip|vflip|shift(1)", "zoom(0.9,0.9)", "crop(0.02,0.3)|vflip", "zoom(0.3)|hue(90)|contrast(0.5)"]
SIZES = {"enlarged": (50, 64), "reduced": (12, 17)}
ALL = {"mixing": True, "erasing": True, "stretch": True}
KEYS = ("canvas", "extent", "geometry", "colour", "mix", "erase")


@functools.cache
def both_methods(**options):
    """Returns a layer for each method, made once: on JAX a layer compiles its own program."""
    return [Render(fill_value=FILL_VALUE, method=method, **options) for method in RENDER_METHODS]


def images(inputs, *, jit=False, **options):
    """Returns the images of both methods, gather first."""
    return [np.asarray(layer(inputs)) for layer in both_methods(jit=jit, **options)]


@many
@given(
    st.sampled_from(TEXTS),
    st.sampled_from(FILLS),
    st.sampled_from(list(SIZES)),
    st.tuples(st.integers(1, CANVAS), st.integers(1, CANVAS)),
    st.sampled_from(["squash", "crop", "pad"]),
    st.integers(0, 2**31),
)
def test_the_image_equals_that_of_the_gather(text, fill, size, extent, fit, seed):
    canvas, extents = on_canvas(photo_like(*extent, seed=seed))
    draws = parse_recipe(text).draw(
        seed=seed, epoch=0, row=np.array([3]), extent=extents, image_size=SIZES[size], fit=fit
    )
    reduced = reductions(draws.geometry[0], extent, image_size=SIZES[size])
    assume(np.abs(reduced - 1.5).min() > 1e-4)  # else rounding decides between one sample and four
    inputs = {"canvas": canvas, "extent": extents, "geometry": draws.geometry, "colour": draws.colour}
    gathered, multiplied = images(inputs, fill=fill, image_size=SIZES[size])
    np.testing.assert_allclose(multiplied, gathered, atol=0.01)


@pytest.mark.parametrize("fill", some(FILLS))
def test_both_methods_mix_erase_and_pad_a_batch_in_the_same_way(fill):
    recipe = parse_recipe("crop(0.1)|flip|saturation(0,2)|mixup(1,p=0.5)|cutmix|erase")
    canvas, extent = on_canvas(*(photo_like(20 + 4 * k, 46 - 3 * k, seed=k) for k in range(6)))
    extent[5] = 0.0
    draws = recipe.draw(seed=4, epoch=1, row=np.array([0, 1, 2, 3, 4, -1]), extent=extent, image_size=(20, 24))
    inputs = {"canvas": canvas, "extent": extent} | {name: getattr(draws, name) for name in KEYS[2:]}
    gathered, multiplied = images(inputs, fill=fill, image_size=(20, 24), jit=fill == "constant", **ALL)
    assert np.isfinite(multiplied).all()
    np.testing.assert_allclose(multiplied, gathered, atol=0.01)


@pytest.mark.parametrize("text", ["rotate(20)", "shear(20)", "perspective(0.2)"])
def test_a_photo_that_is_not_axis_aligned_becomes_nan_instead_of_wrong(text):
    canvas, extent = on_canvas(photo_like(40, 48), photo_like(40, 48))
    draws = parse_recipe(text).draw(seed=0, epoch=0, row=np.array([1]), extent=extent[:1], image_size=(8, 9))
    geometry = np.concatenate([IDENTITY, draws.geometry])
    inputs = {"canvas": canvas, "extent": extent, "geometry": geometry, "colour": np.tile(PLAIN, (2, 1, 1))}
    _, multiplied = images(inputs, fill="edge", image_size=(8, 9))
    assert np.isfinite(multiplied[0]).all()
    assert np.isnan(multiplied[1]).all()


def test_three_passes_of_bfloat16_are_exact_enough():
    """Precision.HIGH on a TPU: operands are split into 8 and 8 bits, and the product of the lower halves is dropped."""
    ml_dtypes = pytest.importorskip("ml_dtypes")

    def split(matrix):
        high = matrix.astype(ml_dtypes.bfloat16).astype(np.float32)
        return high, (matrix - high).astype(ml_dtypes.bfloat16).astype(np.float32)

    def product(left, right):
        (a, b), (c, d) = split(left), split(right)
        return a @ c + (a @ d + b @ c)

    size, side = 224, 320
    position = (np.linspace(-0.9, 0.93, size, dtype=np.float32) + 1) / 2 * side - 0.5
    weights = np.maximum(1 - np.abs(position[:, None] - np.arange(side, dtype=np.float32)), 0)
    photo = photo_like(side, side).astype(np.float32)[..., 0]
    exact = weights.astype(np.float64) @ photo.astype(np.float64) @ weights.T.astype(np.float64)
    assert np.abs(product(product(weights, photo), weights.T) - exact).max() < 0.01
    halved = weights.astype(ml_dtypes.bfloat16).astype(np.float64)
    assert np.abs(halved @ photo @ halved.T - exact).max() > 0.1  # and one pass is not


# --- the choice


@pytest.mark.parametrize(
    ("render", "platform", "not_axis_aligned", "method"),
    [
        ("auto", "tpu", [], "separable"),
        ("auto", "tpu", ["rotate"], "gather"),
        ("auto", "cpu", [], "gather"),
        ("auto", "gpu", [], "gather"),
        ("gather", "tpu", [], "gather"),
        ("gather", "tpu", ["rotate"], "gather"),
        ("separable", "cpu", [], "separable"),
        ("separable", "tpu", [], "separable"),
    ],
)
def test_the_choice_follows_flag_device_and_recipe(render, platform, not_axis_aligned, method, monkeypatch):
    monkeypatch.setattr(separable, "platform", lambda: platform)
    assert separable.choose_method(render, not_axis_aligned=not_axis_aligned) == method
    line = separable.describe_method(method, not_axis_aligned=not_axis_aligned) or ""
    expected = "Render: separable" if method == "separable" else "Render: gather, which is slow" * (platform == "tpu")
    assert line.startswith(expected)
    assert ("because rotate in --augment" in line) is (not_axis_aligned == ["rotate"])


def test_separable_with_operations_that_are_not_axis_aligned_is_refused_by_name():
    names = parse_recipe("flip|rotate(10)|shear(5)").not_axis_aligned
    with pytest.raises(UserError, match=r"--render=separable can only .* photos with rotate, shear: remove that"):
        separable.choose_method("separable", not_axis_aligned=names)


def test_separable_is_refused_if_tensorflow_would_round(monkeypatch):
    monkeypatch.setattr(separable, "platform", lambda: "gpu")
    monkeypatch.setattr(separable.keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(UserError, match="rounds to TF32 on a GPU"):
        separable.choose_method("separable", not_axis_aligned=[])


def test_an_unknown_method_is_refused():
    with pytest.raises(UserError, match=r"method is 'fast': give gather or separable\."):
        Render(image_size=(8, 8), method="fast")


@pytest.mark.parametrize("name", RECIPES)
def test_an_operation_is_axis_aligned_if_its_row_says_so(name):
    operation = RECIPES[name]
    rows = np.arange(64)
    draws = parse_recipe(operation.example).draw(
        seed=0, epoch=0, row=rows, extent=np.full((64, 2), 40, np.float32), image_size=(30, 40)
    )
    off_axis = bool(np.any(draws.geometry[:, [0, 1, 2, 2], [1, 0, 0, 1]] != 0.0))
    assert off_axis == (operation.is_geometric and not operation.axis_aligned)
    assert parse_recipe(operation.example).not_axis_aligned == ((name,) if off_axis else ())


@pytest.mark.parametrize(
    ("text", "axis_aligned"),
    [
        ("clean|flip|vflip|zoom(2)|shift(0.2,0.1)|five_crop|flip+zoom(1.1)|random(1,flip|shift(0.1))", True),
        ("rotate(5)|rotate(180)|flip+rotate(-3)|random(2)|random(1,perspective(0.1))", False),
    ],
)
def test_views_know_whether_they_are_axis_aligned(text, axis_aligned):
    assert {view.axis_aligned for view in parse_views(text)} == {axis_aligned}


@pytest.mark.parametrize(
    ("text", "affine", "per_channel"),
    [
        ("clean|flip|zoom(2)|rotate(5)|flip+rotate(-3)|five_crop|random(1,rotate(9)|brightness(0.2))", True, True),
        ("random(1,perspective(0.1))", False, True),
        ("random(2,flip|hue(9))", True, False),
        ("random(1,perspective(0.1)|saturation(0.5))", False, False),
    ],
)
def test_views_know_whether_they_have_perspectives_and_mix_channels(text, affine, per_channel):
    views = parse_views(text)
    assert {view.affine for view in views} == {affine}
    assert {view.per_channel for view in views} == {per_channel}


# --- costs


def costs(*, image_size: int, canvas_size: int, samples: int) -> dict[str, tuple[float, float, int]]:
    """Returns the minimal FLOPs, memory traffic in bytes and gathered rows per photo, by method.

    Separable: two products; it reads the canvas and both weights, writes and reads the intermediate product, and writes
    the image. Gather: per sample, 4 neighbours of 3 channels with a multiplication and an addition each, and the
    position.

    Args:
      image_size: side of the image in pixels.
      canvas_size: side of the canvas in pixels.
      samples: 1, or 4 if the photo is reduced by more than 1.5.
    """
    size, side, image_bytes = image_size, canvas_size, 12 * image_size**2
    products = 2 * 3 * size * side * (side + size)
    multiplied = 3 * side**2 + 2 * 4 * size * side + 2 * 12 * size * side + image_bytes
    rows = 4 * samples * size**2
    gathered = (2 * 3 * rows + 20 * samples * size**2, 3 * rows + image_bytes, rows)
    return {"separable": (products, multiplied, 0), "gather": gathered}


@pytest.mark.parametrize(("image_size", "canvas_size", "samples"), [(224, 320, 1), (300, 640, 4), (512, 640, 1)])
def test_the_table_of_costs_equals_the_formulas(image_size, canvas_size, samples):
    counted = costs(image_size=image_size, canvas_size=canvas_size, samples=samples)
    (line,) = re.findall(rf"EfficientNet B\d, {image_size} +(.*)", separable.sample_separably.__doc__)
    canvas, *cells = (float(cell.replace(",", "")) for cell in line.split())
    (flops, moved, _), (gather_flops, gather_moved, rows) = counted["separable"], counted["gather"]
    assert (canvas, cells[4]) == (canvas_size, rows)
    assert cells[0] == pytest.approx(flops / 1e9, abs=0.006)
    assert cells[1] == pytest.approx(moved / 1e6, abs=0.06)
    assert cells[2] == pytest.approx(gather_flops / 1e9, abs=0.0006)
    assert cells[3] == pytest.approx(gather_moved / 1e6, abs=0.06)
