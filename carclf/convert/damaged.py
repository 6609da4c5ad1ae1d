"""Archives and files of records that are damaged: they stop the work, or are left out where the user says so."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from carclf.convert.file_kinds import holds_files, is_photo_name
from carclf.convert.sources import Entry
from carclf.errors import DamagedFileError

if TYPE_CHECKING:
    from carclf.convert.tree import Tree


@dataclasses.dataclass(frozen=True)
class OnDamaged:
    """What is done with a damaged file in which photos lie.

    Attributes:
      leaves_out: whether it is left out, and noted and listed; else it stops the work.
      value: of --on_bad, that leaves it out.
    """

    leaves_out: bool = False
    value: str = "skip"

    def handle(self, error: DamagedFileError, entry: Entry, tree: "Tree", *, beside: Sequence[Entry]) -> None:
        """Adds a damaged file to those of a tree that are refused.

        Args:
          error: says what is wrong with it.
          entry: the file.
          tree: added to.
          beside: all files of the input.

        Raises:
          DamagedFileError: damaged files stop the work, and the message says how to go on without this one; or there is
            nothing beside it.
        """
        if not any(is_photo_name(e.path) or holds_files(e.name) for e in beside if e is not entry):
            raise error
        if self.leaves_out:
            name = entry.path.rpartition("/")[2]
            problem = error.problem.partition(f"{name} ")[2] or error.problem
            tree.notes.append(f"{entry.path} and all photos in it were left out: it {problem}.")
            tree.refused.append(dataclasses.replace(entry, problem=problem))
            return
        sentence = str(error).removesuffix(".")
        raise DamagedFileError(f"{sentence}; to go on without it, remove it or give --on_bad={self.value}.") from None
