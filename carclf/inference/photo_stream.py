"""Predicts a list of photos of any length: a few batches are decoded ahead, so memory does not grow with the list."""

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


def predict_list(predictor: PhotoPredictor, photos: PhotoList, *, batch_size: int) -> tuple[np.ndarray, dict[int, str]]:
    """Returns (probabilities float64 [N, K], index of each photo that could not be read → reason).

    The rows of unreadable photos are NaN.

    Args:
      predictor: of the classes.
      photos: N photos.
      batch_size: photos per step; those in memory are at most three times as many.
    """
    probabilities = np.full((len(photos.ids), len(predictor.class_names)), np.nan)
    unread: dict[int, str] = {}
    with Progress("Predicting", total=len(photos.ids)) as progress:
        batch: dict[int, Prepared] = {}

        def flush() -> None:
            probabilities[list(batch)] = predictor.predict_prepared(list(batch.values()))
            progress.add(len(batch))
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
