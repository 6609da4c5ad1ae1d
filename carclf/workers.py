"""Maps a function over tasks in order, in several processes or in this one; no process outlives its parent."""

import contextlib
import math
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from carclf import preemption
from carclf.control_groups import V2, control_groups
from carclf.errors import UserError
from carclf.scratch import scratch_folder

Task = TypeVar("Task")
Result = TypeVar("Result")

MOST_WORKERS = 1024  # the most that can be requested
AHEAD = 3  # tasks in flight per worker: no worker waits, and memory does not grow with the number of tasks

_state: Any = None  # what `prepare` returned in this process


class Pool(Protocol):
    """What a pass over the photos needs from `Workers` or Apache Beam, which run its tasks."""

    count: int
    """How many share the work; with one there is nothing to share."""

    def map(self, function: Callable[[Any, Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yields function(state, task) for every task, in order."""

    def shared_folder(self) -> contextlib.AbstractContextManager[str]:
        """Returns a context with a new folder that every worker reaches under this path; it is removed at the end."""


class Workers:
    """Processes that stay alive between passes; with one worker, everything happens in this process."""

    def __init__(self, count: int, prepare: Callable[..., Any], *arguments: Any) -> None:
        self.count = count
        self._prepare, self._arguments = prepare, arguments
        self._local: Any = None
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.count > 1:
            # A forked copy of a process with threads may hang; a spawned process starts clean.
            self._pool = ProcessPoolExecutor(
                self.count,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self._prepare, self._arguments),
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._local = None  # closes the archives that the state holds
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    @contextlib.contextmanager
    def shared_folder(self) -> Iterator[str]:
        """Yields a new folder that every worker reaches under this path, and removes it at the end."""
        with scratch_folder() as folder:
            yield str(folder)

    def map(self, function: Callable[[Any, Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yields function(state, task) for every task, in order; `state` is what `prepare` returned in that process.

        Raises:
          UserError: a worker was killed, most likely because memory ran out.
          Preempted: all processes have been told to stop.
        """
        if self._pool is None:
            if self._local is None:
                self._local = self._prepare(*self._arguments)
            for task in tasks:
                yield function(self._local, task)
            return
        try:
            yield from self._map_in_pool(self._pool, function, tasks)
        except BrokenProcessPool:
            preemption.check_soon()  # `timeout` and terminals signal every process of a group
            raise UserError(
                "A worker process was killed, most likely because memory ran out: run the same command again with a "
                "lower --workers."
            ) from None

    def _map_in_pool(
        self, pool: ProcessPoolExecutor, function: Callable[[Any, Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(_call, function, task))
                if len(waiting) >= self.count * AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def usable_cores() -> int:
    """Returns the number of CPU cores that this process may use: by its affinity, and by quotas of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *(quota for group in control_groups("cpu") if (quota := quota_cores(*group)))])


def quota_cores(version: str, folder: Path) -> int | None:
    """Returns the cores whose time a control group may use, rounded up; None if all.

    Args:
      version: one of `carclf.control_groups`.
      folder: of the group.
    """
    try:
        if version == V2:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        cores = math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # 'max', or no control groups
        return None
    return cores if cores > 0 else None


def worker_count(wanted: int, *, photos: int, photos_per_worker: int) -> int:
    """Returns `wanted`; if it is 0, one per usable core, but at most one per `photos_per_worker` photos (minimum 1)."""
    return wanted or max(1, min(usable_cores(), photos // photos_per_worker))


def _begin(prepare: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    global _state
    threading.Thread(target=end_with_parent, daemon=True).start()
    _state = prepare(*arguments)


def end_with_parent() -> None:
    """Ends this process after its parent has ended for any reason. Runs in its own thread."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        with contextlib.suppress(OSError):
            parent.join()
        os._exit(1)


def _call(function: Callable[[Any, Task], Result], task: Task) -> Result:
    return function(_state, task)
