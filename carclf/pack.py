"""`python -m carclf.pack`: packs carclf, what it needs, runs and weights for a notebook without internet."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from carclf.command import run_command
from carclf.flags import Options, option, refuse, require_flags, same_option
from carclf.prediction_options import PredictionOptions

if TYPE_CHECKING:
    from carclf.packing.packer import Packed

DESCRIPTION = """Packs all that a notebook without internet needs into a folder, which you upload as a data set: wheels
of carclf and of packages that the image lacks, finished runs, weights and stages, with the SHA-256 of every file.

The README.md in the folder has the cells to paste; its install.py changes no package of the image.
Example: python -m carclf.pack --run=b3_512 --image=kaggle --output=carclf-pack"""


@dataclasses.dataclass(frozen=True)
class PackOptions(Options):
    """Every option of `python -m carclf.pack`."""

    required = ("output",)

    output: str = option("", "Folder to create; its name is that of the data set in the notebook.", path=True)
    image: str = option(
        "",
        "Notebook image, whose packages are not packed; or a file with the output of pip list --format=freeze in the "
        "notebook. By default everything is packed, with TensorFlow for CPUs.",
        names="carclf.packing.target:IMAGES",
        path=True,
    )
    python: str = option(
        "",
        "Python version of the notebook; by default that of the image, or without --image the current one.",
        choices=("", "3.11", "3.12", "3.13"),
    )
    run: str = same_option(
        PredictionOptions,
        "run",
        help="Runs to pack, separated by commas; the folder of a probe stands for its run.",
        group="Options",
    )
    runs: str = same_option(PredictionOptions, "runs", group="Options")
    stages: str = option("", "Stages to train in the notebook, separated by commas: names, or paths of flag files.")
    weights: str = option(
        "",
        "Weights that these stages start from, separated by commas: files or folders, as for carclf.train --weights. "
        "One for all stages, or one for each.",
    )
    extras: str = option("", "Extras of carclf to pack, separated by commas, such as export,serve.")
    competition: str = option("", "Last part of the competition's address, for the cells of README.md.")

    def __post_init__(self) -> None:
        """Checks each option, and that no required one is missing."""
        super().__post_init__()
        require_flags(self, *self.required)
        unclean = self.competition.strip("/") != self.competition or any(c.isspace() for c in self.competition)
        refuse(unclean, "competition", self.competition, "it is the last part of an address, without / and spaces")


def main(options: PackOptions) -> None:
    """Packs, and prints what is in the pack and what to do with it."""
    from carclf.packing.packer import pack

    print_result(
        pack(
            output=Path(options.output),
            image=options.image,
            python=options.python,
            run=options.run,
            runs_folder=options.runs,
            stages=options.stages,
            weights=options.weights,
            extras=options.extras,
            competition=options.competition,
        )
    )


def print_result(packed: "Packed") -> None:
    """Prints what is in the pack, and what to do with it."""
    from carclf.packing.readme import install_line

    about, megabytes = packed.about, packed.size / 1e6
    if not packed.is_new:
        print(f"The pack {packed.output} is complete already, and all its files are whole: nothing to do.")
    wheels = [f"carclf {about['carclf']}", *(f"{one['name']} {one['version']}" for one in about["packages"])]
    files = f"{len(about['files']) + 1} files, {megabytes:,.1f} MB"
    print(f"Pack: {packed.output}, {files}, for Python {about['python']}, with {', '.join(wheels)}.")
    print(f"Next: upload that folder as a data set, and paste the cells of {packed.output / 'README.md'}.")
    print(f"The first is: !{install_line(packed.place)}")


if __name__ == "__main__":
    run_command(main, PackOptions, description=DESCRIPTION)
