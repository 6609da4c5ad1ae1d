"""SIGTERM is only noted; work stops where it looks, and a process that cannot look is ended with its files whole."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from carclf import preemption
from carclf.children import run_child
from carclf.errors import Preempted
from carclf.progress import Progress
from carclf.workers import Workers

ROOT = Path(__file__).parent.parent


@pytest.fixture(params=["SIGTERM", "SIGHUP"])
def told(request):
    """Sends this process a signal while it is handled."""
    with preemption.watching(lambda: "half of it is saved"):
        os.kill(os.getpid(), getattr(signal, request.param))
        yield request.param


def begin(program: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


def test_the_handler_only_notes_and_the_next_look_ends_the_work(told):
    assert preemption.noted()
    with pytest.raises(Preempted, match=rf"^Stopped by {told}: half of it is saved\.$"):
        preemption.check()
    os.kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing
    with pytest.raises(Preempted):
        preemption.check()


def test_afterwards_the_signal_is_handled_as_before_and_forgotten():
    before = signal.getsignal(signal.SIGTERM)
    with preemption.watching(lambda: "x"), preemption.watching(lambda: "y"):
        assert signal.getsignal(signal.SIGTERM) is not before
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not preemption.noted()
    preemption.check()


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with preemption.watching(lambda: "x"):
            os.kill(os.getpid(), signal.SIGHUP)
            assert not preemption.noted()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("module", "noted"), [("carclf.found_later", True), ("another_package.train", False)])
def test_a_command_notes_signals_before_its_module_is_found_and_other_programs_do_not(module, noted, tmp_path):
    (tmp_path / "another_package").mkdir()
    for name in ("__init__", "train"):
        (tmp_path / "another_package" / f"{name}.py").write_text("import carclf\n")
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, signal; atexit.register(lambda: print(signal.getsignal(signal.SIGTERM) != signal.SIG_DFL))"
    )
    answer = subprocess.run(
        [sys.executable, "-m", module], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert answer.stdout == f"{noted}\n", answer.stderr


def test_other_threads_are_not_ended(told):
    looked = []
    thread = threading.Thread(target=lambda: looked.append(preemption.check()))
    thread.start()
    thread.join()
    assert looked == [None]


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_reported_work_stops_before_between_and_after_its_units(moment):
    done = []

    def work():
        if moment == "before":
            os.kill(os.getpid(), signal.SIGTERM)
        with Progress("Working") as progress:
            for unit in range(3):
                if moment == "between" and unit == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                done.append(unit)
                progress.add()
            if moment == "after":
                os.kill(os.getpid(), signal.SIGTERM)
        done.append("the next")

    with preemption.watching(lambda: "x"), pytest.raises(Preempted):
        work()
    assert done == {"before": [], "between": [0, 1], "after": [0, 1, 2]}[moment]


STUCK = """
import sys, time
from pathlib import Path
from carclf import files, preemption
def release():
    Path(sys.argv[1] + ".lock").unlink()

Path(sys.argv[1] + ".lock").touch()
with preemption.watching(lambda: "the rest is saved"), preemption.releasing(release):
    print("begun")
    with files.replacing(Path(sys.argv[1])) as path:
        print("ready", flush=True)
        time.sleep(1)
        path.write_text("whole")
    time.sleep(600)
"""


def test_a_call_that_cannot_look_is_ended_in_time_with_its_file_whole_and_its_lock_released(tmp_path):
    with begin(STUCK, str(tmp_path / "file.txt"), CARCLF_GRACE_SECONDS="0.2") as process:
        assert process.stdout.readline() + process.stdout.readline() == "begun\nready\n"
        process.terminate()
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (75, "Stopped by SIGTERM: the rest is saved.\n")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file.txt": "whole"}


STARTING = """
import os, time
from carclf import preemption
from carclf.start_messages import without_start_messages
with preemption.watching(lambda: "the rest is saved"), without_start_messages():
    os.write(2, b"cpu_feature_guard\\nno driver\\n")
    with without_start_messages():
        os.write(2, b"a warning\\n")
        print("ready", flush=True)
        time.sleep(600)
"""


def test_the_end_in_the_middle_of_a_framework_s_start_is_said():
    with begin(STARTING, CARCLF_GRACE_SECONDS="0.2") as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (75, "no driver\na warning\nStopped by SIGTERM: the rest is saved.\n")


CHAIN = """
import sys
from carclf import preemption
from carclf.children import run_child
from carclf.errors import Preempted
with preemption.watching(lambda: "x"):
    print(run_child([sys.executable, "-c", sys.argv[1]], what="stage"), flush=True)
    try:
        run_child([sys.executable, "-c", "print('the next')"], what="stage")
    except Preempted as error:
        print(error)
"""
OBEYING = """
import sys, time
from carclf import preemption
from carclf.errors import Preempted
with preemption.watching(lambda: "it is saved"):
    print("ready", flush=True)
    try:
        while True:
            time.sleep(0.01)
            preemption.check()
    except Preempted as error:
        print(error, flush=True)
        sys.exit(75)
"""


def test_sigterm_is_passed_on_to_the_running_stage_and_no_other_is_started():
    with begin(CHAIN, OBEYING) as process:
        assert process.stdout.readline().startswith("ready")
        process.terminate()
        said, _ = process.communicate(timeout=60)
    assert said.splitlines() == [
        "Stopped by SIGTERM: it is saved.",
        "75",
        "Stopped by SIGTERM between two stages: the same command starts the next.",
    ]


def test_a_stage_whose_parent_is_killed_stops_as_after_sigterm():
    with begin(CHAIN, OBEYING) as process:
        assert process.stdout.readline().startswith("ready")
        process.kill()
        said = process.stdout.read()  # to its end: the child has ended as well
    assert said == "Stopped by the end of the process that started it: it is saved.\n"


def test_a_stage_that_cannot_look_is_ended_after_its_parent():
    stuck = (
        "import time; from carclf import preemption; preemption.begin(); print('ready', flush=True); time.sleep(600)"
    )
    with begin(CHAIN, stuck, CARCLF_GRACE_SECONDS="0.2") as process:
        assert process.stdout.readline() == "ready\n"
        process.kill()
        _, error = process.communicate(timeout=60)
    assert error == "Stopped by the end of the process that started it: the same command starts again.\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_stage_that_a_signal_meets_unprepared_counts_as_preempted(name):
    ends = f"import os, signal; signal.signal(signal.{name}, signal.SIG_DFL); os.kill(os.getpid(), signal.{name})"
    with pytest.raises(Preempted, match=f"^Stopped by {name} before the stage had started: the same command starts it"):
        run_child([sys.executable, "-c", ends], what="stage")


def test_a_child_that_takes_too_long_is_killed_and_what_it_printed_is_kept(tmp_path):
    log = tmp_path / "log.txt"
    program = "import sys, time; print('began', flush=True); print('so', file=sys.stderr, flush=True); time.sleep(600)"
    code = run_child([sys.executable, "-c", program], what="timing", output=log, limit_seconds=3)
    assert code == -signal.SIGKILL
    assert sorted(log.read_text().split()) == ["began", "so"]
    assert run_child([sys.executable, "-c", "print(1)"], what="timing", output=log, limit_seconds=60) == 0
    assert log.read_text() == "1\n"


def test_workers_that_are_told_first_do_not_look_like_a_lack_of_memory(monkeypatch):
    look = preemption.check_soon

    def told_meanwhile():
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        look()

    monkeypatch.setattr(preemption, "check_soon", told_meanwhile)
    with preemption.watching(lambda: "x"), pytest.raises(Preempted), Workers(2, dict) as workers:
        list(workers.map(_told, [os.getpid()] * 4))


def _told(state: object, parent: int) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_grace_period_can_be_set(monkeypatch):
    assert preemption.grace_seconds() == preemption.GRACE_SECONDS == 25
    with preemption.waiting_for_child():
        assert preemption.grace_seconds() == 28
    monkeypatch.setenv("CARCLF_GRACE_SECONDS", "110")
    assert preemption.grace_seconds() == 110
    page = (ROOT / "docs" / "resume.md").read_text()
    assert re.search(r"within 25 seconds.*`CARCLF_GRACE_SECONDS=", page, re.DOTALL)
