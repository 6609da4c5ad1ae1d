"""Tables by their address, "module:NAME": reads the names in a table without importing it, and loads objects."""

import ast
import functools
import importlib
import sys
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent


def row_names(table: str) -> tuple[str, ...]:
    """Returns the names in the table "module:TABLE" of this package: the keys of a dict, or the words of a tuple.

    A loaded module gives its current table, with any rows added to it. Other modules are read, not run: a table of
    losses would import Keras, which `--help` must not wait for and whose backend is not chosen yet.

    Raises:
      LookupError: as for `read_names`.
    """
    module, _, name = table.partition(":")
    loaded = getattr(sys.modules.get(module), name, None)
    return read_names(table) if loaded is None else tuple(loaded)


@functools.cache
def read_names(table: str) -> tuple[str, ...]:
    """Returns the same as `row_names`, always from the module's source.

    Raises:
      LookupError: the module assigns no literal to the table.
    """
    module, _, name = table.partition(":")
    path = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            if isinstance(value, ast.Dict):
                return tuple(ast.literal_eval(key) for key in value.keys if key is not None)
            return tuple(ast.literal_eval(value))
    raise LookupError(f"{module} assigns no literal to {name}")


def load(address: str) -> Any:
    """Imports the module of "module:NAME" and returns the object."""
    module, _, name = address.partition(":")
    return getattr(importlib.import_module(module), name)
