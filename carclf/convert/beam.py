"""The converter's passes on Apache Beam: many machines map a function over tasks, with any runner.

Tasks and results are files in a folder that all machines share; only their numbers go through the pipeline. So a job
never exceeds a runner's size limits, a step that a runner repeats writes the same file, and launcher and workers hold
one step in memory at a time.
"""

import contextlib
import io
import itertools
import os
import pickle
import re
import shlex
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from carclf import storage
from carclf.convert.dataset import BEAM_FOLDER
from carclf.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_PER_STEP = 32  # small tasks in one step: 1,024 photos to validate
STEP_BYTES = 2**16  # also ends a step: one shard to write
ROOT = str(Path(__file__).resolve().parents[2])  # the folder from which worker processes here import carclf

_one_at_a_time = threading.Lock()  # to bound memory


class BeamWorkers:
    """Replaces `carclf.workers.Workers`; each `map` runs a pipeline to its end.

    Attributes:
      count: above 1, so that all parallel work is distributed.
    """

    def __init__(
        self, options: str, count: int, *, folder: str, prepare: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        """Reads the options, without connecting.

        Args:
          options: Beam's own flags; without a --runner, `count` processes of this machine do the work.
          count: number of these processes.
          folder: a folder that all workers can access by this path; they use BEAM_FOLDER in it.
          prepare: returns a worker's state, given `arguments`.
          arguments: of `prepare`.

        Raises:
          UserError: Beam cannot read the options.
        """
        self.count = max(count, 2)
        self._options = _parse_options(options, workers=count)
        self._folder = storage.join(folder, BEAM_FOLDER)
        self._prepare, self._arguments = prepare, arguments

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        storage.remove(self._folder)

    @contextlib.contextmanager
    def shared_folder(self) -> Iterator[str]:
        """Yields a new folder that every worker can access by this path; it is removed at the end."""
        folder = storage.join(self._folder, uuid.uuid4().hex)
        storage.make_folder(folder)
        try:
            yield folder
        finally:
            storage.remove(folder)

    def map(self, function: Callable[[Any, Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yields function(state, task) for every task, in order; `prepare` returned the `state` in that worker.

        Raises:
          UserError: a worker raised it, or the pipeline failed.
        """
        with self.shared_folder() as folder:
            steps = 0
            for steps, step in enumerate(_steps(tasks), start=1):
                storage.write_atomic(_task_file(folder, steps - 1), step)
            if steps:
                self._run(_Step(folder, function, self._prepare, self._arguments), steps)
            for number in range(steps):
                yield from _results(folder, number)

    def _run(self, step: "_Step", count: int) -> None:
        """Runs the pipeline to its end.

        Raises:
          UserError: it failed.
        """
        try:
            with _importable():
                pipeline = beam.Pipeline(options=self._options)
                # Without the reshuffle, all steps would stay on the worker that creates the numbers.
                _ = pipeline | beam.Create(range(count)) | beam.Reshuffle() | beam.ParDo(step)
                result = pipeline.run()
                state = result.wait_until_finish()
        except Exception as error:
            print(error, file=sys.stderr)
            raise UserError(
                f"The Beam pipeline failed ({_reason(error)}): see its messages above and --beam_options; run the same "
                "command again to resume: finished shards are kept."
            ) from error
        if state not in (None, PipelineState.DONE):
            raise UserError(f"The Beam pipeline ended as {state}: see the runner's own messages.")


class _Step(beam.DoFn):
    """Runs the tasks of one file and writes their results to another."""

    def __init__(
        self, folder: str, function: Callable[..., Any], prepare: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        self._folder, self._function = folder, function
        self._prepare, self._arguments = prepare, arguments
        self._state: Any = None

    def setup(self) -> None:
        """Prepares the worker."""
        self._state = self._prepare(*self._arguments)

    def process(self, number: int) -> None:
        """Runs step `number`; a UserError is a result, because repeating the step would not change it."""
        with _one_at_a_time:
            outcome: list[Any] | UserError
            try:
                tasks = pickle.loads(storage.read_bytes(_task_file(self._folder, number)))
                outcome = [self._function(self._state, task) for task in tasks]
            except UserError as error:
                outcome = error
            storage.write_atomic(_result_file(self._folder, number), pickle.dumps(outcome))


def _steps(tasks: Iterable[Any]) -> Iterator[bytes]:
    """Yields the tasks in order, pickled in groups."""
    tasks = iter(tasks)
    while step := list(itertools.islice(tasks, 1)):
        size = len(pickle.dumps(step))
        while size < STEP_BYTES and len(step) < TASKS_PER_STEP and (more := list(itertools.islice(tasks, 1))):
            step += more
            size += len(pickle.dumps(more))
        yield pickle.dumps(step)


def _results(folder: str, number: int) -> list[Any]:
    outcome = pickle.loads(storage.read_bytes(_result_file(folder, number)))
    if isinstance(outcome, UserError):
        raise outcome
    return list(outcome)


def _reason(error: Exception) -> str:
    """Returns the most informative line: the details of gRPC, or the last line with words."""
    text = str(error)
    if details := re.search(r'details = "(.+)"', text):
        return details[1]
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    return lines[-1] if lines else type(error).__name__


def _task_file(folder: str, number: int) -> str:
    return storage.join(folder, f"task-{number:06d}")


def _result_file(folder: str, number: int) -> str:
    return storage.join(folder, f"result-{number:06d}")


def _parse_options(text: str, *, workers: int) -> PipelineOptions:
    complaint = io.StringIO()
    try:
        flags = shlex.split(text)
        if not any(flag.split("=")[0] in ("--runner", "-r") for flag in flags):
            # Beam's own engine, because its DirectRunner would first search for another one, Prism, on the internet.
            engine = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
            local = [f"--runner={engine}", "--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
            flags = local + flags
        with contextlib.redirect_stderr(complaint):
            options = PipelineOptions(flags)
            options.get_all_options()  # parses every flag now instead of when the pipeline runs
            return options
    except (ValueError, SystemExit) as error:
        lines = complaint.getvalue().strip().splitlines()
        reason = lines[-1].split("error: ")[-1] if lines else error
        raise UserError(f"--beam_options={text} is not valid ({reason}): see the runner's documentation.") from None


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """Lets the worker processes that a runner starts here import carclf from a clone that is not installed."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([ROOT, *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
