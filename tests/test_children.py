"""A module of another package, run as a child process: it says all it has to say, and never outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from carclf import preemption
from carclf.children import run_module
from carclf.errors import Preempted

ROOT = Path(__file__).parent.parent
PARENT = "from carclf.children import run_module; run_module('stuck', '')"
# It works on, and looks at neither signals nor its standard input.
STUCK = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open("begun.part", "w") as file:
    file.write(str(os.getpid()))
os.replace("begun.part", "begun")
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, from which children import their modules."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begun(folder: Path) -> int:
    """Waits for the stuck module; returns the ID of its process."""
    while not (folder / "begun").exists():
        threading.Event().wait(0.02)
    return int((folder / "begun").read_text())


def test_a_module_runs_as_from_the_command_line_and_what_it_prints_is_returned(folder):
    (folder / "speaks.py").write_text(
        "import sys; print(__name__, sys.argv[1:]); print('e' * 200_000, file=sys.stderr); sys.exit(3)"
    )
    answer = run_module("speaks", "--a=1", "b c")
    assert (answer.returncode, answer.stdout) == (3, "__main__ ['--a=1', 'b c']\n")
    assert answer.stderr == "e" * 200_000 + "\n"


def test_it_ends_with_the_process_that_started_it(folder):
    (folder / "stuck.py").write_text(STUCK)
    with subprocess.Popen([sys.executable, "-c", PARENT], env=os.environ | {"PYTHONPATH": str(ROOT)}) as parent:
        child = psutil.Process(begun(folder))
        assert child.is_running()
        parent.kill()
    psutil.wait_procs([child], timeout=60)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_it_is_ended_when_the_process_is_told_to_stop(folder):
    (folder / "stuck.py").write_text(STUCK)

    def tell():
        begun(folder)
        os.kill(os.getpid(), signal.SIGTERM)

    teller = threading.Thread(target=tell)
    teller.start()
    with preemption.watching(lambda: "x"), pytest.raises(Preempted, match=r"^Stopped by SIGTERM: x\.$"):
        run_module("stuck")
    teller.join()
    assert not psutil.pid_exists(begun(folder))
