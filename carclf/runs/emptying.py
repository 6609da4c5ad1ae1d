"""Empties the folder of a run for another one, and keeps what carclf has not written from being removed with it."""

import re
import shutil
from pathlib import Path

from carclf import runs
from carclf.errors import UserError
from carclf.runs.weights_files import hash_path, remove_weights
from carclf.storage import copies

# In the order in which they are removed: what is left after a kill is a whole run, an unfinished one, or none.
FOLDERS = (runs.CHECKPOINTS_FOLDER, runs.EPOCHS_FOLDER, runs.FEATURES_FOLDER, runs.TENSORBOARD_FOLDER)
PAGES = (runs.METRICS_FILE, "report.html", "history.png", "confusion.png")  # of a finished run
FILES = (
    runs.STAGE_FILE, runs.BEST_WEIGHTS, runs.LAST_WEIGHTS, runs.HISTORY_FILE, runs.APPLIED_LABELS,
    runs.APPLIED_PSEUDO_LABELS, f"{runs.APPLIED_PSEUDO_LABELS}.json", "augmentation.png",
)  # fmt: skip

# What a kill leaves without a stage.json: copies of checkpoints, and files that go after it or come before it.
COPIED = {
    runs.CHECKPOINTS_FOLDER: re.compile(r"(step-\d{8,}\.(npz|json)|best-\d{5,}\.weights\.h5(\.sha256)?)"),
    runs.EPOCHS_FOLDER: re.compile(r"epoch-\d{5,}\.weights\.h5(\.sha256)?"),
}
OWN_COLUMNS = {"epoch", "val_accuracy", "learning_rate", "seconds"}


def empty_folder(directory: Path) -> None:
    """Removes the run in a folder; a kill leaves a finished run, an unfinished one that starts at step 0, or none."""
    for name in FOLDERS:
        shutil.rmtree(directory / name, ignore_errors=True)
    for name in PAGES:
        (directory / name).unlink(missing_ok=True)
    copies.remove_gone()  # a store, too, has none of them without a stage.json
    for name in FILES:
        remove_weights(directory / name)


def check_emptied(directory: Path) -> None:
    """Checks that `empty_folder` would remove only what carclf has written.

    Raises:
      UserError: the folder holds no run, but files that a run would replace.
    """
    if (directory / runs.STAGE_FILE).is_file():
        return
    if foreign := next((path for name in (*FOLDERS, *PAGES, *FILES) if (path := _foreign(directory, name))), None):
        raise UserError(
            f"The folder {directory} holds no run, but {foreign.relative_to(directory)}, which a run there would "
            "replace: choose another folder, or move that file elsewhere."
        )


def _foreign(directory: Path, name: str) -> Path | None:
    """Returns the file of this name, or one in the folder of this name, that no killed start of a run has left."""
    path = directory / name
    if name in FOLDERS:
        own = COPIED.get(name)
        files = (file for file in sorted(path.rglob("*")) if not file.is_dir())
        return next((one for one in files if not (own and one.parent == path and own.fullmatch(one.name))), None)
    if not path.is_file():
        return None
    if name in PAGES:
        return path
    if name in (runs.BEST_WEIGHTS, runs.LAST_WEIGHTS):
        return None if hash_path(path).is_file() else path
    return path if name == runs.HISTORY_FILE and not _is_own_history(path) else None


def _is_own_history(path: Path) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return set(file.readline().strip().split(",")) >= OWN_COLUMNS
