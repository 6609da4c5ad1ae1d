"""The converter's passes on Apache Beam: many machines map a function over tasks, through any runner.

Tasks and results lie as files in a folder that all machines share; what goes through the pipeline is their numbers.
So no runner's limit on the size of a job or of a message is met, a step that a runner repeats leaves the same file, and
launcher and workers hold one step at a time.
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

from carclf.convert.dataset import BEAM_FOLDER
from carclf.data import storage
from carclf.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_A_STEP = 32  # small tasks together: 1,024 photos to judge
STEP_BYTES = 2**16  # a step ends here, too: one shard to write
ROOT = str(Path(__file__).resolve().parents[2])  # what a worker process on this machine imports carclf from

_one_at_a_time = threading.Lock()  # Pillow's limit on pixels is one for the process, and memory stays bounded


class BeamWorkers:
    """Stands where `carclf.workers.Workers` does; each `map` is a pipeline that runs to its end.

    Attributes:
      count: above 1, so that everything that can be shared is shared.
    """

    def __init__(
        self, options: str, count: int, *, folder: str, prepare: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        """Makes no connection yet.

        Args:
          options: Beam's own flags; without a --runner, `count` processes of this machine do the work.
          count: of those processes.
          folder: that all workers reach under this path; theirs is BEAM_FOLDER in it.
          prepare: gives each worker its state from `arguments`.
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
        """A new folder that every worker reaches under this path; it is removed at the end."""
        folder = storage.join(self._folder, uuid.uuid4().hex)
        storage.make_folder(folder)
        try:
            yield folder
        finally:
            storage.remove(folder)

    def map(self, function: Callable[[Any, Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """function(state, task) for every task, in order; `state` is what `prepare` returned in that worker.

        Raises:
          UserError: what a worker raised, or the pipeline failed.
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
                # The numbers are dealt out anew: what follows their creation directly would stay on its one worker.
                _ = pipeline | beam.Create(range(count)) | beam.Reshuffle() | beam.ParDo(step)
                result = pipeline.run()
                state = result.wait_until_finish()
        except Exception as error:
            print(error, file=sys.stderr)
            raise UserError(
                f"The Beam pipeline failed ({_reason(error)}): see its messages above and --beam_options; the same "
                "command goes on, and finished shards are kept."
            ) from error
        if state not in (None, PipelineState.DONE):
            raise UserError(f"The Beam pipeline ended as {state}: see the runner's own messages.")


class _Step(beam.DoFn):
    """Does the tasks of one file and leaves their results in another."""

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
        """Does step `number`; a UserError is a result, which repeating the step would not change."""
        with _one_at_a_time:
            outcome: list[Any] | UserError
            try:
                tasks = pickle.loads(storage.read_bytes(_task_file(self._folder, number)))
                outcome = [self._function(self._state, task) for task in tasks]
            except UserError as error:
                outcome = error
            storage.write_atomic(_result_file(self._folder, number), pickle.dumps(outcome))


def _steps(tasks: Iterable[Any]) -> Iterator[bytes]:
    """The tasks in order, some together, each group pickled."""
    tasks = iter(tasks)
    while step := list(itertools.islice(tasks, 1)):
        size = len(pickle.dumps(step))
        while size < STEP_BYTES and len(step) < TASKS_A_STEP and (more := list(itertools.islice(tasks, 1))):
            step += more
            size += len(pickle.dumps(more))
        yield pickle.dumps(step)


def _results(folder: str, number: int) -> list[Any]:
    outcome = pickle.loads(storage.read_bytes(_result_file(folder, number)))
    if isinstance(outcome, UserError):
        raise outcome
    return list(outcome)


def _reason(error: Exception) -> str:
    """The line that tells most: what gRPC calls details, or the last one with words in it."""
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
            # Beam's own engine: its DirectRunner would first look for another one, Prism, on the internet.
            engine = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
            local = [f"--runner={engine}", "--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
            flags = local + flags
        with contextlib.redirect_stderr(complaint):
            options = PipelineOptions(flags)
            options.get_all_options()  # reads every flag, which would otherwise be put off until the pipeline runs
            return options
    except (ValueError, SystemExit) as error:
        lines = complaint.getvalue().strip().splitlines()
        reason = lines[-1].split("error: ")[-1] if lines else error
        raise UserError(
            f"--beam_options={text} is not understood ({reason}): see the runner's documentation."
        ) from None


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
