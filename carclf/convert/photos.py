"""What the converter knows of a photo before it is read, and the Ids of photos that no list names."""

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

from carclf.convert.roles import Roles
from carclf.convert.sources import Entry

RejectionKind = Literal["unusable", "rare class", "copy"]
"""Why a photo was not stored: it cannot be used, its class is small, or it copies a training photo."""


@dataclasses.dataclass(frozen=True, slots=True)
class Photo:
    """One photo of the input, not yet read.

    Attributes:
      id: unique within its split.
      split: 'train', 'extra' or 'test'.
      category: its label as the input writes it; "" for test photos.
      entry: where its bytes are.
      group: photos of one group stay in one fold; "" if it has none.
    """

    id: str
    split: str
    category: str
    entry: Entry
    group: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Rejection:
    """A photo or file that was not stored.

    Attributes:
      id: of the photo.
      split: as in `Photo`.
      category: as in `Photo`.
      reason: in words.
      path: in the input; "" if there is no file.
      kind: what the reason is about.
    """

    id: str
    split: str
    category: str
    reason: str
    path: str
    kind: RejectionKind


@dataclasses.dataclass
class Findings:
    """What listing the photos finds: refused photos, and sentences about harmless things."""

    rejected: list[Rejection] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def composed(text: str) -> str:
    """Returns the text in Unicode's composed form; file names from a Mac have the decomposed one."""
    return unicodedata.normalize("NFC", text)


def ids_of(entries: Sequence[Entry], roles: Roles) -> list[str]:
    """Returns unique Ids: the file name; if files share it, the path below the role's folder, or the whole path."""
    names = [composed(PurePosixPath(entry.path).name) for entry in entries]
    below = ["/".join([*map(composed, roles.below(e.path)), name]) for e, name in zip(entries, names, strict=True)]
    name_count, below_count = Counter(names), Counter(below)
    return [
        name if name_count[name] == 1 else short if below_count[short] == 1 else entry.path
        for name, short, entry in zip(names, below, entries, strict=True)
    ]
