"""Colour matrices equal their operations, written out for one pixel."""

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carclf.recipe import colour, parse_recipe

pixels = st.tuples(*[st.floats(0, 255)] * 3).map(np.array)
factors = st.floats(0, 3)


def apply(matrix, pixel):
    assert matrix.shape == (1, 4, 4)
    assert matrix[0, 3].tolist() == [0, 0, 0, 1]
    return matrix[0, :3] @ [*pixel, 1.0]


def luma(pixel):
    red, green, blue = pixel
    return 0.299 * red + 0.587 * green + 0.114 * blue


@given(pixels, factors, st.floats(-99, 99))
def test_brightness(pixel, factor, offset):
    np.testing.assert_allclose(
        apply(colour.gain(np.array([factor]), offset), pixel), pixel * factor + offset, atol=1e-9
    )


@given(pixels, factors)
def test_contrast(pixel, factor):
    expected = (pixel - 127.5) * factor + 127.5
    np.testing.assert_allclose(apply(colour.contrast(np.array([factor])), pixel), expected, atol=1e-9)


@given(pixels, factors)
def test_saturation(pixel, factor):
    expected = luma(pixel) + factor * (pixel - luma(pixel))
    np.testing.assert_allclose(apply(colour.saturation(np.array([factor])), pixel), expected, atol=1e-9)


@given(pixels)
def test_grayscale(pixel):
    grey = 0.2989 * pixel[0] + 0.5870 * pixel[1] + 0.1140 * pixel[2]
    np.testing.assert_allclose(apply(colour.grayscale(1), pixel), [grey] * 3, atol=1e-9)


@given(pixels, st.floats(-180, 180))
def test_hue_keeps_luma_and_chroma_and_rotates_by_the_angle(pixel, degrees):
    rotated = apply(colour.hue(np.deg2rad([degrees])), pixel)
    before, after = colour.RGB_TO_YIQ @ pixel, colour.RGB_TO_YIQ @ rotated
    assert after[0] == pytest.approx(before[0], abs=1e-6)
    expected = complex(*before[1:]) * np.exp(1j * np.deg2rad(degrees))
    assert complex(*after[1:]) == pytest.approx(expected, abs=1e-6)


def test_yiq_matches_the_standard_library_within_its_rounding():
    for pixel in np.eye(3):
        np.testing.assert_allclose(colour.RGB_TO_YIQ @ pixel, colorsys.rgb_to_yiq(*pixel), atol=0.006)


@pytest.mark.parametrize("matrix", [colour.hue(np.array([1.0])), colour.saturation(np.array([0.3]))])
def test_greys_stay_grey(matrix):
    np.testing.assert_allclose(apply(matrix, [90.0, 90.0, 90.0]), [90.0] * 3, atol=1e-9)


def test_the_first_operation_acts_first():
    draw = {"seed": 3, "epoch": 0, "row": np.arange(4), "extent": np.ones((4, 2), np.float32), "image_size": (8, 8)}
    first, second, both = (
        parse_recipe(text).draw(**draw).colour
        for text in ("brightness(0.5,0.5)", "contrast(2,2)", "brightness(0.5,0.5)|contrast(2,2)")
    )
    pixel = np.array([10.0, 20.0, 30.0])
    step = first[:, :, :3] @ pixel + first[:, :, 3]
    expected = np.einsum("bij,bj->bi", second[:, :, :3], step) + second[:, :, 3]
    np.testing.assert_allclose(both[:, :, :3] @ pixel + both[:, :, 3], expected, atol=1e-4)
    np.testing.assert_allclose(expected[0], (pixel * 0.5 - 127.5) * 2 + 127.5, atol=1e-4)
