"""Draws: pure functions of (seed, epoch, row), distributed as documented, consistent within pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carclf.errors import UserError
from carclf.recipe import RECIPES, mix_targets, parse_recipe

FIELDS = ("geometry", "colour", "mix", "erase")
EVERYTHING = (
    "flip|vflip|rotate(10)|shift(0.1)|zoom(0.2,0.1)|shear(10,5)|perspective(0.2)|crop|brightness(0.5,1.5,20)|"
    "contrast(0.2)|saturation(0.5)|hue(20)|grayscale|channel_shift(20)|erase|mixup|cutmix|randaugment|trivial(p=0.5)"
)
SIZE = (96, 128)
COUNT = 20_000


def draw(text, *, row, seed=11, epoch=0, extent=None, **options):
    row = np.asarray(row)
    extent = np.tile(np.float32([480, 640]), (len(row), 1)) if extent is None else extent
    return parse_recipe(text).draw(seed=seed, epoch=epoch, row=row, extent=extent, image_size=SIZE, **options)


def same(left, right):
    return all(np.array_equal(getattr(left, field), getattr(right, field)) for field in FIELDS)


def test_contract():
    draws = draw(EVERYTHING, row=np.arange(6))
    for field, shape in zip(FIELDS, [(6, 3, 3), (6, 3, 4), (6, 5), (6, 7)], strict=True):
        array = getattr(draws, field)
        assert array.dtype == np.float32
        assert array.shape == shape
        assert np.isfinite(array).all()


def test_the_identity_recipe():
    draws = draw("", row=np.arange(3))
    np.testing.assert_array_equal(draws.geometry, np.tile(np.eye(3), (3, 1, 1)))
    np.testing.assert_array_equal(draws.colour, np.tile(np.eye(3, 4), (3, 1, 1)))
    np.testing.assert_array_equal(draws.mix, np.tile([1, 0, 0, 0, 0], (3, 1)))
    np.testing.assert_array_equal(draws.erase, np.zeros((3, 7)))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 2**31 - 2), min_size=1, max_size=24, unique=True),
    st.integers(0, 2**40),
    st.integers(0, 1000),
    st.data(),
)
def test_pure_for_any_batch_order_size_and_restart(pairs, seed, epoch, data):
    """Batches are made of pairs, as mixing needs; whichever batch holds a pair, it draws the same."""
    rows = np.array([[first, first + 1] for first in pairs])
    rng = np.random.default_rng(7)
    extents = rng.integers(10, 640, (len(pairs), 2, 2)).astype(np.float32)
    together = draw(EVERYTHING, row=rows.ravel(), seed=seed, epoch=epoch, extent=extents.reshape(-1, 2), fit="crop")
    chosen = data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1, max_size=6))
    again = draw(
        EVERYTHING, row=rows[chosen].ravel(), seed=seed, epoch=epoch, extent=extents[chosen].reshape(-1, 2), fit="crop"
    )
    for field in FIELDS:
        whole = getattr(together, field)
        expected = whole.reshape(len(pairs), 2, *whole.shape[1:])[chosen].reshape(-1, *whole.shape[1:])
        np.testing.assert_array_equal(getattr(again, field), expected)


def test_seed_and_epoch_change_every_photo():
    base = draw("rotate(10)", row=np.arange(50)).geometry
    for change in ({"seed": 12}, {"epoch": 1}):
        assert (draw("rotate(10)", row=np.arange(50), **change).geometry != base).any(axis=(1, 2)).all()


def test_an_added_operation_changes_no_other():
    rows = np.arange(40)
    alone = draw("rotate(10)|brightness(0.5,1.5)", row=rows)
    more = draw("erase|hue(3)|rotate(10)|contrast(0.1)|mixup|brightness(0.5,1.5)", row=rows)
    np.testing.assert_array_equal(alone.geometry, more.geometry)
    np.testing.assert_array_equal(draw("erase", row=rows).erase, more.erase)
    np.testing.assert_array_equal(draw("mixup", row=rows).mix, more.mix)


def test_the_same_operation_twice_draws_twice():
    angles = draw("rotate(10)", row=np.arange(9)).geometry[:, 0, 0]
    both = draw("rotate(10)|rotate(10)", row=np.arange(9)).geometry[:, 0, 0]
    assert (np.abs(np.cos(2 * np.arccos(angles.astype(float))) - both) > 1e-6).all()


def test_a_chance_touches_that_share_and_changes_no_draw():
    always = draw("rotate(10)", row=np.arange(COUNT)).geometry
    sometimes = draw("rotate(10,p=0.3)", row=np.arange(COUNT)).geometry
    touched = (sometimes != np.eye(3, dtype=np.float32)).any(axis=(1, 2))
    assert touched.mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_array_equal(sometimes[touched], always[touched])


# --- padding, strength, refusals


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_padding_gets_the_identity_and_so_does_its_partner_in_mixing(fit):
    row = np.array([4, 5, 6, -1, -1, -1])
    extent = np.float32([[480, 640]] * 3 + [[0, 0]] * 3)
    draws = draw(EVERYTHING, row=row, extent=extent, fit=fit)
    identity = draw("", row=np.arange(3))
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(draws, field)[3:], getattr(identity, field))
    np.testing.assert_array_equal(draws.mix[2], [1, 0, 0, 0, 0])
    assert (draws.mix[:2, 0] < 1).all()


@pytest.mark.parametrize("name", RECIPES)
def test_strength_zero_is_the_identity_and_small_strength_is_near_it(name):
    text = {
        "rotate": "rotate(30)", "shift": "shift(0.3)", "zoom": "zoom(0.3)", "shear": "shear(20)",
        "perspective": "perspective(0.3)", "brightness": "brightness(0.5,1.5,30)", "contrast": "contrast(0.5)",
        "saturation": "saturation(0.5)", "hue": "hue(40)", "channel_shift": "channel_shift(40)",
        "cutout": "cutout(0.5)",
    }.get(name, name)  # fmt: skip
    rows = np.arange(400)
    identity = draw("", row=rows)
    assert same(draw(text, row=rows, strength=0.0), identity)
    assert not same(draw(text, row=rows, strength=1.0), identity)

    def distance(strength):
        drawn = draw(text, row=rows, strength=strength)
        # Of a mix and an erased box their share of the photo counts, not where they lie.
        erased_area = np.prod(drawn.erase[:, 2:4] - drawn.erase[:, :2], axis=1).mean()
        moved = sum(np.abs(getattr(drawn, field) - getattr(identity, field)).mean() for field in FIELDS[:2])
        return moved + (1 - drawn.mix[:, 0]).mean() + erased_area

    assert 0 < distance(0.25) < 0.6 * distance(1.0)


def test_half_strength_is_half_the_range():
    rows = np.arange(100)
    assert same(
        draw("rotate(10)|zoom(0.2)|hue(9)", row=rows, strength=0.5), draw("rotate(5)|zoom(0.1)|hue(4.5)", row=rows)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": -1}, "epoch must be 0 or more"),
        ({"epoch": 2**31}, "below 2"),
        ({"strength": 1.5}, "strength must lie in 0..1"),
        ({"fit": "stretch"}, "fit must be one of"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        draw("flip", row=[1, 2], **options)


def test_an_odd_batch_is_refused_when_the_recipe_mixes():
    with pytest.raises(UserError, match="mixes photos in pairs, but a batch holds 3"):
        draw("flip|mixup", row=[1, 2, 3])
    draw("flip|erase", row=[1, 2, 3])


# --- distributions

ASPECT = SIZE[1] / SIZE[0]


def angle(draws):
    return np.rad2deg(np.arctan2(-draws.geometry[:, 0, 1].astype(float) * ASPECT, draws.geometry[:, 0, 0]))


def erased(draws):
    box = draws.erase[draws.erase[:, 2] > 0].astype(float)
    return box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]


def offset(channel):
    return lambda draws: draws.colour[:, channel, 3]


def gain(draws):
    return draws.colour[:, 0, 0]


# recipe, what to measure, and the documented uniform range of it
UNIFORM = [
    ("rotate(10)", angle, -10, 10),
    ("shift(0.1)", lambda d: d.geometry[:, 0, 2], -0.2, 0.2),
    ("shift(0.1)", lambda d: d.geometry[:, 1, 2], -0.2, 0.2),
    ("shift(0.1,0.3)", lambda d: d.geometry[:, 1, 2], -0.6, 0.6),
    ("zoom(0.2)", lambda d: 1 / d.geometry[:, 0, 0], 0.8, 1.2),
    ("zoom(0.2,0.4)", lambda d: 1 / d.geometry[:, 1, 1], 0.6, 1.4),
    ("shear(20)", lambda d: np.rad2deg(np.arctan(-d.geometry[:, 0, 1] * ASPECT)), -20, 20),
    ("crop(0.2,1,1)", lambda d: d.geometry[:, 0, 0] * d.geometry[:, 1, 1], 0.2, 1.0),
    ("crop(0.25,0.25,1)", lambda d: d.geometry[:, 0, 2], -0.5, 0.5),
    ("crop(0.2,0.2,2)", lambda d: np.log2(d.geometry[:, 0, 0] / d.geometry[:, 1, 1]), -1, 1),
    ("brightness(0.5,1.5)", gain, 0.5, 1.5),
    ("brightness(0.3)", gain, 0.7, 1.3),
    ("brightness(add=30)", offset(1), -30, 30),
    ("contrast(0.5,2)", gain, 0.5, 2),
    ("saturation(0,2)", lambda d: d.colour[:, 0, 0] - d.colour[:, 1, 0], 0, 2),
    ("channel_shift(30)", offset(0), -30, 30),
    ("channel_shift(30)", offset(2), -30, 30),
    ("erase(fill=random)", lambda d: d.erase[d.erase[:, 2] > 0, 5], 0, 255),
    ("mixup(1)", lambda d: d.mix[::2, 0], 0, 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "measure", "low", "high"), UNIFORM)
def test_uniform_over_the_documented_range(text, measure, low, high):
    values = np.sort(np.asarray(measure(draw(text, row=np.arange(COUNT))), float))
    expected = (np.arange(len(values)) + 0.5) / len(values)
    distance = np.abs((values - low) / (high - low) - expected).max()
    assert distance < 1.95 / np.sqrt(len(values))  # Kolmogorov–Smirnov, p = 0.001
    assert low - 1e-4 <= values[0] < low + 0.01 * (high - low)
    assert high + 1e-4 >= values[-1] > high - 0.01 * (high - low)


@pytest.mark.parametrize(
    ("text", "touched", "share"),
    [
        ("flip", lambda d: d.geometry[:, 0, 0] < 0, 0.5),
        ("vflip(0.1)", lambda d: d.geometry[:, 1, 1] < 0, 0.1),
        ("grayscale", lambda d: d.colour[:, 0, 1] > 0, 0.2),
        ("erase", lambda d: d.erase[:, 2] > 0, 0.5),
        ("randaugment(1,9)", lambda d: d.geometry[:, 0, 1] != 0, 2 / 9),
        ("trivial", lambda d: d.colour[:, 0, 0] != 1, 3 / 9),
    ],
)
def test_shares(text, touched, share):
    assert touched(draw(text, row=np.arange(COUNT))).mean() == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 4.0])
def test_mixup_is_beta(alpha):
    share = draw(f"mixup({alpha})", row=np.arange(2 * COUNT)).mix[::2, 0].astype(float)
    assert share.mean() == pytest.approx(0.5, abs=0.015)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
    np.testing.assert_allclose(np.mean((share - 0.5) ** 4), 3 / (16 * (2 * alpha + 1) * (2 * alpha + 3)), rtol=0.05)


def test_erased_boxes_have_the_documented_area_and_shape():
    height, width = erased(draw("erase(0.1,0.2,2)", row=np.arange(COUNT)))
    pixel = 1 / 96  # boxes are rounded to whole pixels
    area, shape = height * width, np.log(width / height * ASPECT)
    assert 0.1 - 1.5 * pixel < area.min() < 0.11
    assert 0.19 < area.max() < 0.2 + 1.5 * pixel
    assert area.mean() == pytest.approx(0.15, abs=0.002)
    assert shape.mean() == pytest.approx(0, abs=0.01)
    assert shape.std() == pytest.approx(np.log(2) / np.sqrt(3), rel=0.03)


def test_cutout_is_a_square_in_pixels_cut_at_the_edges():
    height, width = erased(draw("cutout(0.5)", row=np.arange(COUNT)))
    assert height.max() * 96 == pytest.approx(48, abs=1)
    assert width.max() * 128 == pytest.approx(48, abs=1)
    # The centre is uniform: sides of half the height are cut when it lies in the outer quarter.
    assert (height * 96 < 47).mean() == pytest.approx(0.5, abs=0.03)


# --- mixing


@pytest.mark.parametrize("text", ["mixup", "cutmix", "mixup(0.4,p=0.5)|cutmix(1,p=0.5)"])
def test_both_photos_of_a_pair_get_the_same_mix(text):
    mix = draw(text, row=np.random.default_rng(0).permutation(400)).mix
    np.testing.assert_array_equal(mix[0::2], mix[1::2])


def test_a_mix_depends_on_the_row_of_the_first_photo_alone():
    np.testing.assert_array_equal(draw("mixup", row=[7, 8]).mix, draw("mixup", row=[7, 99]).mix)


@pytest.mark.parametrize("text", ["cutmix(1)", "cutmix(0.3)"])
def test_lambda_is_exactly_the_share_of_pixels_outside_the_box(text):
    mix = draw(text, row=np.arange(4000)).mix.astype(float)
    pixels = mix[:, 1:] * [96, 128, 96, 128]
    np.testing.assert_allclose(pixels, np.round(pixels), atol=1e-4)
    y0, x0, y1, x1 = np.round(pixels).astype(int).T
    np.testing.assert_allclose(mix[:, 0], 1 - (y1 - y0) * (x1 - x0) / (96 * 128), atol=1e-6)
    empty = (y1 - y0) * (x1 - x0) == 0
    assert (mix[empty] == [1, 0, 0, 0, 0]).all()


def test_of_two_mixing_operations_each_pair_gets_one():
    mix = draw("mixup(1)|cutmix(1)", row=np.arange(COUNT)).mix[::2]
    boxes = mix[:, 3] > 0
    assert boxes.mean() == pytest.approx(0.5, abs=0.02)
    assert (mix[:, 0] < 1).mean() > 0.98
    never = draw("mixup(1,p=0)|cutmix(1,p=0.25)", row=np.arange(COUNT)).mix[::2]
    assert (never[:, 0] < 1).mean() == pytest.approx(0.25, abs=0.02)


def test_mix_targets():
    target = np.eye(4, dtype=np.float32)
    mix = np.float32([[0.75, 0, 0, 0.5, 0.5]] * 2 + [[1, 0, 0, 0, 0]] * 2)
    mixed = mix_targets(target, mix)
    assert mixed.dtype == np.float32
    np.testing.assert_array_equal(mixed, [[0.75, 0.25, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    with pytest.raises(ValueError, match="the batch must be even"):
        mix_targets(target[:3], mix[:3])


@given(st.integers(0, 1000))
def test_mixed_targets_are_distributions(epoch):
    target = np.random.default_rng(epoch).dirichlet(np.ones(5), 8).astype(np.float32)
    mixed = mix_targets(target, draw("mixup|cutmix", row=np.arange(8), epoch=epoch).mix)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(mixed.sum(axis=0), target.sum(axis=0), atol=1e-5)
