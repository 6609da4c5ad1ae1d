"""One photo: a pure function of seed and Id that shows a car of the requested kind."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from carclf.synthetic.camera import place_camera
from carclf.synthetic.draw import draw_jpeg
from carclf.synthetic.kinds import CAR_KINDS
from carclf.synthetic.palette import generator
from carclf.synthetic.profile import above, below, profile_of, rounded

SIZE = (128, 96)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)), np.float32)


def draw(**changes) -> bytes:
    return draw_jpeg(**{"kind": 0, "photo_id": "100155.jpg", "seed": 42, "size": SIZE, **changes})


def test_the_same_call_draws_the_same_bytes():
    assert draw() == draw()


@pytest.mark.parametrize("change", [{"kind": 1}, {"photo_id": "100156.jpg"}, {"seed": 43}], ids=str)
def test_kind_id_and_seed_each_change_the_photo(change):
    assert draw(**change) != draw()


def test_another_kind_changes_the_car_and_not_the_sky():
    saloon, hatchback = pixels(draw(kind=0)), pixels(draw(kind=1))
    change = np.abs(saloon - hatchback).mean(2)
    assert change.max() > 60
    assert np.median(change) < 12


@pytest.mark.parametrize("kind", range(len(CAR_KINDS)), ids=[kind.name for kind in CAR_KINDS])
def test_photos_are_baseline_rgb_jpeg_of_the_size_or_upright(kind):
    sizes = set()
    for number in range(40):
        with Image.open(io.BytesIO(draw(kind=kind, photo_id=f"{number}.jpg"))) as photo:
            assert (photo.format, photo.mode, photo.info.get("progressive")) == ("JPEG", "RGB", None)
            sizes.add(photo.size)
    assert sizes <= {SIZE, SIZE[::-1]}


def test_about_one_photo_in_twelve_is_upright():
    upright = sum(Image.open(io.BytesIO(draw(photo_id=f"{n}.jpg", size=(64, 48)))).height == 64 for n in range(300))
    assert 9 <= upright <= 45


def test_full_size_files_are_as_large_as_adverts():
    sizes = [len(draw(photo_id=f"{n}.jpg", kind=n % 10, size=(640, 480))) for n in range(20)]
    assert 30_000 < np.mean(sizes) < 90_000


@pytest.mark.parametrize("number", range(len(CAR_KINDS)), ids=[kind.name for kind in CAR_KINDS])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (640, 240)], ids=["wide", "upright", "strip"])
def test_the_whole_car_stands_in_the_frame(number, size):
    kind = CAR_KINDS[number]
    body = profile_of(number).on_side(profile_of(number).outline)
    for photo in range(30):
        camera = place_camera(generator(1, str(photo)), kind, width=size[0], height=size[1])
        seen = camera.project(body)
        assert (seen >= 0).all()
        assert (seen <= size).all()


def test_cars_face_both_ways_and_show_both_ends():
    cameras = [place_camera(generator(1, str(n)), CAR_KINDS[0], width=640, height=480) for n in range(200)]
    assert 60 < sum(camera.mirror < 0 for camera in cameras) < 140
    assert 60 < sum(camera.shows_front for camera in cameras) < 140


def test_ground_far_away_lands_on_the_horizon():
    camera = place_camera(generator(1, "a"), CAR_KINDS[0], width=640, height=480)
    away = -camera.rotation[2] * (1, 0, 1)  # the lens's direction, level
    far = camera.project(np.array([away / np.linalg.norm(away) * 1e7]))
    assert far[0, 1] == pytest.approx(camera.horizon, abs=1e-3 * 480 + np.sin(np.radians(3)) * 480)  # roll tilts it


def test_the_nearer_end_is_the_one_that_shows():
    for number in range(20):
        camera = place_camera(generator(1, str(number)), CAR_KINDS[0], width=640, height=480)
        poles = np.array([[x, y, 0.0] for x in (0.0, CAR_KINDS[0].length) for y in (0.0, 1.0)])
        nose, tail = np.linalg.norm(np.diff(camera.project(poles).reshape(2, 2, 2), axis=1), axis=2)[:, 0]
        assert (nose > tail) == camera.shows_front


@pytest.mark.parametrize("kind", CAR_KINDS, ids=[kind.name for kind in CAR_KINDS])
def test_every_row_of_the_table_is_a_car(kind):
    xs, ys = zip(*kind.outline, strict=True)
    assert min(ys) == pytest.approx(min(kind.outline[0][1], kind.outline[-1][1]))
    assert kind.wheels[0] - kind.radius > 0
    assert kind.wheels[1] + kind.radius < kind.length
    assert 0.15 < kind.outline[0][1] < 0.5
    for window in kind.windows:
        assert all(min(xs) < x < max(xs) and kind.belt <= y + 0.06 and y < kind.height for x, y in window)


def test_names_are_ten_and_unique():
    assert len({kind.name for kind in CAR_KINDS}) == len(CAR_KINDS) == 10


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(range(10), 2)))
def test_no_two_kinds_share_a_silhouette(first, second):
    def heights(number: int) -> np.ndarray:
        outline = np.array(CAR_KINDS[number].outline)
        return np.interp(np.linspace(0.1, CAR_KINDS[number].length - 0.1, 60), outline[:, 0], outline[:, 1])

    difference = np.abs(heights(first) - heights(second)) / CAR_KINDS[first].length
    assert difference.max() > 0.04


def test_a_square_is_cut_at_its_middle():
    square = np.array([[0.0, 0.0], [1, 0], [1, 1], [0, 1]])
    assert below(square, 0.5)[:, 1].max() == above(square, 0.5)[:, 1].min() == 0.5
    assert len(below(square, 0.5)) == 4


def test_rounding_keeps_the_ends_of_a_line_and_cuts_its_corner():
    line = np.array([[0.0, 0.0], [1, 0], [1, 1]])
    curve = rounded(line, closed=False, reach=0.1)
    assert curve[0].tolist() == [0, 0]
    assert curve[-1].tolist() == [1, 1]
    corner = np.linalg.norm(curve - line[1], axis=1).min()
    assert 0.02 < corner <= 0.1
