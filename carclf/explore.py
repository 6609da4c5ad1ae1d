"""`python -m carclf.explore`: shows what is in a data set, and what a recipe does to its photos, before training."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, refuse, require_flags, same_option
from carclf.framing import PaddingMode, parse_image_size
from carclf.progress import Progress
from carclf.storage import copies
from carclf.train_options import TrainOptions
from carclf.workers import MOST_WORKERS

if TYPE_CHECKING:
    from carclf.data.manifest import Manifest
    from carclf.recipe import Recipe

DESCRIPTION = """Writes a report about a data set: classes, sizes, light, duplicates and leaks, rejected photos, folds.

With --augment it draws a picture instead: photos and their augmented versions, as training with the same seed sees
them. --augment=all draws every operation, one per row, with its name and arguments and what it does.
Example: python -m carclf.explore --data=data/cars --augment='flip|rotate(10)|cutmix' --output=augmentation.png
Example: python -m carclf.explore --data=data/cars --output=eda.html"""

EVERY_OPERATION = "all"
_AUGMENT = ("--augment", lambda options: bool(options.augment.strip()))  # what an option of the picture needs


@dataclasses.dataclass(frozen=True)
class ExploreOptions(Options):
    """Every option of `python -m carclf.explore`."""

    required = ("data",)

    data: str = same_option(TrainOptions, "data", group="Data")
    output: str = option(
        "",
        "The page (.html) to write or, with --augment, the picture (.png, .jpg, .svg or .pdf); by default eda.html or "
        "augmentation.png.",
        group="Data",
        path=True,
        urls=True,
    )
    show: str = option("", "Ids of photos, separated by commas, to show at the top of the page.", group="Page")
    workers: int = option(
        0, "Number of processes that read the photos; 0 is one per CPU.", low=0, high=MOST_WORKERS, group="Page"
    )
    augment: str = same_option(
        TrainOptions,
        "augment",
        default="",
        help="Draw this recipe, written as in carclf.train, instead of writing the page; all draws every operation, "
        "one per row, and prints how each is written.",
        check="carclf.explore:check_augment",
        group="Augmentation",
    )
    photos: int = option(
        4,
        "Number of photos to draw, of different classes; with --augment=all only one is drawn.",
        low=1,
        high=32,
        only_with=_AUGMENT,
        group="Augmentation",
    )
    draws: int = option(
        8,
        "Augmented versions of each photo: those of the first epochs.",
        low=1,
        high=32,
        only_with=_AUGMENT,
        group="Augmentation",
    )
    seed: int = same_option(
        TrainOptions,
        "seed",
        help="Seed of the random draws; training with the same seed has the same draws.",
        only_with=_AUGMENT,
        group="Augmentation",
    )
    image_size: str = option(
        "224",
        "Size of a drawn image in pixels: 300, or HEIGHTxWIDTH such as 384x512.",
        check="carclf.framing:parse_image_size",
        only_with=_AUGMENT,
        group="Images",
    )
    fit: str = same_option(TrainOptions, "fit", only_with=_AUGMENT)
    fill: PaddingMode = same_option(TrainOptions, "fill", only_with=_AUGMENT)

    def __post_init__(self) -> None:
        """Checks each option, then the rules between options."""
        super().__post_init__()
        require_flags(self, *self.required)
        draws = bool(self.augment.strip())
        for name in ("show", "workers"):
            value = getattr(self, name)
            refuse(draws and bool(value), name, value, "it is for the page, which --augment does not write")
        if self.output:
            suffixes = (".png", ".jpg", ".svg", ".pdf") if draws else (".html",)
            named = self.output.lower().endswith(suffixes)
            rule = "--augment draws a picture" if draws else "the page is a file of HTML, and a picture wants --augment"
            refuse(not named, "output", self.output, f"{rule}, so it must end with {' or '.join(suffixes)}")

    @property
    def output_path(self) -> Path:
        """The file to write."""
        name = self.output or ("augmentation.png" if self.augment.strip() else "eda.html")
        return copies.local_path(name, fetched=False)


def check_augment(text: str) -> None:
    """Checks that `--augment` is a recipe or `all`.

    Raises:
      UserError: it is neither.
    """
    from carclf.recipe import parse_recipe

    if text.strip() != EVERY_OPERATION:
        parse_recipe(text)


def main(options: ExploreOptions) -> None:
    """Writes the page or the picture."""
    from carclf.recipe import known_operations, parse_recipe

    draws = bool(options.augment.strip())
    everything = options.augment.strip() == EVERY_OPERATION
    recipe = parse_recipe(options.augment) if draws and not everything else None

    from carclf.data.manifest import load_manifest

    manifest = load_manifest(options.data)
    path = options.output_path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if draws:
            write_picture(options, manifest=manifest, recipe=recipe)
        else:
            write_page(options, manifest=manifest)
    except OSError as error:
        raise UserError(f"{path} could not be written ({error.strerror}): give another --output.") from None
    if everything:
        print(known_operations())
    print(f"{'Picture' if draws else 'Page'}: {path}")


def write_page(options: ExploreOptions, *, manifest: "Manifest") -> None:
    """Writes the page about the data set, without TensorFlow or Keras.

    Raises:
      UserError: there is no photo, or one from `--show` is not in the data set.
      OSError: the file cannot be written.
    """
    from carclf.report.eda import write_eda

    photos = sum(shard.count for shard in manifest.shards)
    with Progress("Exploring", total=photos) as progress:
        write_eda(
            manifest,
            path=options.output_path,
            show=[name.strip() for name in options.show.split(",") if name.strip()],
            workers=options.workers,
            on_photos=progress.add,
        )


def write_picture(options: ExploreOptions, *, manifest: "Manifest", recipe: "Recipe | None") -> None:
    """Writes draws of the recipe, or of every operation if there is no recipe.

    Raises:
      UserError: the data set has no training photo.
      OSError: the file cannot be written.
    """
    from carclf.device import select_device

    select_device("cpu")

    # Keras may be imported only from here on, after its backend was chosen.
    from carclf.framing import Rendering
    from carclf.report.augmentation import DrawSettings, draw_catalogue, draw_recipe

    settings = DrawSettings(
        image_size=parse_image_size(options.image_size),
        fit=options.fit,
        rendering=Rendering(fill=options.fill),
        seed=options.seed,
        draws=options.draws,
    )
    path, folds = options.output_path, manifest.folds
    if recipe is None:
        draw_catalogue(manifest, folds=folds, settings=settings, path=path)
    else:
        draw_recipe(manifest, folds=folds, recipe=recipe, settings=settings, path=path, photos=options.photos)


if __name__ == "__main__":
    run_command(main, ExploreOptions, description=DESCRIPTION)
