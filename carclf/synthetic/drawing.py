"""Draws photos in several processes and yields them in order."""

import itertools
from collections.abc import Generator, Iterable

from carclf.synthetic.draw import draw_jpeg
from carclf.workers import Workers

PHOTOS_PER_TASK = 16
PHOTOS_PER_WORKER = 50  # with fewer, starting a process takes longer than it saves


def draw_photos(
    photos: Iterable[tuple[str, int]], *, seed: int, size: tuple[int, int], workers: int = 1
) -> Generator[tuple[str, bytes], None, None]:
    """Yields (Id, JPEG bytes) for every (Id, kind) of `photos`, in that order for any number of workers.

    Args:
      photos: Id and index into `KINDS` of each photo; read as needed.
      seed: of the data set.
      size: (width, height) in pixels.
      workers: number of processes; 1 draws in this one.

    Raises:
      UserError: a worker was killed.
    """
    remaining = iter(photos)
    tasks = iter(lambda: tuple(itertools.islice(remaining, PHOTOS_PER_TASK)), ())
    with Workers(workers, _settings, seed, size) as pool:
        for drawn in pool.map(_draw, tasks):
            yield from drawn


def _settings(seed: int, size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    return seed, size


def _draw(settings: tuple[int, tuple[int, int]], task: tuple[tuple[str, int], ...]) -> list[tuple[str, bytes]]:
    seed, size = settings
    return [(photo_id, draw_jpeg(kind=kind, photo_id=photo_id, seed=seed, size=size)) for photo_id, kind in task]
