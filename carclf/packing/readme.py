"""The README.md of a pack: the cells to paste, with the paths of the notebook."""

import shlex
from collections.abc import Sequence

from carclf.advice import command
from carclf.packing.contents import RUNS, STAGES, WEIGHTS, Contents, PackedStage
from carclf.packing.install import PACK_FILE
from carclf.packing.target import IMAGES, Target
from carclf.packing.wheel_plan import Release

COMPETITION = "COMPETITION"  # stands for the name that nobody has given
DATA, OUTPUT, SAMPLE = "data", "submission.csv", "sample_submission.csv"
WITHOUT_WEIGHTS = "scratch_96"  # a stage that needs none


def install_line(place: str) -> str:
    """Returns the command of the first cell."""
    return shlex.join(["python", f"{place}/install.py"])


def work_lines(contents: Contents, *, place: str, competition: str) -> list[str]:
    """Returns the commands of the second cell: they end with the submission.

    Args:
      contents: what is packed.
      place: the folder of the pack in the notebook.
      competition: the last part of the competition's address.
    """
    photos = f"{place.rpartition('/')[0]}/{competition}"
    if contents.runs and not contents.stages:
        paths = ",".join(f"{place}/{RUNS}/{name}" for name in contents.runs)
        sample = f"--sample={photos}/{SAMPLE}"
        return [command("predict", f"--run={paths}", f"--photos={photos}", sample, f"--output={OUTPUT}")]
    lines = [command("make_tfrecords", f"--input={photos}", f"--output={DATA}")]
    last = WITHOUT_WEIGHTS
    if not contents.stages:
        lines.append(command("train", f"--stage={last}", f"--data={DATA}"))
    weights = list(contents.weights) * (1 if len(contents.weights) > 1 else len(contents.stages))
    for stage in contents.stages:
        lines.append(_train(stage, contents.runs, weights, place=place))
        last = stage.run
    return [*lines, command("predict", f"--run=runs/{last}", f"--data={DATA}", f"--output={OUTPUT}")]


def _train(stage: PackedStage, runs: Sequence[str], weights: list[str], *, place: str) -> str:
    """Returns the command of a stage; the weights that it takes are removed from the list."""
    start = []
    if stage.wants_weights and weights:
        start = [f"--weights={place}/{WEIGHTS}/{weights.pop(0)}"]
    elif stage.init_from in runs:
        start = [f"--init_from={place}/{RUNS}/{stage.init_from}"]
    return command(
        "train", f"--flagfile={place}/{STAGES}/{stage.name}.flags", f"--data={DATA}", f"--run=runs/{stage.run}", *start
    )


def readme(
    contents: Contents, *, target: Target, packages: Sequence[Release], place: str, competition: str, version: str
) -> str:
    """Returns the text of README.md.

    Args:
      contents: what is packed.
      target: the machine of the notebook.
      packages: releases whose wheels are packed.
      place: the folder of the pack in the notebook.
      competition: the last part of the competition's address; "" for the word that stands for it.
      version: carclf's.
    """
    name = place.rpartition("/")[2]
    work = work_lines(contents, place=place, competition=competition or COMPETITION)
    replaced = "" if competition else f" Write the last part of the competition's address in place of {COMPETITION}."
    if any(SAMPLE in line for line in work):
        replaced += f" Correct the path of {SAMPLE} if the competition's own is elsewhere."
    held = [f"carclf {version}", *(f"{package.name} {package.version}" for package in packages)]
    image = f" in the image {target.image}" if target.image in IMAGES else ""
    rows = [
        ("wheels/", ", ".join(held)),
        (f"{RUNS}/", ", ".join(contents.runs)),
        (f"{WEIGHTS}/", ", ".join(contents.weights)),
        (f"{STAGES}/", ", ".join(stage.name for stage in contents.stages)),
        (PACK_FILE, "the SHA-256 of every file"),
    ]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"carclf for a notebook without internet: Python {target.python}{image}.",
            "",
            f"Upload this folder as it is, and add it to the notebook, where it is `{place}`.",
            f"Then paste three cells.{replaced}",
            "",
            "Install; nothing that the image has is changed:",
            "",
            *_cell(f"!{install_line(place)}"),
            "Predict:" if contents.runs and not contents.stages else "Convert, train and predict:",
            "",
            *_cell(*(f"!{line}" for line in work)),
            "Look at the submission:",
            "",
            *_cell("import pandas as pd", "", f'pd.read_csv("{OUTPUT}", dtype=str).head()'),
            "| here | what |",
            "| --- | --- |",
            *(f"| `{path}` | {what} |" for path, what in rows if what),
            "",
        ]
    )


def _cell(*lines: str) -> list[str]:
    return ["```python", *lines, "```", ""]
