"""A command works on to its end when nobody reads what it prints, and its exit code says how the work ended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORKING = """
import sys
from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options
from carclf.progress import Progress
from pathlib import Path
import dataclasses, time

@dataclasses.dataclass(frozen=True)
class NoOptions(Options):
    pass

def main(options):
    with Progress("Working") as progress:
        for number in range(5):
            print("line", number, flush=True)
            print("warning", number, file=sys.stderr, flush=True)
            time.sleep(0.02)
    Path(kept).write_text("done")
    if fails:
        raise UserError("It is broken: mend it.")

kept, fails = sys.argv.pop(), sys.argv.pop() == "fails"
run_command(main, NoOptions, description="")
"""


def run(shell: str, kept: Path, *, fails: bool = False) -> subprocess.CompletedProcess[str]:
    command = f'"$0" -c "$1" {"fails" if fails else "works"} {kept}'
    return subprocess.run(
        ["bash", "-c", shell.replace("COMMAND", command), sys.executable, WORKING],
        capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize(
    "shell",
    [
        "COMMAND | head -1; exit ${PIPESTATUS[0]}",
        "COMMAND 2>&1 | true; exit ${PIPESTATUS[0]}",
        "COMMAND >/dev/full",
        "COMMAND >/dev/full 2>/dev/full",
        "COMMAND >&- 2>&-",
        "COMMAND <&- >&- 2>&-",
    ],
)
@pytest.mark.parametrize("fails", [False, True])
def test_output_that_nobody_takes_ends_no_work_and_the_exit_code_is_true(shell, fails, tmp_path):
    answer = run(shell, tmp_path / "kept", fails=fails)
    assert (tmp_path / "kept").read_text() == "done"
    assert answer.returncode == (2 if fails else 0)
    assert "Traceback" not in answer.stderr
    assert "Exception" not in answer.stderr


def test_what_is_read_is_there(tmp_path):
    answer = run("COMMAND | head -1", tmp_path / "kept", fails=True)
    assert answer.stdout == "line 0\n"
    assert answer.stderr.splitlines() == [
        *(f"warning {number}" for number in range(5)),
        "Error: It is broken: mend it.",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1:strict"])
def test_a_character_that_the_output_lacks_ends_no_work(encoding):
    said = "Against b3: rate 1 → 2, Škoda \udcff 🚗"
    program = (
        "import dataclasses, sys\n"
        "from carclf.command import run_command\n"
        "from carclf.errors import UserError\n"
        "from carclf.flags import Options\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class NoOptions(Options): pass\n"
        "def main(options):\n"
        f"    print({said!a}); print({said!a}, file=sys.stderr); raise UserError({said!a})\n"
        "run_command(main, NoOptions, description='')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, timeout=120)
    assert answer.returncode == 2
    name, _, _ = encoding.partition(":")
    shown = said.encode(name, "backslashreplace").decode(name)
    assert answer.stdout.decode(name).strip() == shown
    assert answer.stderr.decode(name).split() == f"{shown} Error: {shown}".split()


@pytest.mark.parametrize("arguments", [["carclf"], ["carclf", "--help"], ["carclf.train", "--help"]], ids=" ".join)
def test_the_pages_of_help_are_printed_in_ascii(arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    answer = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, env=environment, timeout=120)
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert answer.stdout.isascii()


@pytest.mark.parametrize("arguments", ["--help", "--version", "train --help"])
def test_help_into_a_closed_pipe_is_no_error(arguments):
    answer = subprocess.run(
        ["bash", "-c", f'"$0" -m carclf {arguments} | true; exit ${{PIPESTATUS[0]}}', sys.executable],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (answer.returncode, answer.stderr) == (0, "")


def test_what_stands_in_for_a_closed_stream_is_passed_on_to_child_processes():
    program = "import os; from carclf.streams import keep_writable; keep_writable(); print(os.get_inheritable(0))"
    answer = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" <&-', sys.executable, program],
        capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert answer.stdout == "True\n"
