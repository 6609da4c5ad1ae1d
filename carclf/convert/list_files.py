"""The files of an input that may list photos: CSVs, and JSON that is not one file per photo."""

from carclf.convert.file_kinds import is_csv, is_json
from carclf.convert.json_lists import Found, read_json
from carclf.convert.sources import Entry
from carclf.convert.table import read_table
from carclf.convert.tree import Tree

MOST_JSON = 50  # more are files beside each photo, as tools that draw boxes write them


def list_files(tree: Tree) -> list[Entry]:
    """Returns the files that may list photos, in the input's order."""
    json = [entry for entry in tree.entries if is_json(entry.path)]
    return [e for e in tree.entries if is_csv(e.path) or (is_json(e.path) and len(json) <= MOST_JSON)]


def read_list(content: bytes, *, shown: str) -> Found:
    """Returns the lists in a file; it is JSON if its name says so.

    Args:
      content: its bytes.
      shown: its name.

    Raises:
      UserError: it is neither CSV nor JSON.
    """
    return read_json(content, shown=shown) if is_json(shown) else Found(read_table(content, shown=shown))
