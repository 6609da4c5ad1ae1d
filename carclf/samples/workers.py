"""Photos drawn by several processes and handed back in order; no process outlives its parent."""

import contextlib
import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from carclf.errors import UserError
from carclf.samples.draw import draw_jpeg

PHOTOS_A_TASK = 16
PHOTOS_A_WORKER = 50  # with fewer, starting a process takes longer than it saves
AHEAD = 3  # tasks in flight a worker: none waits, and memory does not grow with the number of photos

Drawn = list[tuple[str, bytes]]


def draw_photos(
    photos: Iterable[tuple[str, int]], *, seed: int, size: tuple[int, int], workers: int = 1
) -> Generator[tuple[str, bytes], None, None]:
    """(Id, JPEG bytes) for every (Id, kind) of `photos`, in that order, whatever the number of workers.

    Args:
      photos: Ids, and for each the index into `KINDS` of its car; read as needed.
      seed: of the data set.
      size: (width, height) in pixels.
      workers: processes; 1 draws in this one.

    Raises:
      UserError: a worker was killed.
    """
    tasks = _batched(photos)
    if workers <= 1:
        for task in tasks:
            yield from _draw(task, seed, size)
        return
    # A forked copy of a process with threads may hang; a spawned one starts clean.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    waiting: deque[Future[Drawn]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_draw, task, seed, size))
            if len(waiting) >= workers * AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError("A drawing process was killed: run again, with a lower --workers if memory is short.") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def worker_count(wanted: int, *, photos: int) -> int:
    """`wanted`, or where it is 0 one a CPU that may be used, but none for fewer than PHOTOS_A_WORKER photos."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return wanted or max(1, min(cpus, photos // PHOTOS_A_WORKER))


def _batched(photos: Iterable[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], ...]]:
    remaining = iter(photos)
    while task := tuple(itertools.islice(remaining, PHOTOS_A_TASK)):
        yield task


def _draw(task: tuple[tuple[str, int], ...], seed: int, size: tuple[int, int]) -> Drawn:
    return [(photo_id, draw_jpeg(kind=kind, photo_id=photo_id, seed=seed, size=size)) for photo_id, kind in task]


def _end_with_parent() -> None:
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        with contextlib.suppress(OSError):
            parent.join()
        os._exit(1)
