"""The faults that meet a process while it works. A kind is one row of `PROCESS_FAULTS`.

A command of `WORKS` runs in a process of its own, and the fault comes at a random moment. Then the folder must hold
what was there or the new output, whole, and the same command must give what an undisturbed one gives.
"""

import dataclasses
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from fault_works import WORKS, Running, Work

LARGEST_BYTES = 200_000  # of the files that are written here, but of weights

Disturb = Callable[[Running, random.Random, float], str]


@dataclasses.dataclass(frozen=True)
class ProcessFault:
    """A kind of fault that meets a process.

    Attributes:
      disturb: does it to the running process, which takes so many seconds undisturbed, and says what it did.
      codes: the exit codes that are right.
      limited: whether the process may only write files up to a random size.
      has_parent: whether the process is the child of the one that is disturbed.
    """

    disturb: Disturb
    codes: tuple[int, ...]
    limited: bool = False
    has_parent: bool = False


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """What a command made without a fault, by name and hash, and how long that took."""

    made: dict[str, str]
    seconds: float


def disturb(fault: ProcessFault, work: Work, rng: random.Random, *, world: Path, whole: Undisturbed) -> tuple[str, str]:
    """Returns what was done to a command at work, and what is wrong then; the second is '' if nothing is.

    Args:
      fault: its kind.
      work: the command, in the folder 'work' beside the world.
      rng: decides when.
      world: the undamaged world.
      whole: from `undisturbed`.
    """
    folder = _fresh(world)
    work.prepare(world, folder)
    arguments, before = work.command(world, folder, rng.randrange(100)), work.made(folder)
    size = rng.choice((rng.randrange(2_000), rng.randrange(LARGEST_BYTES))) if fault.limited else None
    running = Running(arguments, forked=work.forked, largest_bytes=size, has_parent=fault.has_parent)
    done = fault.disturb(running, rng, whole.seconds)
    code, said = running.end()
    done = f"no file above {size} bytes" if fault.limited else done
    if code not in fault.codes:
        return done, f"exit code {code}: {said[-300:]}"
    if "Traceback" in said:
        return done, said[-300:]
    now = work.made(folder)
    if code == 0 and not fault.has_parent and now != whole.made:
        return done, f"exit code 0 without its output: {said[-300:]}"
    outputs = before.keys() | whole.made.keys() if work.replaces else set()  # other files are of work that goes on
    if mixed := [name for name in outputs & now.keys() if now[name] not in (before.get(name), whole.made.get(name))]:
        return done, f"{mixed[0]} is neither the old file nor the new one"
    return done, work.fault_in(folder) or _again(arguments, work, folder, whole)


def undisturbed(work: Work, *, world: Path) -> Undisturbed:
    """Returns what a command makes of the folder 'work' beside the world."""
    folder = _fresh(world)
    work.prepare(world, folder)
    started = time.monotonic()
    code, said = Running(work.command(world, folder, 0), forked=work.forked).end()
    assert code == 0, said
    return Undisturbed(work.made(folder), time.monotonic() - started)


def _fresh(world: Path) -> Path:
    folder = world.with_name("work")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _again(arguments: list[str], work: Work, folder: Path, whole: Undisturbed) -> str:
    """Returns what is wrong with what the same command makes of the folder; '' if nothing is."""
    code, said = Running(arguments, forked=work.forked).end()
    if code:
        return f"the same command ends with {code}: {said[-300:]}"
    return "" if work.made(folder) == whole.made else "the same command makes something else"


def _signalled(number: int) -> Disturb:
    def send(running: Running, rng: random.Random, whole_seconds: float) -> str:
        seconds = rng.uniform(0, whole_seconds)
        time.sleep(seconds)
        running.send(number)
        return f"{signal.Signals(number).name} after {seconds:.2f} s"

    return send


def _closed_pipe(running: Running, rng: random.Random, whole_seconds: float) -> str:
    seconds = rng.uniform(0, whole_seconds)
    time.sleep(seconds)
    running.close_output()
    return f"nobody reads after {seconds:.2f} s"


def _nothing(running: Running, rng: random.Random, whole_seconds: float) -> str:
    return ""


# A process that is told before Python has begun to run it ends by the signal.
PROCESS_FAULTS: dict[str, ProcessFault] = {
    "SIGTERM": ProcessFault(_signalled(signal.SIGTERM), codes=(75, 0, -signal.SIGTERM)),
    "SIGKILL": ProcessFault(_signalled(signal.SIGKILL), codes=(-signal.SIGKILL, 0)),
    "parent killed": ProcessFault(_signalled(signal.SIGKILL), codes=(-signal.SIGKILL, 0), has_parent=True),
    "closed pipe": ProcessFault(_closed_pipe, codes=(0,)),
    "full disk": ProcessFault(_nothing, codes=(2, 0), limited=True),
}


def choose_work(fault: ProcessFault, rng: random.Random) -> str:
    """Returns the name of a command that meets the fault; a child of a process is a program of its own."""
    names = [name for name in WORKS if not fault.has_parent or not WORKS[name].forked or name == "train"]
    return rng.choices(names, [WORKS[name].share for name in names])[0]
