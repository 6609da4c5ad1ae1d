"""What a run asks of its data set; `carclf.data.manifest.Manifest` is one."""

from collections.abc import Sequence
from typing import Protocol


class LabelPatch(Protocol):
    """Corrected labels."""

    @property
    def content(self) -> bytes:
        """The file."""

    @property
    def sha256(self) -> str:
        """Its hash."""


class DataSet(Protocol):
    """What binds a run to a data set."""

    @property
    def directory(self) -> str:
        """Where it lies."""

    @property
    def fingerprint(self) -> str:
        """Hash of its photos, of the options it was made with, and so of its split."""

    @property
    def class_map_sha256(self) -> str:
        """Hash of the label map, equal for data sets that agree on it."""

    @property
    def class_count(self) -> int:
        """How many classes it has."""

    @property
    def folds(self) -> Sequence[int]:
        """The folds of its training photos."""

    @property
    def label_patch(self) -> LabelPatch | None:
        """The corrected labels that are used instead of its own."""
