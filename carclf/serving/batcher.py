"""Requests that come at the same time go through the model together, in one thread."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Answer = TypeVar("Answer")


SECONDS_BETWEEN_LOOKS = 0.004


class BusyError(Exception):
    """More tasks wait than may."""


class Batcher(Generic[Task, Answer]):
    """Collects tasks and has them answered in batches, by a thread of its own; any thread may submit."""

    def __init__(
        self,
        answer: Callable[[Sequence[Task]], Sequence[Answer]],
        *,
        expected: Callable[[], int],
        largest: int,
        wait_seconds: float,
        waiting: int,
    ) -> None:
        """Starts the thread.

        Args:
          answer: the answers to a batch, in its order; called by one thread only.
          expected: how many tasks are submitted or soon will be, those of the batch that is collected among them; a
            batch waits for the others. Called by that thread.
          largest: tasks in a batch at the most.
          wait_seconds: how long the first task of a batch waits for others at the most.
          waiting: tasks that may wait; one more is refused.
        """
        self._answer, self._expected = answer, expected
        self._largest, self._wait_seconds = largest, wait_seconds
        self._queue: queue.Queue[tuple[Task, Future[Answer]] | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> "Future[Answer]":
        """What will hold the answer, or the exception that `answer` raised for the batch.

        Raises:
          BusyError: too many wait already.
        """
        future: Future[Answer] = Future()
        try:
            self._queue.put_nowait((task, future))
        except queue.Full:
            raise BusyError from None
        return future

    def close(self) -> None:
        """Answers what waits, then ends the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._collect()
            # A request that was given up is not computed.
            batch = [(task, future) for task, future in batch if future.set_running_or_notify_cancel()]
            if not batch:
                continue
            try:
                answers = self._answer([task for task, _ in batch])
            except Exception as error:
                for _, future in batch:
                    future.set_exception(error)
            else:
                for (_, future), found in zip(batch, answers, strict=True):
                    future.set_result(found)

    def _collect(self) -> tuple[list[tuple[Task, Future[Answer]]], bool]:
        """The next batch, and whether more may come."""
        batch: list[tuple[Task, Future[Any]]] = []
        ends = 0.0
        while len(batch) < self._largest:
            others_come = self._expected() > len(batch) and time.monotonic() < ends
            try:
                entry = self._queue.get(
                    block=others_come or not batch, timeout=SECONDS_BETWEEN_LOOKS if batch else None
                )
            except queue.Empty:
                if others_come:
                    continue
                break
            if entry is None:
                return batch, False
            ends = ends or time.monotonic() + self._wait_seconds
            batch.append(entry)
        return batch, True
