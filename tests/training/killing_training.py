"""Run by test_training_kills.py: trains in forked children that are killed or signalled; reports how each ended.

TensorFlow and Keras are imported once, before the first fork and before any operation, so a run takes only seconds.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import matplotlib.pyplot  # noqa: F401 - see above
import numpy as np
import tensorflow  # noqa: F401 - see above

from carclf import preemption, train
from carclf.command import run_command
from carclf.train_options import TrainOptions
from carclf.training import checkpointing


def dying(signal_number: int, *, number: int, before: bool, function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function`, whose `number`-th call sends this process a signal before or after it runs."""
    calls = iter(range(1, 10**9))

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        mine = next(calls) == number
        if mine and before:
            os.kill(os.getpid(), signal_number)
        result = function(*arguments, **keywords)
        if mine and not before:
            os.kill(os.getpid(), signal_number)
        return result

    return wrapped


def half_a_file(function: Callable[..., Any], signal_number: int, *, number: int) -> Callable[..., Any]:
    """Returns `np.savez`, whose `number`-th call is killed after writing half of the file."""
    calls = iter(range(1, 10**9))

    def wrapped(file: Any, **arrays: np.ndarray) -> None:
        function(file, **arrays)
        if next(calls) == number:
            file.flush()
            if signal_number == signal.SIGKILL:
                os.truncate(file.name, file.tell() // 2)
            os.kill(os.getpid(), signal_number)

    return wrapped


def place(moment: str, number: int, signal_number: int) -> None:
    """Sets a trap: the signal comes at the `number`-th such moment of this process."""
    before = {"signal_number": signal_number, "number": number, "before": True}
    after = before | {"before": False}
    if moment == "milliseconds":
        preemption.begin()
        timer = threading.Timer(number / 1000, os.kill, (os.getpid(), signal_number))
        timer.daemon = True
        timer.start()
    elif moment == "step":
        checkpointing.Position.on_train_batch_end = dying(function=checkpointing.Position.on_train_batch_end, **after)
    elif moment == "validation":
        checkpointing.CheckpointSaver.on_test_batch_end = dying(
            function=checkpointing.CheckpointSaver.on_test_batch_end, **before
        )
    elif moment == "before rename":
        os.replace = dying(function=os.replace, **before)
    elif moment == "after rename":
        os.replace = dying(function=os.replace, **after)
    elif moment == "half written":
        np.savez = half_a_file(np.savez, signal_number, number=number)
    elif moment == "compiling":
        keras.Model.compile = dying(function=keras.Model.compile, **after)
    elif moment == "save":
        checkpointing.CheckpointFolder.write = dying(function=checkpointing.CheckpointFolder.write, **before)
    else:
        raise ValueError(f"Unknown moment. Received: {moment}")


def start(options: dict[str, Any], *, log: Path, trap: tuple[str, int, int] | None = None) -> int:
    """Starts a child that trains, with a trap set; returns its process ID."""
    child = os.fork()
    if child:
        return child
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = 1
    try:
        if trap:
            place(*trap)
        sys.argv = ["carclf.train", *(f"--{name}={value}" for name, value in options.items())]
        run_command(train.main, TrainOptions, description="")
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def ended(child: int) -> int:
    """Waits for a child; returns its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Prints as JSON the exit codes of every run's children, one per trap in turn; null is no trap."""
    plan = json.loads(sys.argv[1])
    results = []
    for run in plan:
        started = time.perf_counter()
        codes = [ended(start(run["options"], log=Path(run["log"]), trap=trap)) for trap in run["traps"]]
        results.append(codes)
        print(run["options"]["run"], codes, f"{time.perf_counter() - started:.1f} s", file=sys.stderr)
    print(json.dumps(results))


main()
