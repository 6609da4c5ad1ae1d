"""Runs a command: parses flags, answers --help at once, turns a UserError into one sentence and exit code 2."""

import difflib
import gc
import os
import shlex
import sys
import textwrap
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import flags

from carclf import preemption
from carclf.errors import Preempted, UserError, sentence_in
from carclf.extras import install_command
from carclf.flags import Option, check_urls, define_flags, from_flags, options_of, refuse_idle
from carclf.path_lists import split_paths
from carclf.preemption import PREEMPTED
from carclf.storage import copies
from carclf.streams import keep_writable
from carclf.text_file import read_text

FRAMEWORKS = ("tensorflow", "keras", "jax")
# New objects until Python looks for cyclic garbage, instead of 700: importing and tracing make millions that stay.
COLLECT_AFTER = 20_000
CHECKED = "CARCLF_CHECKED"  # of the environment: what started this command has checked which options change something
USAGE_ERROR = 2  # absl's default is 1, which we reserve for unexpected errors
NUMBERS: dict[type, str] = {int: "INTEGER", float: "NUMBER"}  # as --help shows them
WIDEST_NAMES = 60  # characters of names that --help shows next to a flag; longer lists go below it
COMMENTS = ("#", "//")  # what begins a line of a flag file that is no option, as in absl
FLAGS = ".flags"  # suffix of a flag file
STAGE_FOLDERS = (Path(__file__).parent / "stages", Path(__file__).parent.parent / "stages")  # installed, clone


def run_command(main: Callable[[Any], int | None], options: type, *, description: str) -> NoReturn:
    """Runs `main` on the parsed command line and exits with its return value (None is 0).

    Args:
      main: takes an instance of `options`; returns the exit code.
      options: the frozen dataclass of its options (`carclf.flags.Options`).
      description: the beginning of `--help`; its last line is an example.
    """
    # Whoever starts a child has checked what it passes on.
    is_child = os.environ.pop(CHECKED, "") != "" or preemption.LIFELINE in os.environ
    preemption.begin()
    keep_writable()
    gc.set_threshold(COLLECT_AFTER)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before any import of TensorFlow; its warnings are not ours
    try:
        parsed = parse_command_line(options, sys.argv[1:], description=description)
        if parsed is not None and not is_child:
            refuse_idle([parsed], given=given_names(options, sys.argv[1:]))
        code = 0 if parsed is None else _run(main, parsed)
    except UserError as error:
        sys.stdout.flush()
        print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)
        code = USAGE_ERROR
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in FRAMEWORKS:
            raise
        print(f"Error: {missing_framework(str(error.name))}", file=sys.stderr)
        code = USAGE_ERROR
    except KeyboardInterrupt as error:
        print(str(error) or "Stopped.", file=sys.stderr)
        code = 130
    except Preempted as error:
        sys.stdout.flush()
        print(error, file=sys.stderr)
        code = PREEMPTED
    except Exception as error:
        if (sentence := sentence_in(error)) is None:
            raise
        sys.stdout.flush()
        print(f"Error: {sentence}", file=sys.stderr)
        code = USAGE_ERROR
    sys.exit(code or 0)


def _run(main: Callable[[Any], int | None], options: Any) -> int | None:
    check_urls(options)
    with copies.finishing():
        return main(options)


def missing_framework(name: str) -> str:
    """Returns the error text for a framework that is not installed: frameworks are extras, not in a bare install."""
    return (
        f"This command needs {name.split('.')[0]}, which is not installed: {install_command('cpu')}, or [gpu] or [tpu] "
        "in place of [cpu] (one of them, since they share folders)."
    )


def parse_command_line(options: type, arguments: Sequence[str], *, description: str) -> Any | None:
    """Returns an instance of `options`, or None after printing the page of `--help`.

    Raises:
      UserError: an unknown flag, a value of the wrong type, a stray argument, a missing flag file.
    """
    values = define_flags(options)
    if any(a in ("-h", "-help", "--help", "--helpfull", "--helpshort", "-?") for a in arguments):
        print(help_text(options, description))
        return None
    try:
        _, *stray = values(["carclf", *expand_flagfiles(arguments)])
    except flags.UnrecognizedFlagError as error:
        near = difflib.get_close_matches(error.flagname, [*values, "flagfile", "stage"], n=1)
        hint = f"did you mean --{near[0]}? " if near else ""
        raise UserError(f"There is no option --{error.flagname}: {hint}--help lists every option.") from None
    except flags.Error as error:
        raise UserError(f"{str(error).replace('flags: ', '', 1).rstrip('. ')}. See --help for every flag.") from None
    if stray:
        raise UserError(f"Unexpected argument {stray[0]!r}: options are written --name=value; see --help.")
    return from_flags(options, values)


def given_names(options: type, arguments: Sequence[str]) -> set[str]:
    """Returns the names of the options on a command line that `parse_command_line` takes, flag files left out."""
    values, own, pending = define_flags(options), [], list(arguments)
    while pending:
        argument = pending.pop(0)
        name, separator, _ = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name in ("flagfile", "stage"):
            pending = pending[not separator :]
        else:
            own.append(argument)
    values(["carclf", *own])
    return {name for name in options_of(options) if values[name].present}


def expand_flagfiles(
    arguments: Sequence[str], *, seen: tuple[Path, ...] = (), files: list[Path] | None = None
) -> list[str]:
    """Returns the arguments with every `--flagfile=PATH` and `--stage=NAME` replaced in place by that file's lines.

    A later flag wins over an earlier one, so what follows a flag file on the command line overrides it. In a flag
    file, a relative path is looked up beside that file first, so a stage works from any folder and from an installed
    package. (absl's own expansion looks in the current folder only.)

    Args:
      arguments: of a command line or a flag file.
      seen: the flag files around it, the outermost first.
      files: gets the path of every flag file that is read.

    Raises:
      UserError: a file is missing or no text, includes itself, or has a line that is neither an option nor a comment.
    """
    result: list[str] = []
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        name, separator, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name in ("flagfile", "stage"):
            if not separator:
                value = pending.pop(0) if pending else ""
            path = (
                find_stage(value)
                if name == "stage"
                else _find_flagfile(value, beside=seen[-1].parent if seen else None)
            )
            if path.resolve() in seen:
                raise UserError(f"The flag file {path} includes itself: remove its --flagfile line.")
            if files is not None:
                files.append(path.resolve())
            result += expand_flagfiles(_flagfile_lines(path), seen=(*seen, path.resolve()), files=files)
        elif name == "stages" and separator and seen:
            result.append(f"--stages={_stages_beside(seen[-1].parent, value)}")
        else:
            result.append(argument)
    return result


def _stages_beside(folder: Path, stages: str) -> str:
    """Returns the stages that a flag file in `folder` names; a file that is there comes with its path."""
    names = split_paths(stages, lambda name: is_flag_file(str(folder / name)) or is_flag_file(name))
    return ",".join(str(folder / name) if (folder / name).is_file() else name for name in names)


def is_flag_file(path: str) -> bool:
    """Returns whether a flag file is at this path, which ends with .flags."""
    return path.endswith(FLAGS) and os.path.isfile(os.path.expanduser(path))


def stage_files() -> dict[str, Path]:
    """Returns the flag file of every stage by its name, from the installed package or the clone."""
    return {path.stem: path for folder in STAGE_FOLDERS if folder.is_dir() for path in sorted(folder.glob("*.flags"))}


def find_stage(name: str) -> Path:
    """Returns the flag file of the stage `name`, which may also be the path of one, ending with .flags.

    Raises:
      UserError: there is no such stage; the message gives the nearest names.
    """
    if name.endswith(FLAGS):
        return _find_flagfile(name, beside=None)
    known = stage_files()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the stages are {', '.join(known)}."
        raise UserError(f"There is no stage {name!r}: {hint}")
    return known[name]


def _find_flagfile(value: str, *, beside: Path | None) -> Path:
    candidates = [folder / value for folder in ([beside] if beside else [])] + [Path(value).expanduser()]
    for path in candidates:
        if value and path.is_file():
            return path
    name = Path(value).stem
    hint = f"the stage of that name is --stage={name}" if name in stage_files() else "give the path of an existing file"
    raise UserError(f"There is no flag file {value!r}: {hint}.")


def _flagfile_lines(path: Path) -> list[str]:
    lines = [line.strip() for line in read_text(path, what="flag file").splitlines()]
    for number, line in enumerate(lines, start=1):
        if line and not line.startswith(("-", *COMMENTS)):
            shown = line if line.isprintable() and len(line) <= WIDEST_NAMES else f"{line[:WIDEST_NAMES]!a}…"
            raise UserError(
                f"Line {number} of the flag file {path} is not an option ({shown}): write --name=value, or begin a "
                "comment with #."
            )
    return [line for line in lines if line.startswith("-")]


def help_text(options: type, description: str) -> str:
    """Returns the page of `--help`: the description, then each flag under its heading with range, names and default."""
    lines = [description.strip()]
    groups: dict[str, dict[str, Option]] = {}
    for name, known in options_of(options).items():
        if name not in getattr(options, "refused", ()):
            groups.setdefault(known.group, {})[name] = known
    types = typing.get_type_hints(options)
    for group, members in groups.items():
        lines += ["", f"{group}:"]
        for name, known in members.items():
            required = name in getattr(options, "required", ())
            lines.append(f"  --{_signature(name, known, types[name], required=required)}")
            lines += textwrap.wrap(_help(known), 100, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def _signature(name: str, known: Option, kind: type, *, required: bool) -> str:
    if kind is bool:
        return f"[no]{name} (default: {str(known.default).lower()})"
    default = f"default: {shlex.quote(str(known.default)) if known.default != '' else 'none'}"
    limits = f"{known.range}; " if known.range else ""
    return f"{name}={_value(known, kind)} ({limits}{'required' if required and known.default == '' else default})"


def _value(known: Option, kind: type) -> str:
    """Returns the placeholder of the value: its type, or its names if they fit on the line."""
    if kind in NUMBERS:
        return NUMBERS[kind]
    names = "|".join(name for name in known.known if name)
    if known.path:
        return "|".join(filter(None, [names, "PATH", "URL" if known.urls else ""]))
    if known.check or not names:
        return "TEXT"
    return names if len(names) <= WIDEST_NAMES else "NAME"


def _help(known: Option) -> str:
    """Returns the text below the signature, with the names that are not in it."""
    names = [name for name in known.known if name]
    beside = known.path or not (known.check or len("|".join(names)) > WIDEST_NAMES)
    return f"{known.help} Names: {', '.join(names)}." if names and not beside else known.help
