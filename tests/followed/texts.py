"""The texts of all errors that users can mend, as the source has them."""

import ast
import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from carclf.errors import UserError
from carclf.packing.install import Refusal

PACKAGE = Path(__file__).parent.parent.parent / "carclf"
ERRORS = {"UserError", "StorageError", "DamagedShardError", "Refusal"}
SHOWN = "…"  # in place of a value


def text_of(node: ast.expr) -> str:
    """The text of an error, with … for each value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return SHOWN


def _said(call: ast.Call, module: str) -> str:
    """The text of a call that makes an error; empty for any other."""
    name = getattr(call.func, "id", "")
    if name in ERRORS and call.args:
        return text_of(call.args[0])
    if name == "_refuse" and module == "api.py":
        return text_of(call.args[1])
    if name == "refuse":  # of carclf.flags
        return f"--{text_of(call.args[1])}={SHOWN} is not possible: {text_of(call.args[3])}."
    return ""


@functools.cache
def texts() -> tuple[str, ...]:
    """FILE: TEXT of every error."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (said := _said(node, module)):
                found.append(f"{module}: {said}")
    return tuple(found)


def says(beginning: str, said: str) -> bool:
    """Whether a sentence is of a text with this beginning."""
    known = [text.partition(": ")[2] for text in texts() if text.startswith(beginning)]
    return any(re.fullmatch(re.escape(text).replace(SHOWN, "(?s:.*)"), said) for text in known)


@contextlib.contextmanager
def refused(beginning: str) -> Iterator[None]:
    """A context in which an error must be raised whose text, or that of an error that it passes on, begins so."""
    with pytest.raises((UserError, Refusal)) as caught:
        yield
    assert says(beginning, str(caught.value)) or says(beginning, str(_innermost(caught.value))), str(caught.value)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error.__context__, UserError):
        error = error.__context__
    return error
