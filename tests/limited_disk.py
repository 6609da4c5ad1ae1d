"""Run by test_full_disk.py: runs commands in forked children on a disk that takes no file above a size, or fills up.

TensorFlow and Keras are imported once, before the first fork and before any operation, so a command takes only seconds.
"""

import importlib
import json
import os
import resource
import sys
import tempfile
import traceback
import typing

import keras  # noqa: F401 - see above
import matplotlib.pyplot  # noqa: F401 - see above
import tensorflow  # noqa: F401 - see above

from carclf.command import run_command


def limit_files(size: int) -> None:
    """Lets this process write no byte of a file beyond `size`."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def fill_disk_at(number: int) -> None:
    """Fills the disk when this process begins its `number`-th file."""
    begin, calls = tempfile.mkstemp, iter(range(1, 10**9))

    def beginning(*arguments: object, **keywords: object) -> tuple[int, str]:
        begun = begin(*arguments, **keywords)  # type: ignore[call-overload]
        if next(calls) == number:
            limit_files(0)
        return begun

    tempfile.mkstemp = beginning  # type: ignore[assignment]


def run(arguments: list[str], *, size: int, full_at: int) -> tuple[int, str]:
    """Returns the exit code and the output of a command.

    Args:
      arguments: the command and its flags.
      size: of the largest file that it may write.
      full_at: number of the file with which the disk fills up, counted from 1; 0 for never.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(read)
        if size >= 0:
            limit_files(size)
        fill_disk_at(full_at)
        code: object = 1
        try:
            sys.argv = [f"carclf.{arguments[0]}", *arguments[1:]]
            command = importlib.import_module(sys.argv[0])
            run_command(command.main, typing.get_type_hints(command.main)["options"], description="")
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(int(str(code)))
    os.close(write)
    with os.fdopen(read, errors="replace") as output:
        said = output.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def main() -> None:
    """Prints as JSON the exit code and output of every [arguments, size, full_at] of the plan; size −1 is any."""
    print(
        json.dumps([run(arguments, size=size, full_at=number) for arguments, size, number in json.loads(sys.argv[1])])
    )


main()
