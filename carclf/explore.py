"""`python -m carclf.explore`: what is in a data set, and what a recipe makes of its photos, before any training."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from carclf.command import run_door
from carclf.errors import UserError
from carclf.flags import option, refuse, require_flags
from carclf.framing import FILLS, Fill
from carclf.train_options import parse_image_size

if TYPE_CHECKING:
    from carclf.data.manifest import Manifest
    from carclf.recipe import Recipe

DESCRIPTION = """Writes a page about a data set: classes, sizes, light, duplicates and leaks, rejected photos, folds.

With --augment it draws a picture instead: photos beside what the recipe makes of them, as a training with that seed
sees them. --augment=all draws every operation, one a row, with its name, its arguments and what it does:
python -m carclf.explore --data=data/cars --augment='flip|rotate(10)|cutmix' --output=augmentation.png
Example: python -m carclf.explore --data=data/cars --output=eda.html"""

EVERY_OPERATION = "all"


@dataclasses.dataclass(frozen=True)
class ExploreOptions:
    """Every option of `python -m carclf.explore`."""

    data: str = option("", "Folder that tools/make_tfrecords.py wrote.", group="Data")
    output: str = option(
        "",
        "The page (.html) to write or, with --augment, the picture (.png, .jpg, .svg or .pdf); eda.html or "
        "augmentation.png where none is given.",
        group="Data",
    )
    show: str = option("", "Ids of photos, with commas, to show at the top of the page.", group="Page")
    workers: int = option(0, "Processes that look at the photos; 0 is one a CPU.", group="Page")
    augment: str = option(
        "",
        "Draw this recipe instead of writing the page, as in carclf.train; all draws every operation there is, one a "
        "row, and prints how it is written.",
        group="Augmentation",
    )
    photos: int = option(4, "Photos drawn, of different classes; all draws one photo.", group="Augmentation")
    draws: int = option(8, "Draws of each photo, those of the first epochs.", group="Augmentation")
    seed: int = option(42, "Seed of the draws: a training of the same seed draws the same.", group="Augmentation")
    image_size: str = option("224", "As in carclf.train.", group="Images")
    fit: str = option("squash", "As in carclf.train.", choices=("squash", "crop", "pad"), group="Images")
    fill: Fill = option("edge", "As in carclf.train.", choices=FILLS, group="Images")

    def __post_init__(self) -> None:
        """Refuses a call without what it needs, and values that no page or picture could have."""
        require_flags(self, "data")
        parse_image_size(self.image_size)
        refuse(not 1 <= self.photos <= 32, "photos", self.photos, "it must be between 1 and 32")
        refuse(not 1 <= self.draws <= 32, "draws", self.draws, "it must be between 1 and 32")
        refuse(self.seed < 0, "seed", self.seed, "it must be 0 or more")
        refuse(not 0 <= self.workers <= 1024, "workers", self.workers, "it must be between 0 and 1024")
        draws = bool(self.augment.strip())
        refuse(draws and bool(self.show), "show", self.show, "it is for the page, which --augment does not write")
        if self.output:
            suffixes = (".png", ".jpg", ".svg", ".pdf") if draws else (".html",)
            named = self.output.lower().endswith(suffixes)
            rule = "--augment draws a picture" if draws else "the page is a file of HTML, and a picture wants --augment"
            refuse(not named, "output", self.output, f"{rule}, so it must end with {' or '.join(suffixes)}")

    @property
    def output_path(self) -> Path:
        """The file to write."""
        return Path(self.output or ("augmentation.png" if self.augment.strip() else "eda.html")).expanduser()


def main(options: ExploreOptions) -> None:
    """Writes the page, or the picture."""
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
    """Writes the page about the data set; neither TensorFlow nor Keras is needed.

    Raises:
      UserError: there is no photo, or one of `--show` is not among them.
      OSError: the file cannot be written.
    """
    from tqdm import tqdm

    from carclf.report.eda import write_eda

    photos = sum(shard.count for shard in manifest.shards)
    with tqdm(total=photos, unit=" photos", disable=None, file=sys.stderr) as bar:
        write_eda(
            manifest,
            path=options.output_path,
            show=[name.strip() for name in options.show.split(",") if name.strip()],
            workers=options.workers,
            on_photos=bar.update,
        )


def write_picture(options: ExploreOptions, *, manifest: "Manifest", recipe: "Recipe | None") -> None:
    """Writes the draws of the recipe, or of every operation where there is none.

    Raises:
      UserError: the data set holds no training photo.
      OSError: the file cannot be written.
    """
    from carclf.device import select_device

    select_device("cpu")

    # Keras is imported only from here on, when its backend has been chosen.
    from carclf.report.augmentation import Look, draw_catalogue, draw_recipe

    look = Look(
        image_size=parse_image_size(options.image_size),
        fit=options.fit,
        fill=options.fill,
        seed=options.seed,
        draws=options.draws,
    )
    path, folds = options.output_path, manifest.folds
    if recipe is None:
        draw_catalogue(manifest, folds=folds, look=look, path=path)
    else:
        draw_recipe(manifest, folds=folds, recipe=recipe, look=look, path=path, photos=options.photos)


if __name__ == "__main__":
    run_door(main, ExploreOptions, description=DESCRIPTION)
