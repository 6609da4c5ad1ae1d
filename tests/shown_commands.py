"""Commands that pages and notebooks show: whether the door exists and takes their flags."""

import importlib
import shlex
import typing
from pathlib import Path
from typing import Any

from carclf.door import parse_command_line

ROOT = Path(__file__).parent.parent


def parse_shown(command: str) -> Any:
    """The options of `python -m carclf.DOOR …` or `python tools/DOOR.py …`, refused as the door itself would."""
    _, *arguments = shlex.split(command)
    if arguments[0] == "-m":
        name, *flags = arguments[1:]
    else:
        assert (ROOT / arguments[0]).is_file()
        name, flags = f"carclf.{Path(arguments[0]).stem}", arguments[1:]
    options = typing.get_type_hints(importlib.import_module(name).main)["options"]
    return parse_command_line(options, flags, description="")
