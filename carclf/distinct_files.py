"""Refuses to write a file in the place of another one, or of one that is read."""

import os
from collections.abc import Mapping

from carclf.errors import UserError
from carclf.storage import is_remote


def check_distinct(*, written: Mapping[str, str], read: Mapping[str, str]) -> None:
    """Checks that the files to write have places of their own.

    Args:
      written: what people call a file that will be written → its path or URL; "" is none.
      read: the same of files that are read.

    Raises:
      UserError: two written files, or a written and a read one, have the same path or URL, links resolved.
    """
    names: dict[str, str] = {}
    for name, path in [*read.items(), *written.items()]:
        if not path:
            continue
        place = path.strip().rstrip("/") if is_remote(path) else os.path.realpath(os.path.expanduser(path))
        if name in written and place in names:
            raise UserError(f"The file {path} would be both {names[place]} and {name}: give each a file of its own.")
        names[place] = name
