"""Doors opened in forked processes: TensorFlow and Keras are imported once, not by every command of every test.

A fork has run nothing yet: devices, seeds and backend state are as fresh as in a process of its own. What a start
itself does (imports, flags of the environment) needs a real one.
"""

import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from carclf import progress

ROOT = Path(__file__).parent.parent
PRELOADED = ["keras", "matplotlib.pyplot", "pandas", "tensorflow"]

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(PRELOADED)


def open_door(
    name: str,
    *arguments: str,
    folder: Path,
    code: int = 0,
    environment: Mapping[str, str] | None = None,
    seconds: float = 300,
) -> subprocess.CompletedProcess[str]:
    """The answer of `python -m NAME` (or of the file NAME) in a folder, once its exit code is the expected one."""
    answer = _answer(name, arguments, folder=folder, environment=environment or {}, seconds=seconds)
    assert answer.returncode == code, f"{name} {arguments}\n{answer.stdout}\n{answer.stderr}"
    return answer


def run_program(program: str, *, folder: Path) -> subprocess.CompletedProcess[str]:
    """The answer of `python -c PROGRAM` in a folder, once it has ended well."""
    answer = _answer("-c", (program,), folder=folder, environment={})
    assert answer.returncode == 0, answer.stderr
    return answer


def refused(name: str, *arguments: str, folder: Path) -> str:
    """The one sentence with which a command is refused."""
    answer = open_door(name, *arguments, folder=folder, code=2)
    assert "Traceback" not in answer.stderr
    (line,) = answer.stderr.strip().splitlines()
    return line


def _answer(
    name: str, arguments: tuple[str, ...], *, folder: Path, environment: Mapping[str, str], seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as scratch:
        out, err = Path(scratch, "out"), Path(scratch, "err")
        process = _forks.Process(
            target=_run, args=(name, arguments, str(folder), dict(environment), str(out), str(err))
        )
        process.start()
        process.join(timeout=seconds)
        assert process.exitcode is not None, f"{name} {arguments} runs for more than {seconds} seconds"
        return subprocess.CompletedProcess(
            [name, *arguments], process.exitcode, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
        )


def _run(
    name: str, arguments: tuple[str, ...], folder: str, environment: Mapping[str, str], out: str, err: str
) -> None:
    for path, stream in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, stream)
    os.chdir(folder)
    os.environ.update(environment)
    sys.path.insert(0, str(ROOT))
    progress.FIRST_SECONDS = 3600.0  # what a command tells does not depend on how busy the machine is
    sys.argv = [name, *arguments]
    if name == "-c":
        exec(arguments[0], {"__name__": "__main__"})
    elif name.endswith(".py"):
        sys.path.insert(0, str(Path(name).parent))  # as Python does
        runpy.run_path(name, run_name="__main__")
    else:
        runpy.run_module(name, run_name="__main__", alter_sys=True)


def without_progress(stderr: str) -> list[str]:
    """The lines of a command but those that tell what takes over two seconds, which a busy machine may add."""
    told = re.compile(r"[A-Z][\w ,()-]*( …( \S+ \w+ so far)?|: [\d,]+ (of|[\w ]+ in|\w+$).*)")
    return [line for line in stderr.strip().splitlines() if not told.fullmatch(line)]
