"""Runs as a function from photos, however they are given, to probabilities."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from carclf.data.validation import UnusableError
from carclf.errors import UserError
from carclf.inference.photo_predictor import PhotoPredictor

Photo = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
"""A path, the bytes of an image file, a Pillow image, or an array uint8 [H, W, 3] (also [H, W], [H, W, 1] or RGBA)."""

CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}
NUMBERS = "biufc"  # the kinds of dtypes of NumPy that hold numbers


class Predictor:
    """A run, or the mean of several, as a function from photos to probabilities. `carclf.load_run` makes it.

    Attributes:
      class_names: the K classes in order of the probabilities.
    """

    def __init__(self, photo_predictor: PhotoPredictor, *, name: str, batch_size: int) -> None:
        """A predictor of photos of any kind.

        Args:
          photo_predictor: the runs, ready to predict.
          name: what the runs are called, for people.
          batch_size: photos per step of `predict`.
        """
        self.class_names = photo_predictor.class_names
        self._photo_predictor, self._name, self._batch_size = photo_predictor, name, batch_size

    def __reduce__(self) -> str:
        raise UserError("A Predictor cannot be copied to another process: call carclf.load_run there.")

    def __repr__(self) -> str:
        return f"<carclf.Predictor of {self._name}: {len(self.class_names)} classes>"

    def __call__(self, photo: Photo) -> np.ndarray:
        """Returns the probabilities of one photo, float64 [K], which sum to 1.

        The photo is turned upright, reduced and framed as in the training of the run. The first call compiles.

        Args:
          photo: a path, the bytes of an image file, a Pillow image, or an array uint8 [H, W, 3], [H, W], [H, W, 1] or
            [H, W, 4] (RGB, grey or RGBA, 0..255).

        Raises:
          UserError: it cannot be read, or is none of these.
        """
        return self._predict([self._prepared(photo, "The photo")], batch_size=1)[0]

    def predict(self, photos: Iterable[Photo]) -> np.ndarray:
        """Returns the probabilities of N photos, float64 [N, K].

        Only one batch is in memory at a time, so an iterator over any number of photos will do.

        Args:
          photos: each as for one photo; kinds may be mixed. A column of paths, such as table["path"], is a list, too,
            and an array uint8 [N, H, W, 3] is N photos.

        Raises:
          UserError: one cannot be read (the first that cannot is named), or they are a single photo or a whole table.
        """
        check_list(photos)
        batches = [self._predict(batch, batch_size=self._batch_size) for batch in self._batches(photos)]
        return np.concatenate([np.zeros((0, len(self.class_names))), *batches])

    def _batches(self, photos: Iterable[Photo]) -> Iterator[list[Any]]:
        batch = []
        for number, photo in enumerate(photos):
            batch.append(self._prepared(photo, f"Photo number {number} of the list"))
            if len(batch) == self._batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _prepared(self, photo: Photo, what: str) -> Any:
        named = f"The photo {os.fspath(photo)}" if isinstance(photo, (str, os.PathLike)) else what
        try:
            return self._photo_predictor.prepare(readable_photo(photo))
        except (UnusableError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{named} cannot be read ({reason}): give another file, or leave it out.") from None

    def _predict(self, batch: list[Any], *, batch_size: int) -> np.ndarray:
        return self._photo_predictor.predict_prepared(batch, batch_size=batch_size)


def check_list(photos: Iterable[Photo]) -> None:
    """Checks that these are several photos.

    Raises:
      UserError: they are a single one, a table, or nothing to go through.
    """
    axes = getattr(photos, "ndim", None)
    if axes in (2, 3) and np.asarray(photos).dtype.kind not in NUMBERS:
        raise UserError(
            "predict takes a list of photos, and this is a table: give the one column of paths, such as table['path']."
        )
    shape = list(getattr(photos, "shape", ()))
    if axes == 3 and shape[2] not in CHANNELS:
        raise UserError(
            f"predict takes an array [N, H, W, 3] or [N, H, W, 1], and this is {shape}: give a stack of grey photos as "
            "photos[..., None], or a list of photos."
        )
    if isinstance(photos, (str, os.PathLike, bytes, Image.Image)) or axes in (0, 2, 3):
        raise UserError(
            "predict takes a list of photos, and this is a single photo: put it into a list, or call predictor(photo)."
        )
    if not isinstance(photos, Iterable):
        raise UserError(f"predict takes a list of photos, and this is {photos!r}: give paths, bytes, images or arrays.")


def readable_photo(photo: Photo) -> bytes | Image.Image:
    """Returns the photo as `PhotoPredictor` takes it: the bytes of a file, or an image.

    Raises:
      OSError: the path cannot be read.
      UnusableError: an array of another dtype or shape, or something that is no photo.
    """
    if isinstance(photo, (str, os.PathLike)):
        try:
            return Path(photo).expanduser().read_bytes()
        except (ValueError, RuntimeError) as error:  # a null character; ~ of nobody
            raise UnusableError(str(error)) from None
    if isinstance(photo, (bytes, bytearray, memoryview)):
        return bytes(photo)
    if isinstance(photo, Image.Image):
        return photo
    if hasattr(photo, "__array__"):
        return _image_of(np.asarray(photo))
    raise UnusableError(f"{type(photo).__name__} is not a path, bytes, a Pillow image or a uint8 array")


def _image_of(pixels: np.ndarray) -> Image.Image:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels not in CHANNELS or not pixels.size:
        raise UnusableError(f"{pixels.dtype} {list(pixels.shape)} is not an array of pixels uint8 [H, W, 3] in 0..255")
    return Image.fromarray(pixels.reshape(pixels.shape[:2]) if channels == 1 else np.ascontiguousarray(pixels))
