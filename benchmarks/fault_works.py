"""What benchmarks/fault_processes.py disturbs: commands at work on the tiny world. A command is one row of `WORKS`.

Most run in forks of a process that has imported TensorFlow and has run nothing yet, because its import takes longer
than their work; the others are started as users start them.
"""

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import multiprocessing.reduction
import os
import resource
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from carclf import runs
from carclf.errors import UserError
from carclf.runs.weights_files import checked_file

PARENT = "import sys; from carclf.children import run_child; sys.exit(run_child(sys.argv[1:], what='stage'))"
OLD = "old"  # the content of a file that a command replaces
PRELOADED = ["keras", "matplotlib.pyplot", "pandas", "tensorflow"]
TRAINING = (
    *("--backbone=tiny", "--weights=none", "--image_size=32", "--batch_size=2", "--head_width=8", "--device=cpu"),
    *("--render=separable", "--augment=flip|shift(0.1)"),
)

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(PRELOADED)


@dataclasses.dataclass(frozen=True)
class Work:
    """A command with its arguments.

    Attributes:
      command: the arguments from the undamaged world, the folder to work in, and a number that changes no result.
      prepare: puts into the folder what the command replaces; takes the same.
      made: name → hash of what counts of its output in the folder; without what is not there.
      fault_in: what is wrong with its output in the folder after a fault, beyond names and hashes; '' if nothing is.
      replaces: whether each file of its output is the old or the new one at any time.
      share: how often it is chosen, in relation to the others.
      forked: whether it runs in a fork.
    """

    command: Callable[[Path, Path, int], list[str]]
    prepare: Callable[[Path, Path], None]
    made: Callable[[Path], dict[str, str]]
    fault_in: Callable[[Path], str] = lambda folder: ""
    replaces: bool = True
    share: float = 1.0
    forked: bool = True


def _hashes(*names: str) -> Callable[[Path], dict[str, str]]:
    """Returns a function to the hashes of those files of a folder that are there; a folder stands for all its files."""

    def made(folder: Path) -> dict[str, str]:
        found = [path for name in names for path in [folder / name, *sorted((folder / name).rglob("*"))]]
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in found
            if path.is_file() and not path.name.startswith(".")
        }

    return made


def _old_file(name: str) -> Callable[[Path, Path], None]:
    def prepare(world: Path, folder: Path) -> None:
        (folder / name).write_text(OLD, encoding="utf-8")

    return prepare


def _copy_of(name: str) -> Callable[[Path, Path], None]:
    def prepare(world: Path, folder: Path) -> None:
        shutil.copytree(world / name, folder / name)

    return prepare


def _evaluated_run(world: Path, folder: Path) -> None:
    """Makes an evaluated copy of the run in the world, as an export wants it, unless there is one."""
    run = world / "evaluated"
    if not run.exists():
        shutil.copytree(world / "run", run)
        flags = (f"--run={run}", f"--data={world / 'data'}", "--batch_size=4", "--device=cpu")
        code, said = Running(["evaluate", *flags], forked=True).end()
        assert code == 0, said


def _space(world: Path, folder: Path) -> None:
    (folder / "space.txt").write_text("dropout linear 0 0.5\n", encoding="utf-8")


def _nothing(world: Path, folder: Path) -> None:
    pass


def _fault_in_data(folder: Path) -> str:
    from carclf.convert.verify import verify

    try:
        verify(str(folder / "data"), workers=1)
    except UserError as error:
        return f"the data set is damaged: {error}"
    return ""


def _fault_in_run(name: str) -> Callable[[Path], str]:
    """Returns a function that says what is wrong with a run, finished or not, if it has begun."""

    def fault_in(folder: Path) -> str:
        if not (folder / name / runs.STAGE_FILE).exists():
            return ""
        try:
            run = runs.load_run(folder / name)
            recorded = (run.metrics or {}).get("files_sha256")
            for weights in (runs.BEST_WEIGHTS, runs.LAST_WEIGHTS):
                if (folder / name / weights).exists():
                    checked_file(folder / name / weights, recorded=recorded)
        except UserError as error:
            return f"the run is damaged: {error}"
        return ""

    return fault_in


def _arrays(folder: Path) -> dict[str, str]:
    """Returns the kept features; the files beside them say how long they took."""
    return {name: digest for name, digest in _hashes("probe/features")(folder).items() if name.endswith(".npy")}


def _scores(folder: Path) -> dict[str, str]:
    """Returns the figures of the run that was evaluated."""
    metrics = json.loads((folder / "run" / runs.METRICS_FILE).read_text(encoding="utf-8"))
    return {name: repr(metrics.get(name)) for name in ("val_accuracy", "val_loss")}


def _found(folder: Path) -> dict[str, str]:
    """Returns the parameters that a search found; its figures of time differ."""
    path = folder / "tuned.flags"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {"tuned.flags": "\n".join(line for line in lines if line.startswith("--"))} if lines else {}


WORKS: dict[str, Work] = {
    "make_tfrecords": Work(
        lambda world, folder, number: [
            *("make_tfrecords", f"--input={world / 'photos'}", f"--output={folder / 'data'}"),
            *("--folds=3", "--overwrite", f"--workers={1 + number % 2}"),
        ],
        _copy_of("data"),
        _hashes("data"),
        _fault_in_data,
        share=4,
        forked=False,
    ),
    "train": Work(
        lambda world, folder, number: [
            *("train", f"--data={world / 'data'}", f"--run={folder / 'new'}", *TRAINING, "--epochs=2"),
            f"--save_every={1 + number % 3}",
        ],
        _nothing,
        _hashes("new/best.weights.h5", "new/last.weights.h5"),
        _fault_in_run("new"),
        replaces=False,
        share=1,
    ),
    "evaluate": Work(
        lambda world, folder, number: [
            *("evaluate", f"--run={folder / 'run'}", f"--data={world / 'data'}", "--batch_size=4", "--device=cpu"),
        ],
        _copy_of("run"),
        _scores,
        _fault_in_run("run"),
    ),
    "predict": Work(
        lambda world, folder, number: [
            *("predict", f"--run={world / 'run'}", f"--data={world / 'data'}", f"--output={folder / 'x.csv'}"),
            *("--split=val", "--batch_size=4", "--device=cpu", "--decision=plain"),
        ],
        _old_file("x.csv"),
        _hashes("x.csv"),
    ),
    "explore": Work(
        lambda world, folder, number: [
            *("explore", f"--data={world / 'data'}", f"--output={folder / 'eda.html'}", "--workers=1"),
        ],
        _old_file("eda.html"),
        _hashes("eda.html"),
    ),
    "export": Work(
        lambda world, folder, number: [
            *("export", f"--run={world / 'evaluated'}", f"--data={world / 'data'}", f"--output={folder / 'model'}"),
            *("--format=savedmodel", "--photos=4", "--overwrite"),
        ],
        _evaluated_run,
        _hashes("model/labels.txt"),
        share=0.4,
    ),
    "soup": Work(
        lambda world, folder, number: [
            *("soup", f"--run={world / 'run'},{world / 'evaluated'}", f"--data={world / 'data'}"),
            *(f"--output={folder / 'soup'}", "--method=uniform", "--overwrite", "--batch_size=4", "--device=cpu"),
        ],
        _evaluated_run,
        _hashes("soup/best.weights.h5"),
        _fault_in_run("soup"),
    ),
    "probe": Work(
        lambda world, folder, number: [
            *("probe", f"--data={world / 'data'}", f"--output={folder / 'probe'}", "--backbones=tiny@32=none"),
            *("--batch_size=4", "--device=cpu"),
        ],
        _nothing,
        _arrays,
        _fault_in_run("probe/best"),
        share=0.4,
    ),
    "sample": Work(
        lambda world, folder, number: [
            *("sample", f"--output={folder / 'sample'}", "--photos=20", "--width=32", "--height=32", "--workers=1"),
        ],
        _nothing,
        _hashes("sample"),
    ),
    "tune": Work(
        lambda world, folder, number: [
            *("tune", f"--data={world / 'data'}", f"--output={folder / 'tuned.flags'}", "--trials=1", "--epochs=1"),
            *(f"--runs={folder / 'trials'}", f"--space={folder / 'space.txt'}", *TRAINING),
        ],
        _space,
        _found,
        share=0.1,
    ),
}


class Running:
    """A command that runs, and what it prints."""

    def __init__(
        self, arguments: Sequence[str], *, forked: bool, largest_bytes: int | None = None, has_parent: bool = False
    ) -> None:
        """Starts it.

        Args:
          arguments: the name of a command and its flags.
          forked: whether in a fork.
          largest_bytes: of a file that it may write; None for any.
          has_parent: whether a process of its own starts it, which then is the one that is told to end.
        """
        reader, writer = os.pipe()
        self._output = os.fdopen(reader, "rb")
        module = [f"carclf.{arguments[0]}", *arguments[1:]]
        if forked and not has_parent:
            self._fork = _forks.Process(target=_work, args=(module, _Passed(writer), largest_bytes))
            self._fork.start()
            self.pid = self._fork.pid
            self._wait: Callable[[], Any] = self._wait_for_fork
        else:
            command = [sys.executable, "-m", *module]
            self._process = subprocess.Popen(
                [sys.executable, "-c", PARENT, *command] if has_parent else command,
                stdout=writer,
                stderr=writer,
                preexec_fn=lambda: _limit(largest_bytes),
                start_new_session=True,
            )
            self.pid = self._process.pid
            self._wait = self._process.wait
        os.close(writer)

    def send(self, number: int) -> None:
        """Sends a signal to it, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            if self.pid:
                os.kill(self.pid, number)

    def close_output(self) -> None:
        """Lets nobody read what it prints from now on."""
        self._output.close()

    def end(self) -> tuple[int, str]:
        """Returns its exit code, negative for a signal, and what it printed, once it and its children have ended."""
        said = b"" if self._output.closed else self._output.read()
        self._output.close()
        return self._wait(), said.decode(errors="replace")

    def _wait_for_fork(self) -> int:
        self._fork.join()
        return int(self._fork.exitcode or 0)


class _Passed:
    """A descriptor that goes with a fork when it is made; a fork that is killed early cannot ask for it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (multiprocessing.reduction.DupFd(self._descriptor),)


def _itself(value: Any) -> Any:
    return value


def _limit(largest_bytes: int | None) -> None:
    if largest_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, largest_bytes))


def _work(module: list[str], output: Any, largest_bytes: int | None) -> None:
    """Runs a command in this fork."""
    writer = output.detach()
    for stream in (1, 2):
        os.dup2(writer, stream)
    os.close(writer)
    os.setsid()
    _limit(largest_bytes)
    sys.argv = list(module)
    runpy.run_module(module[0], run_name="__main__", alter_sys=True)
