"""Commands that pages and notebooks show: where they stand, whether the command exists and takes their flags."""

import importlib
import re
import shlex
import sys
import typing
from pathlib import Path
from typing import Any

from carclf.command import parse_command_line

ROOT = Path(__file__).parent.parent
_FILES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in _FILES}
README = PAGES["README.md"]
MADE = ("--flagfile=plans/plan.flags",)  # by a command before it on the page


def blocks(language: str, page: str) -> list[str]:
    """The blocks of a language in the text of a page."""
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def parse_shown(command: str) -> Any:
    """Returns the options of `python -m carclf.COMMAND …`, `python tools/COMMAND.py …` or a benchmark, or refuses."""
    _, *arguments = shlex.split(command)
    if arguments[0] == "-m":
        name, *flags = arguments[1:]
    else:
        assert (ROOT / arguments[0]).is_file()
        script, flags = Path(arguments[0]), arguments[1:]
        name = script.stem if script.parts[0] == "benchmarks" else f"carclf.{script.stem}"
        if script.parts[0] == "benchmarks" and str(ROOT / "benchmarks") not in sys.path:
            sys.path.append(str(ROOT / "benchmarks"))
    options = typing.get_type_hints(importlib.import_module(name).main)["options"]
    return parse_command_line(options, [flag for flag in flags if flag not in MADE], description="")
