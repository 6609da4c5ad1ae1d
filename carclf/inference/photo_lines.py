"""Prints the likeliest classes of photos, a few at a time."""

import sys
from collections.abc import Sequence
from pathlib import Path

from carclf.data.validation import UnusableError
from carclf.inference.photo_files import likeliest_line, printable, read_files
from carclf.inference.photo_predictor import PhotoPredictor, Prepared
from carclf.progress import Progress


def print_classes(predictor: PhotoPredictor, paths: Sequence[Path], *, top: int, batch_size: int) -> int:
    """Prints a line for each readable file, a few at a time; returns the number of files that could not be read."""
    unread = 0
    waiting: list[tuple[Path, Prepared]] = []

    def flush() -> None:
        with Progress(f"Predicting {len(waiting)} photos"):
            predicted = predictor.predict_prepared([photo for _, photo in waiting])
        for (path, _), probabilities in zip(waiting, predicted, strict=True):
            print(likeliest_line(path, probabilities, class_names=predictor.class_names, top=top), flush=True)
        waiting.clear()

    for path, raw in read_files(paths):
        try:
            if isinstance(raw, OSError):
                raise UnusableError(raw.strerror or str(raw))
            waiting.append((path, predictor.prepare(raw)))
        except UnusableError as error:
            unread += 1
            print(f"{printable(str(path))} cannot be read: {error}.", file=sys.stderr)
        if len(waiting) == batch_size:
            flush()
    flush()
    return unread
