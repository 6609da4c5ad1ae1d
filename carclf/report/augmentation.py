"""Pictures of augmentation: photos next to their draws, for one recipe or for every operation."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np

from carclf.data.decoder import decode
from carclf.data.manifest import Manifest
from carclf.data.photos import read_photos
from carclf.errors import UserError
from carclf.framing import Rendering
from carclf.model.render import Render
from carclf.progress import Progress
from carclf.recipe import NAMED_RECIPES, RECIPES, Recipe, parse_recipe
from carclf.report.photo_tables import CELL_PX, draw_augmentation, stacked

PHOTOS = 4
DRAWS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawSettings:
    """How photos are drawn: the settings of the training that is pictured.

    Attributes:
      image_size: (height, width) of the rendered image in pixels.
      fit: resize mode, a key of `carclf.framing.RESIZE_MODES`.
      rendering: how the images are computed; what a picture mixes and erases follows from its recipes.
      seed: of the draws.
      draws: how many of each photo, those of the first epochs.
    """

    image_size: tuple[int, int]
    fit: str
    rendering: Rendering
    seed: int
    draws: int = DRAWS

    def layer(self, *, mixing: bool, erasing: bool, jit: bool = True) -> Render:
        """The layer that renders the pictures of recipes that mix and erase, or do not."""
        rendering = dataclasses.replace(self.rendering, mixing=mixing, erasing=erasing)
        return Render(image_size=self.image_size, **dataclasses.asdict(rendering), jit=jit)


@dataclasses.dataclass(frozen=True)
class StoredPhoto:
    """A photo as it is stored: its row in the training split, and its pixels, uint8 [height, width, 3]."""

    row: int
    pixels: np.ndarray


def draw_recipe(
    manifest: Manifest,
    *,
    folds: Iterable[int],
    recipe: Recipe,
    settings: DrawSettings,
    path: Path,
    photos: int = PHOTOS,
) -> None:
    """Writes a picture of photos of `folds`, each beside its draws of the first epochs.

    If the recipe mixes, the first column shows under each photo the one it is mixed with; in training the order of the
    epoch determines the pairs.

    Raises:
      UserError: the folds have no photo.
    """
    shown = training_photos(manifest, folds=folds, count=photos + photos % 2 * recipe.mixes)
    count = min(photos, len(shown))
    settings = dataclasses.replace(settings, image_size=_size_in_table(settings.image_size))
    # Without XLA: a single recipe does not justify a compilation.
    layer = settings.layer(mixing=recipe.mixes, erasing=recipe.erases, jit=False)
    with Progress("Drawing the augmentation"):
        originals, drawn = originals_and_draws(shown, recipe=recipe, settings=settings, layer=layer)
        draw_augmentation(originals[:count], drawn[:count], path=path, title=_title(recipe))


def _size_in_table(image_size: tuple[int, int]) -> tuple[int, int]:
    """Returns the size at which a table shows images of this size: matrices are the same at any."""
    height, width = image_size
    scale = min(1.0, CELL_PX / width)
    return round(height * scale), round(width * scale)


def _title(recipe: Recipe) -> str:
    meaning = NAMED_RECIPES.get(recipe.spec)
    named = f"{recipe.spec}: {meaning}" if meaning else recipe.spec or "no augmentation"
    return f"{named}; under each photo the one it is mixed with" if recipe.mixes else named


def draw_catalogue(manifest: Manifest, *, folds: Iterable[int], settings: DrawSettings, path: Path) -> None:
    """Writes a picture with one row per operation of `RECIPES`: its example, drawn on the same photo.

    Raises:
      UserError: the folds have no photo.
    """
    photos = training_photos(manifest, folds=folds, count=2)
    pair = (photos * 2)[:2]
    # One layer for all: if a recipe does not mix or erase, the layer changes nothing.
    layer = settings.layer(mixing=True, erasing=True)
    rows = []
    with Progress("Drawing", total=len(RECIPES), unit="operations") as progress:
        for row in RECIPES.values():
            rows.append(originals_and_draws(pair, recipe=parse_recipe(row.example), settings=settings, layer=layer))
            progress.add()
    draw_augmentation(
        [originals[0] for originals, _ in rows],
        np.stack([drawn[0] for _, drawn in rows]),
        labels=[f"{row.example}   {row.summary}" for row in RECIPES.values()],
        path=path,
        title=f"The photo and {settings.draws} draws of each operation",
    )


def training_photos(manifest: Manifest, *, folds: Iterable[int], count: int) -> list[StoredPhoto]:
    """Returns the first photos of `folds`, different classes first; fewer than `count` if there are not enough.

    Raises:
      UserError: the folds have no photo.
    """
    listed = manifest.read_ids("train")
    listed = listed[listed["fold"].isin(list(folds))]
    rank = listed.groupby(["fold", "label"]).cumcount()
    chosen = listed.assign(rank=rank).sort_values(["fold", "rank"], kind="stable").head(count)
    if chosen.empty:
        raise UserError(
            f"The folds of {manifest.directory} have no training photos to draw: convert classes of several photos."
        )
    rows = [int(row) for row in chosen.index]
    encoded = read_photos(manifest, split="train", folds=sorted(set(chosen["fold"])), rows=rows)
    return [StoredPhoto(row, decode(encoded[row])) for row in rows]


def originals_and_draws(
    photos: Sequence[StoredPhoto], *, recipe: Recipe, settings: DrawSettings, layer: Render
) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns the picture of each photo, and its draws, uint8 [n, draws, H, W, 3].

    If the recipe mixes, the picture has the photo's partner below it; a photo without one is mixed with the first.
    """
    if not recipe.mixes:
        return [photo.pixels for photo in photos], _draws(photos, recipe=recipe, settings=settings, layer=layer)
    paired = [*photos, *photos[: len(photos) % 2]]
    originals = [stacked(photo.pixels, paired[index ^ 1].pixels) for index, photo in enumerate(photos)]
    return originals, _draws(paired, recipe=recipe, settings=settings, layer=layer)[: len(photos)]


def _draws(photos: Sequence[StoredPhoto], *, recipe: Recipe, settings: DrawSettings, layer: Render) -> np.ndarray:
    """Returns the photos as in the first epochs of training, uint8 [n, draws, H, W, 3].

    Training decodes a photo much larger than the image at a DCT ratio, so its pixels may be slightly smoother.
    """
    extent = np.array([photo.pixels.shape[:2] for photo in photos], np.float32)
    side = int(np.max(extent))
    canvas = np.zeros((len(photos), side, side, 3), np.uint8)
    for target, photo in zip(canvas, photos, strict=True):
        height, width, _ = photo.pixels.shape
        target[:height, :width] = photo.pixels
    rows = np.array([photo.row for photo in photos])
    drawn = []
    for epoch in range(settings.draws):
        draws = recipe.draw(
            seed=settings.seed, epoch=epoch, row=rows, extent=extent, image_size=settings.image_size, fit=settings.fit
        )
        arrays = {"canvas": canvas, "extent": extent} | dataclasses.asdict(draws)
        image = layer({name: keras.ops.convert_to_tensor(array) for name, array in arrays.items()})
        drawn.append(np.rint(keras.ops.convert_to_numpy(image)).astype(np.uint8))
    return np.stack(drawn, axis=1)
