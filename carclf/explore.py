"""`python -m carclf.explore`: what is in a data set, and what a recipe makes of its photos, before any training."""

import sys
from typing import TYPE_CHECKING

from carclf.config import ExploreOptions, parse_image_size
from carclf.door import run_door
from carclf.errors import UserError

if TYPE_CHECKING:
    from carclf.data.manifest import Manifest
    from carclf.recipe import Recipe

DESCRIPTION = """Writes a page about a data set: classes, sizes, light, duplicates and leaks, rejected photos, folds.

With --augment it draws a picture instead: photos beside what the recipe makes of them, as a training with that seed
sees them. --augment=all draws every operation, one a row, with its name, its arguments and what it does:
python -m carclf.explore --data=data/cars --augment='flip|rotate(10)|cutmix' --output=augmentation.png
Example: python -m carclf.explore --data=data/cars --output=eda.html"""

EVERY_OPERATION = "all"


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
    from carclf.training.device import select_device

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
