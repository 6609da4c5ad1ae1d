"""Views: their names, what they show, and the purity of the random ones."""

import numpy as np
import pytest

from carclf.errors import UserError
from carclf.recipe import parse_recipe, parse_views

EXTENT = np.tile(np.float32([480, 640]), (3, 1))
ROW = np.array([5, 9, -1])


def draw(view, *, row=ROW, seed=1, fit="squash"):
    return view.draw(seed=seed, row=row, extent=EXTENT[: len(row)], image_size=(64, 64), fit=fit)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["clean"]),
        ("clean|flip", ["clean", "flip"]),
        ("zoom(1.1)|flip+zoom(1.1)", ["zoom(1.1)", "flip+zoom(1.1)"]),
        ("random(2)", ["random(2)/0", "random(2)/1"]),
        ("random(1,rotate(10)|flip)|clean", ["random(1,rotate(10)|flip)/0", "clean"]),
        ("clean*2|flip * 0.5", ["clean", "flip"]),
        ("flip+size(448)|size(384,512)", ["flip+size(448)", "size(384,512)"]),
        ("random(2)+flip+size(48)", ["random(2)/0+flip+size(48)", "random(2)/1+flip+size(48)"]),
        ("five_crop", [f"five_crop/{position}" for position in
                       ("top-left", "top-right", "bottom-left", "bottom-right", "centre")]),
    ],
)  # fmt: skip
def test_names(text, names):
    assert [view.name for view in parse_views(text)] == names


@pytest.mark.parametrize(
    ("text", "corner"),
    [
        ("clean", (1.0, 1.0)),
        ("flip", (-1.0, 1.0)),
        ("vflip", (1.0, -1.0)),
        ("zoom(2)", (0.5, 0.5)),
        ("shift(0.05)", (0.9, 1.0)),
        ("shift(0,-0.1)", (1.0, 1.2)),
        ("rotate(90)", (-1.0, 1.0)),
        ("flip+shift(0.1)", (-0.8, 1.0)),
        ("shift(0.1)+flip", (-1.2, 1.0)),
    ],
)
def test_what_a_view_shows_in_its_lower_right_corner(text, corner):
    (view,) = parse_views(text)
    draws = draw(view)
    np.testing.assert_allclose(draws.geometry[0] @ [1, 1, 1], [*corner, 1], atol=1e-6)
    np.testing.assert_array_equal(draws.geometry[1], draws.geometry[0])
    np.testing.assert_array_equal(draws.geometry[2], np.eye(3))
    np.testing.assert_array_equal(draws.colour, np.tile(np.eye(3, 4), (3, 1, 1)))


def test_five_crops_cover_the_corners_and_the_centre():
    views = parse_views("five_crop(0.5)")
    centres = [tuple(draw(view).geometry[0, :2, 2]) for view in views]
    assert centres == [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0, 0)]


def test_a_view_acts_on_the_fitted_photo():
    (view,) = parse_views("zoom(2)")
    np.testing.assert_allclose(draw(view, fit="crop").geometry[0] @ [1, 1, 1], [0.375, 0.5, 1])


def test_random_views_draw_numbers_that_no_epoch_draws():
    views = parse_views("random(3,rotate(10)|flip)")
    recipe = parse_recipe("rotate(10)|flip")
    drawn = [draw(view).geometry[0] for view in views]
    epochs = [
        recipe.draw(seed=1, epoch=epoch, row=ROW, extent=EXTENT, image_size=(64, 64)).geometry[0] for epoch in range(50)
    ]
    assert len({matrix.tobytes() for matrix in drawn + epochs}) == 53
    np.testing.assert_array_equal(drawn[0], draw(views[0], row=np.array([5])).geometry[0])
    assert (drawn[0] != draw(views[0], seed=2).geometry[0]).any()
    np.testing.assert_array_equal(draw(views[0]).geometry[2], np.eye(3))


def test_random_views_draw_from_the_notebook_recipe_by_default():
    assert parse_views("random(1)")[0].recipe.steps == parse_recipe("notebook").steps


def test_random_views_of_two_groups_do_not_share_draws():
    first, second = parse_views("random(1,rotate(10))|random(1,rotate(10)|flip(0))")
    assert (draw(first).geometry[0] != draw(second).geometry[0]).any()


def test_weights_and_sizes_apply_to_every_view_of_their_part():
    views = parse_views("clean|five_crop*0.5|flip+size(448)*2|size(384,512)")
    assert [view.weight for view in views] == [1, *[0.5] * 5, 2, 1]
    assert [view.image_size for view in views] == [*[None] * 6, (448, 448), (384, 512)]


def test_fixed_parts_follow_the_random_part():
    (drawn,), (flipped,) = parse_views("random(1,rotate(10))"), parse_views("random(1,rotate(10))+flip")
    np.testing.assert_allclose(draw(flipped).geometry[0], draw(drawn).geometry[0] @ np.diag([-1, 1, 1]), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flip*0", "needs a weight above 0 and up to 1000 after its '\\*', such as flip\\*0.5"),
        ("flip*-1", "needs a weight"),
        ("flip*nan", "needs a weight"),
        ("flip*much", "needs a weight"),
        ("flip*2*3", "needs a weight"),
        ("size(32)+size(48)", "two sizes, but a view has one"),
        ("size(4)", "must be 8 to 4096"),
        ("flip+random(2)", "write the random view first in the chain"),
        ("random(²)", r"'random\(²\)' is not a random view: write random\(10\)"),
        ("flip|flip*2", "appears twice"),
        ("five_crop+flip|clean|five_crop+flip", "view 'five_crop.flip' appears twice in .*, write five_crop.flip[*]2"),
        ("random(2)|random(2)", r"to make it count double, write random\(2\)[*]2"),
    ],
)
def test_the_error_for_a_bad_view_is_one_sentence(text, message):
    with pytest.raises(UserError, match=message):
        parse_views(text)
