"""Runs simultaneous requests through the model in one batch, in one thread."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Answer = TypeVar("Answer")


POLL_SECONDS = 0.004


class BusyError(Exception):
    """Too many tasks are waiting."""


class Batcher(Generic[Task, Answer]):
    """Collects tasks from any thread and answers them in batches, in a thread of its own."""

    def __init__(
        self,
        answer: Callable[[Sequence[Task]], Sequence[Answer]],
        *,
        expected: Callable[[], int],
        largest: int,
        wait_seconds: float,
        max_waiting: int,
    ) -> None:
        """Starts the thread.

        Args:
          answer: returns the answers to a batch, in its order; called by one thread only.
          expected: returns the number of tasks that are submitted or soon will be, including the current batch, which
            waits for the others. Called by the same thread.
          largest: maximum number of tasks per batch.
          wait_seconds: maximum time that the first task of a batch waits for others.
          max_waiting: maximum number of waiting tasks; further ones are refused.
        """
        self._answer, self._expected = answer, expected
        self._largest, self._wait_seconds = largest, wait_seconds
        self._queue: queue.Queue[tuple[Task, Future[Answer]] | None] = queue.Queue(max_waiting)
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> "Future[Answer]":
        """Returns the future of the answer, or of the exception that `answer` raised for the batch.

        Raises:
          BusyError: too many tasks are waiting.
        """
        future: Future[Answer] = Future()
        try:
            self._queue.put_nowait((task, future))
        except queue.Full:
            raise BusyError from None
        return future

    def close(self) -> None:
        """Answers the waiting tasks, then ends the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._collect()
            # Cancelled requests are not computed.
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
        """Returns the next batch, and whether more may follow."""
        batch: list[tuple[Task, Future[Any]]] = []
        ends = 0.0
        while len(batch) < self._largest:
            others_come = self._expected() > len(batch) and time.monotonic() < ends
            try:
                entry = self._queue.get(block=others_come or not batch, timeout=POLL_SECONDS if batch else None)
            except queue.Empty:
                if others_come:
                    continue
                break
            if entry is None:
                return batch, False
            ends = ends or time.monotonic() + self._wait_seconds
            batch.append(entry)
        return batch, True
