"""Every draw has the distribution that its operation documents. Seeds are fixed: a test passes always or never."""

import itertools

import numpy as np
import pytest

from carclf.recipe import RECIPES, parse_recipe
from carclf.recipe.colour import RGB_TO_YIQ, YIQ_TO_RGB
from carclf.recipe.operation import Frame

SIZE = (96_000, 128_000)  # boxes are rounded to whole pixels; a grid this fine hides no error of a distribution
ASPECT = SIZE[1] / SIZE[0]
COUNT = 20_000


def draw(text, *, count=COUNT, seed=11, epoch=0):
    extent = np.tile(np.float32([480, 640]), (count, 1))
    return parse_recipe(text).draw(seed=seed, epoch=epoch, row=np.arange(count), extent=extent, image_size=SIZE)


def assert_distributed(values, cumulative):
    """Kolmogorov–Smirnov at p = 0.001, against the cumulative distribution function."""
    values = np.sort(np.asarray(values, np.float64))
    expected = cumulative(values)
    steps = np.arange(len(values) + 1) / len(values)
    distance = max((steps[1:] - expected).max(), (expected - steps[:-1]).max())
    assert distance < 1.95 / np.sqrt(len(values))


def assert_counts(observed, shares):
    """Chi-square at about p = 0.001, by the Wilson–Hilferty approximation of its quantile."""
    observed, shares = np.asarray(observed, np.float64), np.asarray(shares, np.float64)
    assert shares.sum() == pytest.approx(1.0)
    expected = shares * observed.sum()
    assert expected.min() > 5
    freedom = len(observed) - 1
    quantile = freedom * (1 - 2 / (9 * freedom) + 3.09 * np.sqrt(2 / (9 * freedom))) ** 3
    assert ((observed - expected) ** 2 / expected).sum() < quantile


# --- uniform ranges


def angle(draws):
    return np.rad2deg(np.arctan2(-draws.geometry[:, 0, 1].astype(float) * ASPECT, draws.geometry[:, 0, 0]))


def nonzero_angle(draws):
    return angle(draws)[draws.geometry[:, 0, 1] != 0]


def shifted(axis):
    return lambda draws: -draws.geometry[:, axis, 2].astype(float) / 2


def magnified(axis):
    return lambda draws: 1 / draws.geometry[:, axis, axis].astype(float)


def sheared(axis):
    def measure(draws):
        # The matrix is [1, -x; 0, 1] @ [1, 0; -y, 1] in pixels, so its lower left is -y and its upper right -x.
        entry = draws.geometry[:, 0, 1] * ASPECT if axis == 0 else draws.geometry[:, 1, 0] / ASPECT
        return np.rad2deg(np.arctan(-entry.astype(float)))

    return measure


def displaced(corner, axis):
    """How far from a corner the point lies that perspective shows there, in u or v."""
    point = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])[corner]

    def measure(draws):
        shown = draws.geometry.astype(float) @ [*point, 1]
        return shown[:, axis] / shown[:, 2] - point[axis]

    return measure


def window(draws):
    """(left, top, width, height) of what a crop shows, in fractions of the picture."""
    width, height = (draws.geometry[:, axis, axis].astype(float) for axis in (0, 1))
    left, top = ((1 + draws.geometry[:, axis, 2] - side) / 2 for axis, side in ((0, width), (1, height)))
    return left, top, width, height


def hue(draws):
    rotation = RGB_TO_YIQ @ draws.colour[:, :, :3].astype(float) @ YIQ_TO_RGB
    return np.rad2deg(np.arctan2(rotation[:, 2, 1], rotation[:, 1, 1]))


def gain(draws):
    return draws.colour[:, 0, 0]


def offset(channel):
    return lambda draws: draws.colour[:, channel, 3]


def boxes(draws):
    """(top, left, height, width) of the erased boxes, in fractions."""
    y0, x0, y1, x1 = draws.erase[draws.erase[:, 2] > 0, :4].astype(float).T
    return y0, x0, y1 - y0, x1 - x0


def erased_area(draws):
    *_, height, width = boxes(draws)
    return height * width


def erased_shape(draws):
    *_, height, width = boxes(draws)
    return np.log(width * ASPECT / height)


def erased_position(axis):
    """Position of the box within its free range, 0..1."""
    return lambda draws: boxes(draws)[axis] / (1 - boxes(draws)[axis + 2])


def erased_colour(channel):
    return lambda draws: draws.erase[draws.erase[:, 2] > 0, 4 + channel]


def cutout_centre(axis):
    """Start of the cutouts that no edge cuts; their centre is uniform, so this is too."""

    def measure(draws):
        starts, sides = boxes(draws)[axis], boxes(draws)[axis + 2]
        return starts[(starts > 0) & (starts + sides < 1)]

    return measure


def policy_level(draws):
    """Signed fraction of its size at magnitude 10 that `trivial` applied, for rotations only."""
    rotated = (draws.geometry[:, 0, 1] != 0) & (draws.geometry[:, 1, 0] != 0)
    return angle(draws)[rotated] / 30


# Recipe, measure, and the uniform range that the documentation gives it.
UNIFORM = [
    ("rotate(10)", angle, -10, 10),
    ("rotate(10,p=0.3)", nonzero_angle, -10, 10),
    ("notebook", lambda d: angle(d)[d.geometry[:, 0, 0] > 0], -10, 10),
    ("notebook", gain, 0.5, 1.5),
    ("shift(0.1)", shifted(0), -0.1, 0.1),
    ("shift(0.1)", shifted(1), -0.1, 0.1),
    ("shift(0.1,0.3)", shifted(0), -0.1, 0.1),
    ("shift(0.1,0.3)", shifted(1), -0.3, 0.3),
    ("zoom(0.2)", magnified(0), 0.8, 1.2),
    ("zoom(0.2,0.4)", magnified(0), 0.8, 1.2),
    ("zoom(0.2,0.4)", magnified(1), 0.6, 1.4),
    ("shear(20)", sheared(0), -20, 20),
    ("shear(0,20)", sheared(1), -20, 20),
    ("shear(20,10)", sheared(1), -10, 10),
    *(("perspective(0.2)", displaced(corner, axis), -0.2, 0.2) for corner in range(4) for axis in (0, 1)),
    ("crop(0.2,1,1)", lambda d: window(d)[2] * window(d)[3], 0.2, 1.0),
    ("crop(0.2,0.2,2)", lambda d: np.log2(window(d)[2] / window(d)[3]), -1, 1),
    ("crop(0.25,0.25,1)", lambda d: window(d)[0], 0, 0.5),
    ("crop(0.25,0.25,1)", lambda d: window(d)[1], 0, 0.5),
    ("crop(0.2,0.8,1.1)", lambda d: window(d)[0] / (1 - window(d)[2]), 0, 1),
    ("brightness(0.5,1.5)", gain, 0.5, 1.5),
    ("brightness(0.3)", gain, 0.7, 1.3),
    ("brightness(0.5,1.5,30)", gain, 0.5, 1.5),
    ("brightness(0.5,1.5,30)", offset(0), -30, 30),
    ("brightness(add=30)", offset(1), -30, 30),
    ("contrast(0.5,2)", gain, 0.5, 2),
    ("contrast(0.3)", gain, 0.7, 1.3),
    ("saturation(0,2)", lambda d: d.colour[:, 0, 0] - d.colour[:, 1, 0], 0, 2),
    ("hue(20)", hue, -20, 20),
    *(("channel_shift(30)", offset(channel), -30, 30) for channel in range(3)),
    ("erase(0.1,0.2,2)", erased_area, 0.1, 0.2),
    ("erase(0.1,0.2,2)", erased_shape, -np.log(2), np.log(2)),
    ("erase(0.1,0.2,2)", erased_position(0), 0, 1),
    ("erase(0.1,0.2,2)", erased_position(1), 0, 1),
    *(("erase", erased_colour(channel), 0, 255) for channel in range(3)),
    ("cutout(0.5)", cutout_centre(0), 0, 0.5),
    ("cutout(0.5)", cutout_centre(1), 0, 1 - 0.5 / ASPECT),
    *(("cutout(0.5,fill=random)", erased_colour(channel), 0, 255) for channel in range(3)),
    ("mixup(1)", lambda d: d.mix[::2, 0], 0, 1),
    ("trivial", policy_level, -1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "measure", "low", "high"), UNIFORM, ids=range(len(UNIFORM)))
def test_uniform_over_the_documented_range(text, measure, low, high):
    values = np.asarray(measure(draw(text)), float)
    assert len(values) > COUNT / 20
    rounding = 2e-4 * (high - low)  # of boxes to whole pixels, of matrices to float32
    assert_distributed(values, lambda value: np.clip((value - low) / (high - low), 0, 1))
    assert low - rounding <= values.min() < low + 0.01 * (high - low)
    assert high + rounding >= values.max() > high - 0.01 * (high - low)


# Recipe, and measures that it draws independently of each other.
INDEPENDENT = [
    ("shift(0.1)", [shifted(0), shifted(1)]),
    ("zoom(0.2,0.4)", [magnified(0), magnified(1)]),
    ("shear(20,15)", [sheared(0), sheared(1)]),
    ("perspective(0.2)", [displaced(corner, axis) for corner in range(4) for axis in (0, 1)]),
    ("crop(0.25,0.5,1.3)", [lambda d: np.prod(window(d)[2:], axis=0), lambda d: np.log(window(d)[2] / window(d)[3]),
                            lambda d: window(d)[0] / (1 - window(d)[2]), lambda d: window(d)[1] / (1 - window(d)[3])]),
    ("brightness(0.5,1.5,30)", [gain, offset(0)]),
    ("channel_shift(30)", [offset(0), offset(1), offset(2)]),
    ("erase(0.1,0.3,2,p=1)", [erased_area, erased_shape, erased_position(0), erased_position(1),
                              *(erased_colour(channel) for channel in range(3))]),
    ("cutout(0.02,random)", [lambda d: boxes(d)[0], lambda d: boxes(d)[1],
                             *(erased_colour(channel) for channel in range(3))]),
    ("notebook", [lambda d: np.abs(d.geometry[:, 0, 1]) * np.sign(angle(d) * d.geometry[:, 0, 0]), shifted(0),
                  shifted(1), lambda d: d.geometry[:, 0, 0] > 0, gain]),
    ("rotate(10)|shift(0.1)|hue(20)|shear(5)", [hue, lambda d: d.geometry[:, 1, 0], shifted(0), shifted(1)]),
    ("mixup(1)|rotate(10)|zoom(0.1)", [lambda d: d.mix[:, 0], angle, lambda d: np.linalg.det(d.geometry)]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "measures"), INDEPENDENT, ids=[text for text, _ in INDEPENDENT])
def test_numbers_of_one_photo_are_independent(text, measures):
    drawn = draw(text)
    values = np.vstack([np.asarray(measure(drawn), float) for measure in measures])
    correlation = np.corrcoef(values) - np.eye(len(values))
    assert np.abs(correlation).max() < 4.5 / np.sqrt(values.shape[1])


def test_neighbouring_rows_epochs_seeds_and_uses_draw_independent_numbers():
    drawn = [angle(draw("rotate(10)", count=COUNT + 1))]
    drawn += [angle(draw("rotate(10)", count=COUNT + 1, **other)) for other in ({"epoch": 1}, {"seed": 12})]
    first_of_two = np.deg2rad(drawn[0])
    both = np.deg2rad(angle(draw("rotate(10)|rotate(10)", count=COUNT + 1)))
    values = np.vstack([*(angles[:-1] for angles in drawn), drawn[0][1:], (both - first_of_two)[:-1]])
    np.testing.assert_allclose(np.std(values[:4], axis=1), 10 / np.sqrt(3), rtol=0.03)
    assert np.abs(np.corrcoef(values) - np.eye(5)).max() < 4.5 / np.sqrt(COUNT)


# --- operations on a fraction of the photos

SIZES = {
    "rotate": "10", "shift": "0.1", "zoom": "0.2", "shear": "20", "perspective": "0.2", "brightness": "0.5,0.9",
    "contrast": "0.5,0.9", "saturation": "0.5,0.9", "hue": "20", "channel_shift": "20", "cutout": "0.5",
    "crop": "0.2,0.5", "erase": "0.1,0.3", "mixup": "1", "cutmix": "1", "randaugment": "1,9",
}  # fmt: skip
FIELDS = ("geometry", "colour", "mix", "erase")


def changed_photos(text):
    """bool [COUNT]: the photos that a recipe changes."""
    drawn, nothing = draw(text), draw("")
    changes = [(getattr(drawn, field) != getattr(nothing, field)).reshape(COUNT, -1).any(axis=1) for field in FIELDS]
    return np.any(changes, axis=0)


def assert_fraction(where, fraction):
    """Within four standard deviations of the binomial distribution."""
    assert abs(where.mean() - fraction) <= 4 * np.sqrt(fraction * (1 - fraction) / len(where))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("chance", [0.03, 0.4])
def test_every_operation_changes_the_fraction_p_of_the_photos(name, chance):
    arguments = f"{SIZES[name]}," if name in SIZES else ""
    changed = changed_photos(f"{name}({arguments}p={chance})")
    mixes = RECIPES[name].kind == "mix"
    identities = {"randaugment": 1 / 9, "trivial": 1 / 9}.get(name, 0.0)
    assert_fraction(changed[::2] if mixes else changed, chance * (1 - identities))


@pytest.mark.parametrize(("name", "fraction"), [("flip", 0.5), ("vflip", 0.5), ("grayscale", 0.2), ("erase", 0.5)])
def test_the_default_fraction(name, fraction):
    assert_fraction(changed_photos(name), fraction)


@pytest.mark.parametrize("name", sorted(RECIPES.keys() - {"flip", "vflip", "grayscale", "erase"}))
def test_other_operations_change_every_photo_by_default(name):
    identities = {"randaugment": 1 / 9, "trivial": 1 / 9}.get(name, 0.0)
    assert changed_photos(f"{name}({SIZES[name]})" if name in SIZES else name).mean() > 0.995 - identities * 1.1


def test_zoom_with_one_number_keeps_the_shape():
    matrices = draw("zoom(0.3)").geometry
    np.testing.assert_array_equal(matrices[:, 0, 0], matrices[:, 1, 1])


def test_a_crop_lies_within_the_picture_and_a_long_side_is_cut_to_it():
    left, top, width, height = window(draw("crop(0.5,1,4)"))
    for start, side in ((left, width), (top, height)):
        assert start.min() > -1e-6
        assert (start + side).max() < 1 + 1e-6
        assert 0.1 < (side > 1 - 1e-6).mean() < 0.9


def test_an_erased_box_lies_within_the_picture_and_a_long_side_is_cut_to_it():
    top, left, height, width = boxes(draw("erase(0.5,1,4)"))
    for start, side in ((top, height), (left, width)):
        assert start.min() >= 0
        assert (start + side).max() <= 1
        assert 0.1 < (side == 1).mean() < 0.9


@pytest.mark.parametrize("text", ["erase(fill=7)", "cutout(0.5,7)"])
def test_an_explicit_fill(text):
    erase = draw(text).erase
    np.testing.assert_array_equal(erase[erase[:, 2] > 0, 4:], 7)


def test_cutout_is_a_square_in_pixels_cut_at_the_edges():
    top, left, height, width = boxes(draw("cutout(0.5)"))
    assert height.max() * SIZE[0] == pytest.approx(SIZE[0] / 2, abs=1.01)
    assert width.max() * SIZE[1] == pytest.approx(SIZE[0] / 2, abs=1.01)
    # The centre is uniform: a side is cut when the centre lies nearer to an edge than half of it.
    assert_fraction((top == 0) | (top + height == 1), 0.5)
    assert_fraction((left == 0) | (left + width == 1), 0.5 / ASPECT)
    assert (height[top > 0] > 0).all()


# --- mixing


def beta(alpha):
    """The cumulative distribution function of Beta(alpha, alpha), for the alphas with an elementary one."""
    return {
        0.5: lambda x: 2 / np.pi * np.arcsin(np.sqrt(x)),
        1.0: lambda x: x,
        2.0: lambda x: 3 * x**2 - 2 * x**3,
        3.0: lambda x: 10 * x**3 - 15 * x**4 + 6 * x**5,
    }[alpha]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 3.0])
def test_mixup_is_beta(alpha):
    share = draw(f"mixup({alpha})").mix[::2, 0].astype(float)
    assert_distributed(share, beta(alpha))


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.2, 0.4, 4.0, 100.0])
def test_mixup_has_the_moments_of_beta(alpha):
    share = draw(f"mixup({alpha})", count=2 * COUNT).mix[::2, 0].astype(float)
    variance, fourth = 1 / (4 * (2 * alpha + 1)), 3 / (16 * (2 * alpha + 1) * (2 * alpha + 3))
    assert 0 <= share.min() <= share.max() <= 1
    assert abs(share.mean() - 0.5) < 4 * np.sqrt(variance / COUNT)
    assert share.var() == pytest.approx(variance, rel=0.04)
    assert np.mean((share - 0.5) ** 4) == pytest.approx(fourth, rel=0.08)


@pytest.mark.parametrize(("text", "alpha"), [("mixup", 0.2), ("cutmix", 1.0)])
def test_the_default_alpha(text, alpha):
    np.testing.assert_array_equal(draw(text, count=200).mix, draw(f"{text}({alpha})", count=200).mix)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_cutmix_pastes_the_boxes_of_its_paper(alpha):
    """Source: Yun et al., "CutMix", 2019, algorithm A1, with NumPy's generator and its Beta."""
    rng = np.random.default_rng(0)
    side = np.sqrt(1 - rng.beta(alpha, alpha, COUNT))
    centres = rng.uniform(size=(2, COUNT))
    low, high = np.clip(centres - side / 2, 0, 1), np.clip(centres + side / 2, 0, 1)
    theirs = [low[0], low[1], high[0], high[1], np.prod(high - low, axis=0)]
    mix = draw(f"cutmix({alpha})", count=2 * COUNT).mix[::2].astype(float)
    visible = mix[:, 3] > mix[:, 1]  # boxes thinner than a pixel vanish
    ours = [*mix[visible, 1:].T, 1 - mix[visible, 0]]
    for our, their in zip(ours, theirs, strict=True):
        their = their[theirs[4] > 1 / (SIZE[0] * SIZE[1])] if len(their) == COUNT else their
        both = np.sort(np.concatenate([our, their]))
        sides = (np.searchsorted(np.sort(values), both, side="right") / len(values) for values in (our, their))
        # Two samples, p = 0.001, and a pixel of rounding.
        assert np.abs(np.subtract(*sides)).max() < 1.95 * np.sqrt(1 / len(our) + 1 / len(their)) + 0.005


def test_each_pair_gets_one_of_two_mixing_operations():
    mix = draw("mixup(1)|cutmix(1)").mix[::2]
    assert_fraction(mix[:, 3] > 0, 0.5)
    assert (mix[:, 0] < 1).mean() > 0.98
    assert_distributed(mix[mix[:, 3] == 0, 0], beta(1.0))  # the choice does not prefer any lambda
    never = draw("mixup(1,p=0)|cutmix(1,p=0.25)").mix[::2]
    assert_fraction(never[:, 0] < 1, 0.25)


# --- policies

# The (geometry, colour) of the identity.
NOTHING = (np.eye(3), np.eye(3, 4))


def elementary(level):
    """The (geometry, colour) of the nine operations at a signed level of -1..1."""
    angle, lean, step = np.deg2rad(30) * level, 0.3 * level, 200 / 224 * level
    factor = 1 + 0.9 * level
    luma = np.outer(np.ones(3), [0.299, 0.587, 0.114])

    def at(row, column, value):
        matrix = np.eye(3)
        matrix[row, column] = value
        return matrix

    rotation = np.eye(3)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle) / ASPECT], [np.sin(angle) * ASPECT, np.cos(angle)]]
    moves = [rotation, at(0, 1, -lean / ASPECT), at(1, 0, -lean * ASPECT), at(0, 2, -step), at(1, 2, -step)]
    paints = [
        np.hstack([factor * np.eye(3), np.zeros((3, 1))]),
        np.hstack([factor * np.eye(3), np.full((3, 1), 127.5 * (1 - factor))]),
        np.hstack([factor * np.eye(3) + (1 - factor) * luma, np.zeros((3, 1))]),
    ]
    return [NOTHING, *((move, NOTHING[1]) for move in moves), *((NOTHING[0], paint) for paint in paints)]


def after(first, second):
    """The (geometry, colour) of one operation after another."""
    (move, paint), (next_move, next_paint) = first, second
    whole = np.vstack([paint, [0, 0, 0, 1]])
    return move @ next_move, next_paint @ whole


def flattened(move, paint):
    return np.concatenate([np.ravel(move), np.ravel(paint)])


def assert_drawn_from(drawn, outcomes):
    """Asserts that every photo got one of the outcomes [(probability, (geometry, colour))], at the right rate."""
    table, shares = [], []
    for probability, outcome in outcomes:
        flat = flattened(*outcome)
        known = [index for index, other in enumerate(table) if np.allclose(flat, other, atol=1e-9)]
        if known:
            shares[known[0]] += probability
        else:
            table.append(flat)
            shares.append(probability)
    got = np.concatenate([drawn.geometry.reshape(-1, 9), drawn.colour.reshape(-1, 12)], axis=1)
    distance = np.stack([np.abs(got - flat).max(axis=1) for flat in table], axis=1)
    assert distance.min(axis=1).max() < 1e-4
    assert_counts(np.bincount(distance.argmin(axis=1), minlength=len(table)), shares)


def signed(magnitude):
    """[(probability, (geometry, colour))] of one pick with a random sign."""
    return [(1 / 18, outcome) for sign in (-1, 1) for outcome in elementary(sign * magnitude / 10)]


@pytest.mark.parametrize("magnitude", [3, 9, 10])
def test_randaugment_picks_uniformly_from_its_table_at_its_magnitude(magnitude):
    assert_drawn_from(draw(f"randaugment(1,{magnitude})"), signed(magnitude))


def test_randaugment_applies_its_picks_in_the_order_of_its_uniforms():
    frame = Frame(image_size=SIZE)
    uniform = np.random.default_rng(0).random((16, 400))
    policy = RECIPES["randaugment"].draw
    (move, paint), (next_move, next_paint) = (policy(uniform[start:], frame, n=1, m=9) for start in (0, 2))
    both_move, both_paint = policy(uniform, frame, n=2, m=9)
    np.testing.assert_allclose(both_move, move @ next_move, atol=1e-12)
    np.testing.assert_allclose(both_paint, next_paint @ paint, atol=1e-9)


def test_randaugment_picks_two():
    pairs = itertools.product(signed(9), signed(9))
    assert_drawn_from(draw("randaugment"), [(p * q, after(first, second)) for (p, first), (q, second) in pairs])


@pytest.mark.parametrize("n", [0, 1, 3, 8])
def test_randaugment_picks_n(n):
    """A third of the table are colour operations, which never cancel each other."""
    painted = (draw(f"randaugment({n},9)").colour != np.eye(3, 4, dtype=np.float32)).any(axis=(1, 2))
    assert_fraction(painted, 1 - (6 / 9) ** n)


def test_trivial_picks_one_at_a_uniform_level():
    drawn = draw("trivial")
    move, paint = drawn.geometry.astype(float), drawn.colour.astype(float)
    # The level at which each operation would give the draw, read off one entry of its matrix.
    both = (move[:, 0, 1] != 0) & (move[:, 1, 0] != 0)
    pivoted = paint[:, 0, 3] != 0
    mixed = paint[:, 0, 1] != 0
    gained = (paint[:, 0, 0] != 1) & ~pivoted & ~mixed
    levels = {
        "rotate": (both, angle(drawn) / 30),
        "shear_x": (~both & (move[:, 0, 1] != 0), -move[:, 0, 1] * ASPECT / 0.3),
        "shear_y": (~both & (move[:, 1, 0] != 0), -move[:, 1, 0] / ASPECT / 0.3),
        "shift_x": (move[:, 0, 2] != 0, -move[:, 0, 2] / 2 * 224 / 100),
        "shift_y": (move[:, 1, 2] != 0, -move[:, 1, 2] / 2 * 224 / 100),
        "brightness": (gained, (paint[:, 0, 0] - 1) / 0.9),
        "contrast": (pivoted, (paint[:, 0, 0] - 1) / 0.9),
        "saturation": (mixed, (paint[:, 0, 0] - paint[:, 1, 0] - 1) / 0.9),
    }
    nothing = (move == np.eye(3)).all(axis=(1, 2)) & (paint == np.eye(3, 4)).all(axis=(1, 2))
    chosen = np.stack([nothing, *(where for where, _ in levels.values())])
    np.testing.assert_array_equal(chosen.sum(axis=0), 1)
    assert_counts(chosen.sum(axis=1), np.full(9, 1 / 9))
    for where, level in levels.values():
        assert_distributed(level[where], lambda value: np.clip((value + 1) / 2, 0, 1))
