"""`python -m carclf.sample`: draws the built-in data set, in the competition's layout."""

import dataclasses
from pathlib import Path

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, require_flags
from carclf.progress import Progress
from carclf.workers import MOST_WORKERS

DESCRIPTION = """Draws a sample competition: photos of ten kinds of cars, in the layout of the 2020 car competition, and
the true labels of the test photos in solution.csv. The demo and the tests train on it; it needs no download and has no
licence restrictions.

Example: python -m carclf.sample --output=data/sample --photos=1600"""

LEAST_PHOTOS = 10  # one of each kind
MOST_PHOTOS = 700_000  # limited by the number of six-digit Ids


@dataclasses.dataclass(frozen=True)
class SampleOptions(Options):
    """Every option of `python -m carclf.sample`."""

    required = ("output",)

    output: str = option("", "Folder to create.", path=True)
    photos: int = option(
        1600,
        "Number of training photos, divided equally among the ten kinds; a quarter as many test photos are added.",
        low=LEAST_PHOTOS,
        high=MOST_PHOTOS,
    )
    seed: int = option(42, "Seed of the photos; the same seed gives the same bytes.", low=0, high=2**63 - 1)
    width: int = option(
        640, "Width of a photo in pixels; one photo in twelve has width and height swapped.", low=32, high=4096
    )
    height: int = option(480, "Height of a photo in pixels.", low=32, high=4096)
    zip: bool = option(False, "Write the competition's zip of zips instead of folders.")
    workers: int = option(0, "Number of processes; 0 is one per CPU.", low=0, high=MOST_WORKERS)

    def __post_init__(self) -> None:
        """Checks each option, and that no required one is missing."""
        super().__post_init__()
        require_flags(self, *self.required)


def main(options: SampleOptions) -> None:
    """Draws and writes the sample."""
    from carclf.synthetic import dataset
    from carclf.synthetic.drawing import PHOTOS_PER_WORKER
    from carclf.workers import worker_count

    output = Path(options.output).expanduser()
    output = output if output.name else output.resolve()
    chosen = {key: value for key, value in dataclasses.asdict(options).items() if key not in ("output", "workers")}
    description = {"format": dataset.FORMAT, **chosen}
    if dataset.check_output(output, description=description):
        print(f"{output} holds this sample already: nothing to do.")
        return
    train, test = dataset.plan_photos(photos=options.photos, seed=options.seed)
    total = len(train) + len(test)
    workers = worker_count(options.workers, photos=total, photos_per_worker=PHOTOS_PER_WORKER)
    try:
        with Progress("Drawing", total=total) as progress:
            dataset.write_competition(
                output,
                train=train,
                test=test,
                seed=options.seed,
                size=(options.width, options.height),
                zipped=options.zip,
                workers=workers,
                description=description,
                on_photo=progress.add,
            )
    except OSError as error:
        raise UserError(
            f"{output} could not be written ({error.strerror}): free some space, or give another folder."
        ) from None
    made = output / dataset.ZIP_FILE if options.zip else output
    print(f"{made}: {len(train):,} training and {len(test):,} test photos; true labels in {output / 'solution.csv'}.")


if __name__ == "__main__":
    run_command(main, SampleOptions, description=DESCRIPTION)
