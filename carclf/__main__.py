"""`carclf COMMAND …` and `python -m carclf COMMAND …`. New command modules are found automatically."""

import difflib
import importlib
import pkgutil
import re
import sys
import typing
from typing import NoReturn

import carclf
from carclf import preemption
from carclf.command import USAGE_ERROR, run_command
from carclf.streams import keep_writable

# In the order of use; a command that is not named here comes last.
ORDER = (
    "sample", "make_tfrecords", "explore", "probe", "tune", "train", "soup", "evaluate", "predict", "export", "serve",
    "pack",
)  # fmt: skip


def main() -> NoReturn:
    """Runs the command that the first argument names, as `python -m carclf.COMMAND` would, and exits with its code."""
    preemption.begin()
    keep_writable()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(help_text())
        sys.exit(0)
    if name == "--version":
        print(f"carclf {carclf.__version__}")
        sys.exit(0)
    known = commands()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(known)}."
        print(f"Error: There is no command {name!r}: {hint}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    sys.argv = [f"carclf {name}", *arguments]
    command = importlib.import_module(f"carclf.{name}")
    run_command(command.main, typing.get_type_hints(command.main)["options"], description=command.DESCRIPTION)


def commands() -> dict[str, str]:
    """Returns what each command is for, by name: from the modules of this package that describe themselves."""
    names = [module.name for module in pkgutil.iter_modules(carclf.__path__) if not module.ispkg]
    described = {name: getattr(importlib.import_module(f"carclf.{name}"), "DESCRIPTION", "") for name in names}
    ordered = [*(name for name in ORDER if described.get(name)), *sorted(described.keys() - set(ORDER))]
    # A summary is the beginning of the description: up to its first full stop, colon or semicolon.
    return {name: re.split(r"[.:;]\s", " ".join(described[name].split()))[0] for name in ordered if described[name]}


def help_text() -> str:
    """Returns the page of `carclf --help`."""
    known = commands()
    width = max(map(len, known))
    return "\n".join(
        [
            "From the photos of an image-classification competition to its submission.",
            "",
            "carclf COMMAND --name=value …    (or python -m carclf.COMMAND)",
            "",
            *(f"  {name:<{width}}  {summary}" for name, summary in known.items()),
            "",
            "carclf COMMAND --help lists every option of a command, with its default.",
            "Example: carclf explore --data=data/cars --output=eda.html",
        ]
    )


if __name__ == "__main__":
    main()
