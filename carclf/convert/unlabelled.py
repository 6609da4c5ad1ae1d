"""Lists that name photos and of which no column is known to hold labels, such as tables of what is known of each."""

import dataclasses
from collections.abc import Mapping, Sequence

from carclf.convert.columns import LIKE_LABELS, divide_alike, may_hold_labels
from carclf.convert.labels import is_group, is_storage
from carclf.convert.table import Table

MOST = 0.5  # of the photos of class folders: a list that names more is about all of them


@dataclasses.dataclass(frozen=True)
class Unlabelled:
    """A list of photos without labels.

    Attributes:
      table: the CSV.
      ids: the column of its Ids.
      paths: the photo of each row, or "".
    """

    table: Table
    ids: int
    paths: Sequence[str]

    @property
    def columns(self) -> list[str]:
        """Returns the columns that are not the Ids; those that are called as labels are come first."""
        names = [name for place, name in enumerate(self.table.header) if place != self.ids]
        return sorted(names, key=lambda name: is_group(name) or not LIKE_LABELS.search(name))

    @property
    def photos(self) -> int:
        """Returns how many photos it names."""
        return len({*self.paths} - {""})

    def doubts(self, classes: Mapping[str, str]) -> bool:
        """Returns whether it names most photos of class folders, and its labels may be others.

        They may if columns could hold labels, and none divides the photos as the folders do.

        Args:
          classes: path of a photo → the folder that would be its class.
        """
        places = [place for place, path in enumerate(self.paths) if path in classes]
        if len({self.paths[place] for place in places}) <= MOST * len(classes):
            return False
        header = enumerate(self.table.header)
        columns = [c for c, name in header if c != self.ids and not (is_group(name) or is_storage(name))]
        folders = [classes[self.paths[place]] for place in places]
        cells = {c: [self.table.rows[place][c].strip() for place in places] for c in columns}
        possible = any(may_hold_labels(self.table, c) and len(set(cells[c])) > 1 for c in columns)
        return possible and not any(divide_alike(cells[c], folders) for c in columns)
