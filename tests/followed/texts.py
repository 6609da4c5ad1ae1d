"""The texts of all errors that users can mend, as the source has them."""

import ast
import contextlib
import functools
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from carclf.errors import UserError
from carclf.packing.install import Refusal

PACKAGE = Path(__file__).parent.parent.parent / "carclf"
ERRORS = {"UserError", "StorageError", "RangesIgnoredError", "DamagedShardError", "DamagedFileError", "Refusal"}
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
    if name == "HTTPException":
        return text_of(call.args[1])
    if name == "_refuse" and module == "api.py":
        return text_of(call.args[1])
    if name == "refuse":  # of carclf.flags
        return f"--{text_of(call.args[1])}={SHOWN} is not possible: {text_of(call.args[3])}."
    return ""


@functools.cache
def modules() -> dict[str, ast.Module]:
    """The code of every module of the package."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


@functools.cache
def texts() -> tuple[str, ...]:
    """FILE: TEXT of every error."""
    found = []
    for module, code in modules().items():
        for node in ast.walk(code):
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


COMMANDED = re.compile(r"--[a-z]\w+|python -m|pip install|same command")
OTHERS = {
    *ERRORS,
    "HTTPException",
    "_refuse",
    "refuse",
    "option",
    "same_option",
    "compile",
}  # calls whose texts are no remarks


@functools.cache
def remarks() -> tuple[str, ...]:
    """FILE: TEXT of what else names an option or a command: what is printed, or becomes part of an error."""
    found = set()
    for module, code in modules().items():
        for node in _outside(OTHERS, code):
            if " " in (text := text_of(node)) and COMMANDED.search(text):
                found.add(f"{module}: {text}")
    return tuple(sorted(found))


def _outside(names: Collection[str], node: ast.AST) -> Iterator[ast.expr]:
    """The texts below a node, without those in calls of these names, docstrings and constants of modules."""
    if isinstance(node, ast.Call) and (getattr(node.func, "id", "") or getattr(node.func, "attr", "")) in names:
        return
    if isinstance(node, (ast.Expr, ast.Assign)) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, (ast.JoinedStr, ast.BinOp, ast.Constant)) and text_of(node) != SHOWN:
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from _outside(names, child)
