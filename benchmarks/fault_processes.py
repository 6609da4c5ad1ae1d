"""The faults that meet a process while it works. A kind is one row of `PROCESS_FAULTS`.

A converter replaces a data set in a process of its own, and the fault comes at a random moment. Then the folder must
hold the old data set or the new one, whole, and the same command must give what an undisturbed one gives.
"""

import contextlib
import dataclasses
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fault_world import digests

from carclf.errors import UserError

SECONDS = 1.2  # within which a fault comes; a conversion takes about as long
LARGEST_BYTES = 20_000  # of the files of a data set here
PARENT = "import sys; from carclf.children import run_child; sys.exit(run_child(sys.argv[1:], what='stage'))"

Disturb = Callable[["subprocess.Popen[bytes]", random.Random], str]


@dataclasses.dataclass(frozen=True)
class ProcessFault:
    """A kind of fault that meets a process.

    Attributes:
      disturb: does it to the running process, and says what it did.
      codes: the exit codes that are right.
      limited: whether the process may only write files up to a random size.
      has_parent: whether the process is the child of the one that is disturbed.
    """

    disturb: Disturb
    codes: tuple[int, ...]
    limited: bool = False
    has_parent: bool = False


def disturb_conversion(fault: ProcessFault, rng: random.Random, *, photos: Path, output: Path) -> tuple[str, str]:
    """Returns what was done to a conversion of `photos` that replaces the data set in `output`, and what is wrong then.

    The second is '' if nothing is.
    """
    command = [
        *(sys.executable, "-m", "carclf.make_tfrecords", f"--input={photos}", f"--output={output}"),
        *("--folds=3", "--overwrite", f"--workers={rng.choice((1, 2))}"),
    ]
    size = rng.randrange(LARGEST_BYTES) if fault.limited else None

    def limit() -> None:
        if size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    started = [sys.executable, "-c", PARENT, *command] if fault.has_parent else command
    with subprocess.Popen(
        started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limit, start_new_session=True
    ) as process:
        done = fault.disturb(process, rng)
        said = b"".join(stream.read() for stream in (process.stdout, process.stderr) if stream and not stream.closed)
    if size is not None:
        done = f"no file above {size} bytes"
    text = said.decode(errors="replace")
    if process.returncode not in fault.codes:
        return done, f"exit code {process.returncode}: {text[-300:]}"
    if "Traceback" in text:
        return done, text[-300:]
    return done, _whole(output) or _again(command, output)


def _whole(output: Path) -> str:
    """Returns what is wrong with the data set in a folder after a fault; '' if nothing is."""
    from carclf.convert.verify import verify

    try:
        verify(str(output), workers=1)
    except UserError as error:
        return f"the data set is damaged: {error}"
    return ""


def _again(command: list[str], output: Path) -> str:
    """Returns what is wrong with what the same command makes of the folder; '' if nothing is."""
    again = subprocess.run(command, capture_output=True, text=True)
    if again.returncode:
        return f"the same command ends with {again.returncode}: {again.stderr[-300:]}"
    fresh = output.with_name("fresh")
    undisturbed = [*command[:4], f"--output={fresh}", *command[5:]]
    subprocess.run(undisturbed, capture_output=True, check=True)
    return "" if digests(output) == digests(fresh) else "the same command makes another data set"


def _signalled(number: int) -> Disturb:
    def disturb(process: "subprocess.Popen[bytes]", rng: random.Random) -> str:
        seconds = rng.uniform(0, SECONDS)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        return f"{signal.Signals(number).name} after {seconds:.2f} s"

    return disturb


def _closed_pipe(process: "subprocess.Popen[bytes]", rng: random.Random) -> str:
    seconds = rng.uniform(0, SECONDS)
    time.sleep(seconds)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    return f"nobody reads after {seconds:.2f} s"


def _nothing(process: "subprocess.Popen[bytes]", rng: random.Random) -> str:
    return ""


# A process that is told before Python has begun to run it ends by the signal.
PROCESS_FAULTS: dict[str, ProcessFault] = {
    "SIGTERM": ProcessFault(_signalled(signal.SIGTERM), codes=(75, 0, -signal.SIGTERM)),
    "SIGKILL": ProcessFault(_signalled(signal.SIGKILL), codes=(-signal.SIGKILL, 0)),
    "parent killed": ProcessFault(_signalled(signal.SIGKILL), codes=(-signal.SIGKILL, 0), has_parent=True),
    "closed pipe": ProcessFault(_closed_pipe, codes=(0,)),
    "full disk": ProcessFault(_nothing, codes=(2, 0), limited=True),
}
