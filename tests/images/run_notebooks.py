"""Runs both notebooks in the environment of an image, from drawn photos through the stages of `best` to a submission.

`python tests/images/run_notebooks.py FOLDER --extras=lite` lets them install this clone with those extras. It ends with
an error if a cell fails, a package changes, or a submission does not answer for every Id of the sample, in its order.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from notebook_run import execute  # noqa: E402

STAGES = "best"
RUN, BACKBONE = "lite0_288_all", "efficientnet_lite0"
QUICK = "--image_size=64 --batch_size=8 --epochs=2 --steps=2 --notensorboard"
PHOTOS = ("--photos=60", "--width=96", "--height=64")


def main() -> None:
    """Runs the notebooks one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extras", default="lite", help="of carclf, for the notebooks' EXTRAS")
    options = parser.parse_args()
    folder = options.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the cells say python and pip
    draw = [sys.executable, "-m", "carclf.sample", f"--output={folder / 'photos'}", *PHOTOS]
    subprocess.run(draw, check=True, cwd=folder)
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a warning of the debugger that ipykernel starts
    before = installed()
    run_kaggle(folder, extras=options.extras)
    os.environ["KERAS_BACKEND"] = "jax"  # as --device=tpu chooses
    run_colab(folder, extras=options.extras)
    moved = sorted(set(before.items()) - set(installed().items()))
    if moved:
        sys.exit(f"The notebooks change {moved}.")


def run_kaggle(folder: Path, *, extras: str) -> None:
    """Runs the notebook of Kaggle."""
    own = new_folder(folder / "kaggle")
    execute(
        ROOT / "notebooks" / "kaggle.ipynb", folder=own, STAGES=STAGES, **common(folder, own, extras=extras)
    )  # fmt: skip
    check(folder, own, notebook="kaggle")


def run_colab(folder: Path, *, extras: str) -> None:
    """Runs the notebook of Colab, on JAX, without a TPU and without Drive."""
    own = new_folder(folder / "colab_tpu")
    execute(
        ROOT / "notebooks" / "colab_tpu.ipynb", folder=own, FIRST_STAGES=STAGES, LAST_STAGE="", DRIVE="", DEVICE="cpu",
        **common(folder, own, extras=extras),
    )  # fmt: skip
    check(folder, own, notebook="colab_tpu")


def new_folder(path: Path) -> Path:
    """Creates a folder and returns it."""
    path.mkdir()
    return path


def common(folder: Path, own: Path, *, extras: str) -> dict[str, object]:
    """Returns the parameters that both notebooks have."""
    places = {"DATA": "data", "RUNS": "runs", "SUBMISSION": "submission.csv"}
    return {
        "PHOTOS": str(folder / "photos"), "CARCLF": str(ROOT), "EXTRAS": extras, "TRAIN_FLAGS": QUICK,
        **{name: str(own / file) for name, file in places.items()},
    }  # fmt: skip


def check(folder: Path, own: Path, *, notebook: str) -> None:
    """Compares the submission's Ids with the sample's, and prints what was trained."""
    stage = json.loads((own / "runs" / RUN / "stage.json").read_text())
    assert stage["options"]["backbone"] == BACKBONE, stage["options"]
    wanted, given = (ids(path) for path in (folder / "photos" / "sample-submission.csv", own / "submission.csv"))
    if given != wanted:
        sys.exit(f"The submission of {notebook}.ipynb has {len(given)} rows for the {len(wanted)} of the sample.")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    print(f"{notebook}.ipynb: {STAGES} on {backend}, {len(given) - 1} answers in {own / 'submission.csv'}", flush=True)


def ids(path: Path) -> list[str]:
    """Returns the first column of a CSV file, with its header."""
    return [line.partition(",")[0] for line in path.read_text().splitlines()]


def installed() -> dict[str, str]:
    """Returns package → version."""
    return {package.name: package.version for package in importlib.metadata.distributions()}


if __name__ == "__main__":
    main()
