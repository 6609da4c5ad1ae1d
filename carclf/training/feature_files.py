"""Files of features: whether the disk has room for them, and how they are written, photo after photo."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from carclf.errors import UserError
from carclf.progress import Progress
from carclf.runs.opening import AFRESH
from carclf.runs.weights_files import replacing_weights
from carclf.training.engine_model import EngineModel

Append = Callable[[np.ndarray], int]


def check_room(directory: Path, *, photos: int, photo_bytes: int, way_out: str) -> None:
    """Checks that the disk has room for features.

    Args:
      directory: folder of the files; it need not exist yet.
      photos: number of missing photos, each view of a photo counted.
      photo_bytes: size of the features of a photo.
      way_out: what else the user can do, as the end of a sentence.

    Raises:
      UserError: it has not.
    """
    needed = photos * photo_bytes
    existing = next(folder for folder in (directory, *directory.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UserError(
            f"The features of {photos:,} photos need {needed / 1e9:.3g} GB and {directory} has {free / 1e9:.3g} GB "
            f"free: make room, or {way_out}."
        )


@contextlib.contextmanager
def writing_features(path: Path, *, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[Append]:
    """Yields a function that appends features [B, …] to a new file, which becomes `path` with its hash at the end.

    The function returns the number of rows it has written: rows after the N-th are padding, and are left out.

    Rows are written, not assigned to a memory map: on a full disk a write to mapped memory ends the process with
    SIGBUS, and no way to reserve space works on every file system.

    Args:
      path: an .npy file.
      shape: (N, …) of all photos.
      dtype: of the file.

    Raises:
      UserError: from the function: a value is too large for `dtype`.
      OSError: from the function: the disk is full.
    """
    missing = shape[0]
    with replacing_weights(path) as temporary, open(temporary, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

        def append(found: np.ndarray) -> int:
            nonlocal missing
            rows = _converted(found[:missing], dtype)
            file.write(np.ascontiguousarray(rows).data)
            missing -= len(rows)
            return len(rows)

        yield append


def append_all(batches: tf.data.Dataset, network: EngineModel, append: Append, *, progress: Progress) -> None:
    """Computes the features of all photos in the batches, by whatever engine has taken over, and appends them."""
    for inputs, *_ in batches.as_numpy_iterator():
        progress.add(append(network(inputs)))


def _converted(found: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Returns features in the type in which they are kept.

    Raises:
      UserError: a value is too large for it.
    """
    with np.errstate(over="ignore"):
        rows = found.astype(dtype, copy=False)
    if dtype == np.float16 and not np.isfinite(rows).all():
        raise UserError(
            "The backbone's feature maps hold values that are not finite in the 16 bits in which they are kept: "
            f"train on photos with --nokeep_features --feature_views=0, {AFRESH}."
        )
    return rows
