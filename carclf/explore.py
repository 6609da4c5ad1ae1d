"""`python -m carclf.explore`: shows what a recipe makes of the photos, before any training."""

from pathlib import Path
from typing import TYPE_CHECKING

from carclf.config import ExploreOptions, parse_image_size
from carclf.door import run_door
from carclf.errors import UserError

if TYPE_CHECKING:
    from carclf.data.manifest import Manifest
    from carclf.recipe import Recipe

DESCRIPTION = """Draws photos of a data set beside what a recipe makes of them, as a training with that seed sees them.

--augment=all draws every operation instead, one a row, with its name, its arguments and what it does.
Example: python -m carclf.explore --data=data/cars --augment='flip|rotate(10)|cutmix' --output=augmentation.png"""

EVERY_OPERATION = "all"


def main(options: ExploreOptions) -> None:
    """Writes the picture."""
    from carclf.recipe import known_operations, parse_recipe

    everything = options.augment.strip() == EVERY_OPERATION
    recipe = None if everything else parse_recipe(options.augment)

    from carclf.data.manifest import load_manifest

    manifest = load_manifest(options.data)
    write_picture(options, manifest=manifest, recipe=recipe)
    if everything:
        print(known_operations())
    print(f"Picture: {options.output}")


def write_picture(options: ExploreOptions, *, manifest: "Manifest", recipe: "Recipe | None") -> None:
    """Writes the draws of the recipe, or of every operation where there is none.

    Raises:
      UserError: the data set holds no training photo, or the picture cannot be written.
    """
    from carclf.training.device import select_device

    select_device("cpu")

    # Keras is imported only from here on, when its backend has been chosen.
    from carclf.report.augmentation import Look, draw_catalogue, draw_recipe

    path = Path(options.output).expanduser()
    look = Look(
        image_size=parse_image_size(options.image_size),
        fit=options.fit,
        fill=options.fill,
        seed=options.seed,
        draws=options.draws,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if recipe is None:
            draw_catalogue(manifest, folds=manifest.folds, look=look, path=path)
        else:
            draw_recipe(manifest, folds=manifest.folds, recipe=recipe, look=look, path=path, photos=options.photos)
    except OSError as error:
        raise UserError(f"{path} could not be written ({error.strerror}): give another --output.") from None


if __name__ == "__main__":
    run_door(main, ExploreOptions, description=DESCRIPTION)
