"""Files that look like the photos of an input but are not read, and what to do with them."""

import re

from carclf.convert.file_kinds import what_to_do
from carclf.convert.sources import Entry
from carclf.convert.tree import Tree
from carclf.errors import UserError
from carclf.text_file import encoding_of

MANY_COLUMNS = 100  # a list of photos has fewer
_PIXEL_COLUMN = re.compile(r"pixels?[-_ ]?\d*", re.IGNORECASE)
HEAD_BYTES = 100_000


def not_read(tree: Tree) -> str:
    """Returns which file is not read, and what to do with it, as a clause; "" if there is none."""
    for entry in tree.entries:
        if advice := what_to_do(entry.path):
            return f"{entry.path} is not read ({advice})"
    for entry in tree.entries:
        if entry.path.lower().endswith(".csv") and _holds_pixels(tree, entry):
            return (
                f"{entry.path} holds pixels instead of names of photos (write each row as a PNG, such as with Pillow)"
            )
    return ""


def _holds_pixels(tree: Tree, entry: Entry) -> bool:
    try:
        head = tree.read(entry)[:HEAD_BYTES]
    except UserError:
        return False
    first = head.decode(encoding_of(head), errors="replace").split("\n", 1)[0]
    header = re.split(r"[,;\t]", first.replace('"', "").strip())
    return len(header) > MANY_COLUMNS or any(_PIXEL_COLUMN.fullmatch(name) for name in header)
