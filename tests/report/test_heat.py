import numpy as np
import pytest

from carclf.recipe import parse_recipe
from carclf.report.heat import overlay

GREY = np.full((60, 80, 3), 120, np.uint8)


def changed(picture: np.ndarray, photo: np.ndarray = GREY) -> np.ndarray:
    return np.abs(picture.astype(int) - photo).max(axis=-1) > 8


def test_without_heat_a_grey_photo_does_not_change():
    np.testing.assert_array_equal(overlay(GREY, np.zeros((3, 4))), GREY)


def test_heat_has_the_right_position_in_the_photo():
    heat = np.zeros((6, 8))
    heat[1, 6] = 1.0
    picture = overlay(GREY, heat)
    assert picture.shape == GREY.shape
    assert picture.dtype == np.uint8
    y, x = np.argwhere(changed(picture)).mean(axis=0)
    assert (y, x) == (pytest.approx(15, abs=1.5), pytest.approx(65, abs=1.5))
    red, _, blue = picture[15, 65].astype(int)
    assert red > blue + 30  # the hottest position is red


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_the_map_of_a_framed_photo_covers_the_photo(fit):
    # A square image of an upright photo: a crop shows only its middle, a pad has padding at the sides.
    photo = np.full((80, 40, 3), 120, np.uint8)
    draws = parse_recipe("").draw(
        seed=0, epoch=0, row=np.array([0]), extent=np.array([[80.0, 40.0]], np.float32), image_size=(32, 32), fit=fit
    )
    picture = overlay(photo, np.ones((8, 8)), geometry=draws.geometry[0])
    seen = changed(picture, photo)
    rows = np.flatnonzero(seen.all(axis=1))
    first, last = {"squash": (0, 79), "crop": (20, 59), "pad": (0, 79)}[fit]
    assert (rows.min(), rows.max()) == (pytest.approx(first, abs=3), pytest.approx(last, abs=3))
    if fit == "pad":
        heat = np.zeros((8, 8))
        heat[:, 4:6] = 1.0  # right of the middle of the image: the right half of the photo, which is half as wide
        columns = np.flatnonzero(changed(overlay(photo, heat, geometry=draws.geometry[0]), photo).all(axis=0))
        assert columns.min() == pytest.approx(20, abs=5)
        assert columns.max() == 39
