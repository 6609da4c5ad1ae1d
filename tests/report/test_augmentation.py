"""The pictures of recipes: unchanged photos, draws as in training, every operation in the catalogue."""

import dataclasses
import functools
import io

import keras
import numpy as np
import pytest
from PIL import Image

from carclf.data.photos import read_photos
from carclf.data.pipeline import training_batches
from carclf.errors import UserError
from carclf.framing import Framing, Rendering
from carclf.model.render import Render
from carclf.recipe import RECIPES, parse_recipe
from carclf.report import augmentation
from carclf.report.augmentation import (
    DrawSettings,
    StoredPhoto,
    draw_catalogue,
    draw_recipe,
    originals_and_draws,
    training_photos,
)
from carclf.report.figures import DOTS_PER_INCH
from carclf.report.photo_tables import CELL_INCHES
from tests.conftest import write_dataset

SETTINGS = DrawSettings(image_size=(48, 48), fit="squash", rendering=Rendering(), seed=7, draws=3)


def drawn(photos, recipe, settings=SETTINGS):
    recipe = parse_recipe(recipe)
    layer = Render(
        image_size=settings.image_size,
        fill=settings.rendering.fill,
        mixing=recipe.mixes,
        erasing=recipe.erases,
        jit=False,
    )
    return originals_and_draws(photos, recipe=recipe, settings=settings, layer=layer)


@pytest.fixture(scope="module", autouse=True)
def render_compiled_once():
    """One layer for all catalogues of a size: XLA takes seconds for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augmentation, "Render", functools.cache(augmentation.Render))
        yield


@pytest.fixture
def tables(monkeypatch):
    """Records the arguments of `draw_augmentation` instead of drawing."""
    calls = []

    def keep(originals, augmented, **named):
        calls.append({"originals": originals, "augmented": augmented} | named)

    monkeypatch.setattr(augmentation, "draw_augmentation", keep)
    return calls


@pytest.mark.parametrize(("photos", "draws"), [(1, 1), (3, 5)])
def test_a_picture_has_a_row_per_photo_and_a_column_per_draw(tmp_path, dataset, photos, draws):
    settings = DrawSettings(image_size=(32, 64), fit="squash", rendering=Rendering(), seed=7, draws=draws)
    path = tmp_path / "augmentation.png"
    draw_recipe(dataset, folds=[0], recipe=parse_recipe("flip"), settings=settings, path=path, photos=photos)
    with Image.open(path) as image:
        assert image.width == pytest.approx((draws + 1) * CELL_INCHES * DOTS_PER_INCH, abs=1)
        rows = photos * CELL_INCHES / 2 * DOTS_PER_INCH
        assert rows < image.height < rows + 60


def test_photos_are_the_stored_ones_different_classes_first(dataset):
    photos = training_photos(dataset, folds=[1], count=3)
    listed = dataset.read_ids("train")
    assert sorted(listed["label"][photo.row] for photo in photos) == [0, 1, 2]
    assert {listed["fold"][photo.row] for photo in photos} == {1}
    stored = read_photos(dataset, split="train", rows=[photo.row for photo in photos])
    for photo in photos:
        with Image.open(io.BytesIO(stored[photo.row])) as image:
            expected = np.asarray(image).astype(int)
        assert photo.pixels.shape == expected.shape
        assert abs(photo.pixels - expected).mean() < 2  # noise, and a decoder with another rounding


@pytest.fixture(scope="module")
def by_class(tmp_path_factory):
    """Two folds of 8 photos whose classes stand one after the other: 0 0 0 0 0 1 1 2, then 2 2 1 1 1 1 0 0."""
    labels = (0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 1, 1, 1, 1, 0, 0)
    folder = tmp_path_factory.mktemp("by_class") / "set"
    return write_dataset(folder, folds=2, test_photos=0, label_of=labels.__getitem__)


@pytest.mark.parametrize(
    ("folds", "count", "rows"),
    [
        ([0], 3, [0, 5, 7]),  # a photo of each class, in the order of the fold
        ([0], 5, [0, 5, 7, 1, 6]),  # then a second one of those that have one
        ([0], 8, [0, 5, 7, 1, 6, 2, 3, 4]),
        ([1], 4, [8, 10, 14, 9]),
        ([0, 1], 10, [0, 5, 7, 1, 6, 2, 3, 4, 8, 10]),  # the other fold only when the first is at its end
    ],
)
def test_different_classes_come_first(by_class, folds, count, rows):
    assert [photo.row for photo in training_photos(by_class, folds=folds, count=count)] == rows


def test_each_photo_stands_beside_its_own_draws(by_class, tables, tmp_path):
    """The colour of a photo of the fixture is its class."""
    draw_recipe(by_class, folds=[0], recipe=parse_recipe("flip"), settings=SETTINGS, path=tmp_path / "a.png", photos=5)
    shown = [np.argmax(pixels.mean(axis=(0, 1))) for pixels in tables[0]["originals"]]
    assert shown == [0, 1, 2, 0, 1]
    drawn_colours = tables[0]["augmented"].mean(axis=(2, 3)).argmax(axis=-1)
    np.testing.assert_array_equal(drawn_colours, np.repeat(np.array(shown)[:, None], SETTINGS.draws, axis=1))


def test_originals_are_untouched(dataset, tables, tmp_path):
    draw_recipe(
        dataset, folds=[0], recipe=parse_recipe("rotate(90)|hue(90)"), settings=SETTINGS, path=tmp_path / "a.png"
    )
    photos = training_photos(dataset, folds=[0], count=4)
    for shown, photo in zip(tables[0]["originals"], photos, strict=True):
        np.testing.assert_array_equal(shown, photo.pixels)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_draws_equal_those_of_training(dataset, fit):
    recipe = parse_recipe("rotate(30)|flip|shift(0.2)|brightness(0.5,1.5)|erase")
    settings = DrawSettings(image_size=(48, 40), fit=fit, rendering=Rendering(fill="reflect"), seed=11, draws=2)
    photos = training_photos(dataset, folds=[0], count=8)
    _, pictured = drawn(photos, recipe.spec, settings)
    layer = Render(image_size=settings.image_size, fill=settings.rendering.fill, erasing=True, jit=False)
    batches = training_batches(
        manifest=dataset, folds=[0], framing=Framing(settings.image_size, fit), recipe=recipe,
        batch_size=4, epochs=2, seed=settings.seed,
    )  # fmt: skip
    seen = 0
    for step, (inputs, _, _) in enumerate(batches):
        images = keras.ops.convert_to_numpy(layer(inputs))
        for canvas, (height, width), image in zip(
            inputs["canvas"].numpy(), inputs["extent"].numpy(), images, strict=True
        ):
            pixels = canvas[: int(height), : int(width)]
            (index,) = (k for k, photo in enumerate(photos) if np.array_equal(photo.pixels, pixels))
            np.testing.assert_array_equal(pictured[index, step // 2], np.rint(image))
            seen += 1
    assert seen == pictured.shape[0] * pictured.shape[1] == 16


def test_the_identity_shows_equal_pictures(dataset, tables, tmp_path):
    draw_recipe(dataset, folds=[0], recipe=parse_recipe("none"), settings=SETTINGS, path=tmp_path / "a.png")
    for draws in tables[0]["augmented"]:
        assert (draws == draws[0]).all()
        assert draws.std() > 5


@pytest.mark.parametrize("count", [1, 3, 4])
def test_mixed_photos_are_shown_above_their_partner(count):
    photos = [StoredPhoto(row, np.full((40 + row, 50, 3), 40 * row, np.uint8)) for row in range(count)]
    originals, pictures = drawn(photos, "mixup(1)")
    assert len(originals) == len(pictures) == count
    for index, original in enumerate(originals):
        partner = index ^ 1 if index ^ 1 < count else 0
        assert (original[0] == photos[index].pixels[0]).all()
        assert (original[-1] == photos[partner].pixels[0]).all()
        low, high = sorted((40 * index, 40 * partner))
        assert ((pictures[index] >= low) & (pictures[index] <= high)).all()
    if count > 1:
        assert len(np.unique(pictures[0])) > 1
        np.testing.assert_allclose(pictures[0].astype(int) + pictures[1], 40, atol=1)  # λ of one is 1 − λ of the other


@pytest.mark.parametrize("photos", [1, 2, 3])
def test_the_requested_number_of_mixed_photos_is_shown(dataset, tables, tmp_path, photos):
    recipe = parse_recipe("cutmix")
    draw_recipe(dataset, folds=[0], recipe=recipe, settings=SETTINGS, path=tmp_path / "a.png", photos=photos)
    assert len(tables[0]["originals"]) == len(tables[0]["augmented"]) == photos
    assert "mixed with" in tables[0]["title"]


def test_the_title_explains_a_named_recipe(dataset, tables, tmp_path):
    for text in ("notebook", "flip", ""):
        draw_recipe(dataset, folds=[0], recipe=parse_recipe(text), settings=SETTINGS, path=tmp_path / "a.png")
    assert [table["title"] for table in tables] == [
        "notebook: rotate(10)|shift(0.1)|flip|brightness(0.5,1.5)", "flip", "no augmentation",
    ]  # fmt: skip


def test_every_operation_is_in_the_catalogue_and_visible(dataset, tables, tmp_path):
    draw_catalogue(
        dataset,
        folds=[0],
        settings=DrawSettings(image_size=(48, 48), fit="squash", rendering=Rendering(), seed=42),
        path=tmp_path,
    )
    table = tables[0]
    assert [label.split()[0] for label in table["labels"]] == [row.example for row in RECIPES.values()]
    assert len(table["originals"]) == len(table["augmented"]) == len(RECIPES)
    (photo,) = training_photos(dataset, folds=[0], count=1)
    (plain,) = drawn([photo], "none")[1]
    for (name, row), original, draws in zip(RECIPES.items(), table["originals"], table["augmented"], strict=True):
        changed = (abs(draws.astype(int) - plain[0]) > 8).mean(axis=(1, 2, 3))
        assert changed.max() > 0.02, name
        expected = photo.pixels.shape[0] * 2 < original.shape[0] if row.kind == "mix" else None
        assert expected or np.array_equal(original, photo.pixels), name


def test_draws_of_the_catalogue_equal_those_of_the_recipe_alone(dataset, tables, tmp_path):
    draw_catalogue(dataset, folds=[0], settings=SETTINGS, path=tmp_path)
    photos = training_photos(dataset, folds=[0], count=2)
    for name in ("rotate", "hue", "erase", "cutmix"):
        alone = drawn(photos, RECIPES[name].example)[1][0]
        catalogued = tables[0]["augmented"][list(RECIPES).index(name)]
        assert abs(alone.astype(int) - catalogued).max() <= 1, name  # one is compiled by XLA


def test_a_catalogue_of_one_photo_is_drawn(dataset, monkeypatch, tables, tmp_path):
    (photo,) = training_photos(dataset, folds=[0], count=1)
    monkeypatch.setattr(augmentation, "training_photos", lambda *_, **__: [photo])
    draw_catalogue(dataset, folds=[0], settings=SETTINGS, path=tmp_path)
    assert len(tables[0]["augmented"]) == len(RECIPES)


def test_the_catalogue_is_a_picture_with_a_labelled_row_per_operation(tmp_path, dataset):
    path = tmp_path / "all.jpg"
    draw_catalogue(
        dataset,
        folds=dataset.folds,
        settings=DrawSettings(image_size=(48, 48), fit="pad", rendering=Rendering(), seed=1, draws=2),
        path=path,
    )
    with Image.open(path) as image:
        assert image.format == "JPEG"
        cells = len(RECIPES) * CELL_INCHES * DOTS_PER_INCH
        assert cells < image.height < cells * 1.25


def test_folds_without_photos_are_refused(dataset):
    with pytest.raises(UserError, match="have no training photos to draw: convert classes of several"):
        training_photos(dataset, folds=[], count=1)
    assert len(training_photos(dataset, folds=dataset.folds, count=1000)) == 24


@pytest.mark.parametrize(
    ("image_size", "drawn"), [((512, 512), (143, 143)), ((100, 200), (72, 143)), ((64, 96), (64, 96))]
)
def test_draws_are_no_larger_than_the_picture_shows_them(dataset, tables, tmp_path, image_size, drawn):
    settings = dataclasses.replace(SETTINGS, image_size=image_size, draws=1)
    draw_recipe(dataset, folds=[0], recipe=parse_recipe("flip"), settings=settings, path=tmp_path / "a.png", photos=1)
    assert tables[0]["augmented"].shape == (1, 1, *drawn, 3)
