"""Predicts a list of photos of any length: a few batches are decoded ahead, so memory does not grow with the list."""

import dataclasses
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from carclf.data.validation import UnusableError
from carclf.inference.photo_list import PhotoList
from carclf.inference.photo_predictor import PhotoPredictor, Prepared
from carclf.progress import Progress
from carclf.workers import usable_cores

BATCHES_AHEAD = 2


@dataclasses.dataclass
class Pace:
    """How long photos take: those of the first batch, which compiles, and all.

    Attributes:
      photos: how many were predicted.
      seconds: how long they took.
      first_photos: how many were predicted by the end of the first batch.
      first_seconds: how long those took.
    """

    photos: int = 0
    seconds: float = 0.0
    first_photos: int = 0
    first_seconds: float = 0.0

    def add(self, photos: int, *, seconds: float) -> None:
        """Counts photos that were predicted `seconds` after the start."""
        self.photos, self.seconds = self.photos + photos, seconds
        if not self.first_photos:
            self.first_photos, self.first_seconds = self.photos, seconds

    @property
    def later_seconds(self) -> float:
        """Seconds per photo after the first batch; of all photos if there was no other."""
        later = self.photos - self.first_photos
        return (self.seconds - self.first_seconds) / later if later else self.seconds / max(self.photos, 1)

    def expected_seconds(self, photos: int) -> float:
        """Returns how long this many photos, more than were predicted, would take."""
        return self.seconds + (photos - self.photos) * self.later_seconds


def predict_list(
    predictor: PhotoPredictor, photos: PhotoList, *, batch_size: int, pace: Pace | None = None
) -> tuple[np.ndarray, dict[int, str]]:
    """Returns (probabilities float64 [N, K], index of each photo that could not be read → reason).

    The rows of unreadable photos are NaN.

    Args:
      predictor: of the classes.
      photos: N photos.
      batch_size: photos per step; those in memory are at most three times as many.
      pace: counts the photos.
    """
    started, pace = time.monotonic(), pace or Pace()
    probabilities = np.full((len(photos.ids), len(predictor.class_names)), np.nan)
    unread: dict[int, str] = {}
    with Progress("Predicting", total=len(photos.ids)) as progress:
        batch: dict[int, Prepared] = {}

        def flush() -> None:
            probabilities[list(batch)] = predictor.predict_prepared(list(batch.values()))
            progress.add(len(batch))
            pace.add(len(batch), seconds=time.monotonic() - started)
            batch.clear()

        for index, photo in _prepared(predictor, photos, ahead=BATCHES_AHEAD * batch_size):
            if isinstance(photo, UnusableError):
                unread[index] = str(photo)
                progress.add()
            else:
                batch[index] = photo
            if len(batch) == batch_size:
                flush()
        if batch:
            flush()
    return probabilities, unread


def _prepared(
    predictor: PhotoPredictor, photos: PhotoList, *, ahead: int
) -> Iterator[tuple[int, Prepared | UnusableError]]:
    """Yields each photo's index with the decoded photo, or with the error of reading it, in order."""

    def prepare(index: int) -> Prepared | UnusableError:
        try:
            return predictor.prepare(photos.read(index))
        except UnusableError as error:
            return error

    pending: deque[tuple[int, Future[Prepared | UnusableError]]] = deque()
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode") as threads:
        try:
            for index in range(len(photos.ids)):
                pending.append((index, threads.submit(prepare, index)))
                if len(pending) == ahead:
                    first, future = pending.popleft()
                    yield first, future.result()
            for first, future in pending:
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()
