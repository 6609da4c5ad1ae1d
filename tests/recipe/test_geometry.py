"""Geometry: every operation moves points as its docstring says, and a chain moves them as its parts do."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from carclf.recipe import geometry, parse_recipe

SQUARE = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]
OPERATIONS = ["flip(1)", "vflip(1)", "rotate(40)", "shift(0.2,0.3)", "zoom(0.2,0.4)", "shear(20,15)"]
OPERATIONS += ["perspective(0.3)", "crop(0.3,0.9,2)", "randaugment(2,9)", "trivial"]


def move(matrix, point):
    """Returns the new position of the picture's point (u, v); the operation's matrix maps backwards."""
    u, v, w = np.linalg.inv(np.asarray(matrix, np.float64)) @ [*point, 1.0]
    return np.array([u / w, v / w])


def shown(matrix, point):
    """Returns the picture's point that the output shows at (u, v)."""
    u, v, w = np.asarray(matrix, np.float64) @ [*point, 1.0]
    return np.array([u / w, v / w])


def test_a_positive_rotation_is_counter_clockwise():
    # In a picture twice as wide as high, the middle of the right edge goes to the top: two half heights up.
    moved = move(geometry.rotation(np.deg2rad([90.0]), aspect=2.0)[0], (1.0, 0.0))
    np.testing.assert_allclose(moved, [0.0, -2.0], atol=1e-12)


@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.75])
def test_a_rotation_keeps_distances_in_output_pixels(aspect):
    size = np.array([aspect, 1.0])
    matrix = geometry.rotation(np.deg2rad([33.0]), aspect=aspect)[0]
    for point in ([0.3, 0.4], [-1.0, 1.0]):
        assert np.linalg.norm(move(matrix, point) * size) == pytest.approx(np.linalg.norm(np.array(point) * size))


@pytest.mark.parametrize(
    ("matrix", "point", "expected"),
    [
        (geometry.translation(0.1, -0.2, batch=1), (0.0, 0.0), (0.2, -0.4)),
        (geometry.scaling(0.5, 0.25, batch=1), (0.1, 0.1), (0.2, 0.4)),
        (geometry.scaling(-1.0, 1.0, batch=1), (0.3, 0.4), (-0.3, 0.4)),
        (geometry.shearing(np.array([0.5]), np.array([0.0]), aspect=1.0), (0.0, 1.0), (0.5, 1.0)),
        (geometry.shearing(np.array([0.5]), np.array([0.0]), aspect=2.0), (0.0, 1.0), (0.25, 1.0)),
        (geometry.shearing(np.array([0.0]), np.array([0.5]), aspect=2.0), (1.0, 0.0), (1.0, 1.0)),
        (geometry.shearing(np.array([0.5]), np.array([0.5]), aspect=1.0), (0.0, 1.0), (0.5, 1.25)),
        (geometry.window(0.5, -0.5, 0.5, 0.5, batch=1), (1.0, -1.0), (1.0, -1.0)),
        (geometry.window(0.5, -0.5, 0.5, 0.5, batch=1), (0.5, -0.5), (0.0, 0.0)),
    ],
)
def test_where_points_go(matrix, point, expected):
    np.testing.assert_allclose(move(matrix[0], point), expected, atol=1e-12)


@given(st.lists(st.floats(-0.45, 0.45), min_size=8, max_size=8))
def test_a_homography_shows_the_given_points_in_the_corners(displacement):
    corners = np.array(SQUARE) + np.reshape(displacement, (4, 2))
    matrix = geometry.homography(corners[None])[0]
    for corner, expected in zip(SQUARE, corners, strict=True):
        np.testing.assert_allclose(shown(matrix, corner), expected, atol=1e-9)
    # Lines stay lines: no output point lies beyond the horizon.
    assert min(matrix[2] @ [u, v, 1.0] for u, v in SQUARE) > 0.0


@pytest.mark.parametrize(
    ("fit", "extent", "aspect", "corner"),
    [
        ("squash", (300, 700), 1.0, (1.0, 1.0)),
        ("crop", (300, 600), 1.0, (0.5, 1.0)),
        ("crop", (600, 300), 1.0, (1.0, 0.5)),
        ("crop", (300, 600), 4.0, (1.0, 0.5)),
        ("pad", (300, 600), 1.0, (1.0, 2.0)),
        ("pad", (600, 300), 1.0, (2.0, 1.0)),
        ("pad", (300, 600), 2.0, (1.0, 1.0)),
    ],
)
def test_fit_shows_in_the_lower_right_corner(fit, extent, aspect, corner):
    matrix = geometry.fitting(np.array([extent]), aspect=aspect, fit=fit)[0]
    np.testing.assert_allclose(shown(matrix, (1.0, 1.0)), corner)


def test_an_unknown_fit_is_refused():
    with pytest.raises(ValueError, match="fit must be one of squash, crop"):
        geometry.fitting(np.ones((1, 2)), aspect=1.0, fit="stretch")


@settings(deadline=None)
@given(
    st.permutations(OPERATIONS).flatmap(lambda names: st.integers(1, 5).map(lambda count: names[:count])),
    st.integers(0, 2**32),
    st.tuples(st.integers(16, 640), st.integers(16, 640)),
    st.tuples(st.integers(16, 512), st.integers(16, 512)),
    st.sampled_from(["squash", "crop", "pad"]),
    st.tuples(st.floats(-0.9, 0.9), st.floats(-0.9, 0.9)),
)
def test_a_chain_moves_points_as_its_operations_one_by_one(names, seed, extent, image_size, fit, point):
    def drawn(text):
        """Returns the matrix; every operation has a stream of its own, so a chain draws what its parts draw."""
        return (
            parse_recipe(text)
            .draw(seed=seed, epoch=2, row=np.array([17]), extent=np.float32([extent]), image_size=image_size, fit=fit)
            .geometry[0]
            .astype(np.float64)
        )

    base = drawn("")
    expected = move(base, point)
    for name in names:
        step = np.linalg.inv(base) @ drawn(name)
        expected = move(step, expected)
        assume(step[2] @ [*expected, 1.0] > 0.2)  # perspective sends some points to infinity
        assume(np.abs(expected).max() < 10)
    matrix = drawn("|".join(names))
    rounding = 1e-5 * max(1.0, np.abs(matrix).max() / 10)  # float32; a padded narrow photo has large entries
    np.testing.assert_allclose(shown(matrix, expected), point, atol=rounding)
